"""What SC-MBM, its width and its mask ratio are worth to the decoder, each learnt with several seeds.

    python -m benchmarks.decoder_ablations FILE --json [--seeds 3] [--widths 16 64] [--masks .35 .55] [--config YAML]

FILE is the `trials.npz` of stage `trials`, or `digit69_28x28.mat` on its own split. Sections `scmbm` and `diffusion`
are those of the configuration (config/decode.yaml), their seeds 0, 1, ...; the split and the patterns are the same for
all seeds. Rows: `with` and `without` SC-MBM, then the same with other widths and mask ratios. Each has, per seed and
over seeds (`mean`, `sd`), `two_way` and `pixel_r` of `from_noise`, which hangs on the encoder alone, and of `decoded`,
which starts from ridge.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from brainlm_data import Patterns
from brainlm_data.config import read_file
from brainlm_model.decode.methods import painted_samples
from brainlm_model.decode.patterns import from_mat
from brainlm_model.decode.pictures import pixel_r, two_way
from brainlm_model.decode.stages import decode, diffusion, scmbm
from brainlm_model.training.machine import use_threads

WITH_AND_WITHOUT = ("decoded", "no_pretraining")
Scores = dict[str, float]


def one(patterns: Patterns, encoding: scmbm.Config, painting: diffusion.Config, names: tuple[str, ...]) -> list[Scores]:
    """Scores of each painter; the first one is that with SC-MBM."""
    encoder, _ = scmbm.learnt(patterns, encoding)
    painted, _ = diffusion.learnt(patterns, encoder, encoding.compat, painting, painters=names)
    test = patterns.of("test")
    seen = test.seen() / 255
    rows: list[Scores] = [{} for _ in names]
    for start in ("noise", "ridge"):
        how = decode.sampling(decode.Config(start=start))
        drawn = painted_samples(patterns, painted, encoding.compat, how)
        for name, row in zip(names, rows, strict=True):
            pictures = drawn[name].mean(axis=0)
            method = "from_noise" if start == "noise" else "decoded"
            row[f"{method}_two_way"] = float(two_way(pictures, seen, test.stimulus, test.subject).mean())
            row[f"{method}_pixel_r"] = float(pixel_r(pictures, seen).mean())
    return rows


def summarised(seeds: list[Scores]) -> dict[str, Any]:
    """Mean and SD over seeds, and each seed's."""
    return {
        name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "seeds": values}
        for name in seeds[0]
        for values in [[row[name] for row in seeds]]
    }


def run(
    patterns: Patterns, section: dict[str, Any], seeds: int, widths: list[int], masks: list[float]
) -> dict[str, Any]:
    """Every row of the table."""
    begin = time.process_time()
    variants: dict[str, dict[str, Any]] = {"": {}}
    variants |= {f"width {width}": {"width": width} for width in widths}
    variants |= {f"mask {mask}": {"mask_ratio": mask} for mask in masks}
    table: dict[str, list[Scores]] = {}
    for label, changes in variants.items():
        names = WITH_AND_WITHOUT if not label else WITH_AND_WITHOUT[:1]
        for seed in range(seeds):
            encoding = scmbm.Config(**section.get("scmbm", {}) | changes | {"seed": seed})
            painting = diffusion.Config(**section.get("diffusion", {}) | {"seed": seed})
            rows = one(patterns, encoding, painting, names)
            for name, row in zip((label or "with", "without"), rows, strict=False):
                table.setdefault(name, []).append(row)
            print(f"{label or 'with, without'}, seed {seed}: {time.process_time() - begin:.0f} CPU s", file=sys.stderr)
    return {
        "seeds": seeds, "test_pictures": len(np.unique(patterns.of("test").stimulus)),
        "cpu_s": time.process_time() - begin, "rows": {name: summarised(each) for name, each in table.items()},
    }  # fmt: skip


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("file", type=Path, help="trials.npz, or digit69_28x28.mat")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--widths", type=int, nargs="*", default=[])
    options.add_argument("--masks", type=float, nargs="*", default=[])
    options.add_argument("--config", type=Path, default=Path("config/decode.yaml"))
    given = options.parse_args()
    use_threads(1)
    patterns = from_mat(given.file) if given.file.suffix == ".mat" else Patterns.load(given.file)
    tools.show(run(patterns, read_file(given.config), given.seeds, given.widths, given.masks), given.json)


if __name__ == "__main__":
    main()
