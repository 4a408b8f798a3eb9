"""Do planted responses to blocks survive denoising at every TR?

    python -m benchmarks.slow_tr --json [--seeds 2]

Runs of about ten minutes with blocks of 20 s (`brainlm-data simulate --tasks blocks`) at TR 0.8 to 7 s, processed by
the stages as they are. `kept`: of the planted response s in the band, <D s, s> / <s, s>, the share of it that stage
denoise's operator leaves, mean over seeds; `kept_min`: the least over TRs. `frequency_alone`: components rejected for
their frequency alone; `by_published_rule`: `kept` where the published share of the way to Nyquist is taken at every TR.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from benchmarks.recordings import prepared, simulated, space
from benchmarks.scoring import call
from brainlm_data.methods import aroma
from brainlm_data.methods.chain import before_regression
from brainlm_data.methods.operators import Recipe
from brainlm_data.methods.regression import Regression
from brainlm_data.simulate.signals import evoked, sampled
from brainlm_data.stage import Files
from brainlm_data.stages import denoise

TRS = (0.8, 1.0, 2.0, 3.0, 5.0, 7.0)
SECONDS = 600


def kept(files: Files, folder: Path, tr_s: float) -> tuple[float, int]:
    """Share of the planted response that D leaves; components rejected for their frequency alone."""
    written = call(denoise.STAGE, files, folder)[0]
    recipe = Recipe.load(files["filter_recipe"])
    times = np.arange(recipe.n_volumes) * tr_s
    planted = before_regression(sampled(evoked(float(times[-1]))[None], times).T, recipe)
    left = Regression.load(written["denoise_recipe"]).apply(planted)
    alone = written["ica_metrics"].read_text().count("\thigh_frequency\n")
    return float((left * planted).sum() / (planted**2).sum()), alone


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="recordings of each TR")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = space(folder)
        for tr_s in TRS:
            ours, alone, published = [], 0, []
            for number in range(options.seeds):
                seed = 600 + 10 * number + round(tr_s)
                data = simulated(folder / f"{tr_s:g}", seed, round(SECONDS / tr_s), tr_s, 0.2, 1.0, tasks=("blocks",))
                [bold] = data.glob("sub-01/func/*_bold.nii.gz")
                files = prepared(bold, tr_s, known, folder / f"{tr_s:g}-{seed}")
                share, count = kept(files, folder / "denoise", tr_s)
                ours.append(share)
                alone += count
                with patch.object(aroma, "frequency_cut", lambda _: aroma.HIGH_FREQUENCY):
                    published.append(kept(files, folder / "denoise", tr_s)[0])
            rows[f"{tr_s:g}"] = {
                "kept": float(np.mean(ours)),
                "frequency_alone": alone,
                "by_published_rule": float(np.mean(published)),
            }
    tools.show({"kept_min": min(row["kept"] for row in rows.values()), "trs": rows}, options.json)


if __name__ == "__main__":
    main()
