"""What SC-MBM, its width and its mask ratio are worth to the decoder, each learnt with several seeds.

    python -m benchmarks.decoder_ablations FILE --json [--seeds 3] [--widths 16 64] [--masks .35 .55] [--config YAML]
        [--within-training .25]

FILE is the `trials.npz` of stage `trials`, or `digit69_28x28.mat` on its own split. Sections `scmbm` and `diffusion`
are those of the configuration (config/decode.yaml), their seeds 0, 1, ...; the split and the patterns are the same for
all seeds. Rows: `with` and `without` SC-MBM, then the same with other widths and mask ratios. Each has, per seed and
over seeds (`mean`, `sd`), `two_way` and `pixel_r` of `from_noise`, which hangs on the encoder alone; the first two also
of `decoded`, which starts from ridge. Beside them ridge regression to the pixels and to the latents (of each seed's
autoencoder). What is done is told as it comes.

`--within-training SHARE`: no test trial is looked at; this share of the training stimuli is tested, and windows, which
hold their trials, too, are left out. For what is to be decided before a test.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from brainlm_data import Patterns
from brainlm_data.config import read_file
from brainlm_model.decode.methods import FROM_NOISE, painted_samples, simple
from brainlm_model.decode.patterns import from_mat
from brainlm_model.decode.pictures import pixel_r, two_way
from brainlm_model.decode.stages import decode, diffusion, scmbm
from brainlm_model.training.machine import use_threads

WITH_AND_WITHOUT = {"with": "decoded", "without": "no_pretraining"}
RIDGE = ("ridge_pixels", "ridge_latents")
Scores = dict[str, float]


def one(
    patterns: Patterns, encoding: scmbm.Config, painting: diffusion.Config, names: dict[str, str], ridge: bool
) -> dict[str, Scores]:
    """Scores of painters, by label. ridge: theirs that start from ridge, and of ridge itself, as well."""
    encoder, _ = scmbm.learnt(patterns, encoding)
    painted, _ = diffusion.learnt(patterns, encoder, encoding.compat, painting, painters=list(names.values()))
    test = patterns.of("test")
    seen = test.seen() / 255

    def scored(pictures: Any) -> Scores:
        return {
            "two_way": float(two_way(pictures, seen, test.stimulus, test.subject).mean()),
            "pixel_r": float(pixel_r(pictures, seen).mean()),
        }

    how = decode.sampling(decode.Config(start="ridge" if ridge else "noise"))
    drawn = painted_samples(patterns, painted, encoding.compat, how)
    rows: dict[str, Scores] = {}
    for label, name in names.items():
        methods = {"from_noise": FROM_NOISE[name], "decoded": name} if ridge else {"from_noise": name}
        for method, of in methods.items():
            found = scored(drawn[of].mean(axis=0))
            rows.setdefault(label, {}).update({f"{method}_{measure}": value for measure, value in found.items()})
    if ridge:
        others = simple(patterns, painted)
        rows |= {name: scored(others[name]) for name in RIDGE}
    return rows


def within_training(patterns: Patterns, share: float) -> Patterns:
    """Training rows alone, of which those of a share of the stimuli are the test; without windows."""
    training = patterns.of("train")
    names = np.random.default_rng(0).permutation(np.unique(training.stimulus))
    left_out = np.isin(training.stimulus, names[: round(share * len(names))])
    return replace(training.split_as(left_out), windows=np.empty((0, training.n_voxels), np.float32))


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
    for seed in range(seeds):
        for label, changes in variants.items():
            encoding = scmbm.Config(**section.get("scmbm", {}) | changes | {"seed": seed})
            painting = diffusion.Config(**section.get("diffusion", {}) | {"seed": seed})
            names = {label: "decoded"} if label else WITH_AND_WITHOUT
            for name, row in one(patterns, encoding, painting, names, ridge=not label).items():
                table.setdefault(name, []).append(row)
                print(
                    f"seed {seed}, {name}: {row}, {time.process_time() - begin:.0f} CPU s", file=sys.stderr, flush=True
                )
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
    options.add_argument("--within-training", type=float, metavar="SHARE")
    given = options.parse_args()
    use_threads(1)
    patterns = from_mat(given.file) if given.file.suffix == ".mat" else Patterns.load(given.file)
    if given.within_training:
        patterns = within_training(patterns, given.within_training)
    tools.show(run(patterns, read_file(given.config), given.seeds, given.widths, given.masks), given.json)


if __name__ == "__main__":
    main()
