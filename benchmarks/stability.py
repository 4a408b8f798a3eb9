"""Do two equally valid fits of the noise components make the same series?

    python -m benchmarks.stability --json [--recordings 6]

Stage denoise is run twice on each recording, with two seeds: two disjoint sets of decompositions (their numbers of
components are the same, their starts are not). r: correlation of a parcel's denoised series of the one with that of
the other. `mean`: operators averaged (`denoise.fits`, the default); `single`: one decomposition, against one with a
component more, as another valid choice.

Keys: `p10_between_means`, `min_between_means`: the 10th percentile and the least r over parcels, of the worst recording
(six simulated ones, and studyforrest where it is at hand); `p10_between_singles`, `min_between_singles`: the same with
one fit; `recordings`: each.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from benchmarks.recordings import everyone, parcels
from benchmarks.recovery import correlations
from benchmarks.scoring import call
from brainlm_data.methods.regression import Regression
from brainlm_data.stage import Files
from brainlm_data.stages import denoise

OTHER_SEED = 1000


def between(files: Files, folder: Path, first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """Percentiles over parcels of r between the series of two sections of stage denoise."""
    x, _ = parcels(files)
    series = []
    for name, section in (("first", first), ("second", second)):
        written = call(denoise.STAGE, files, folder / name, **section)[0]
        series.append(Regression.load(written["denoise_recipe"]).apply(x))
    r = correlations(*series)
    return {"median": float(np.median(r)), "p10": float(np.percentile(r, 10)), "min": float(r.min())}


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--recordings", type=int, help="only this many of the simulated ones")
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for recording, files in everyone(folder, options.recordings).items():
            count = call(denoise.STAGE, files, folder / "count", fits=1)[1]["NumberOfComponents"]
            rows[recording] = {
                "means": between(files, folder, {}, {"seed": OTHER_SEED}),
                "singles": between(files, folder, {"fits": 1}, {"fits": 1, "n_components": count + 1}),
            }
    result = {}
    for kind in ("means", "singles"):
        for key in ("p10", "min"):
            result[f"{key}_between_{kind}"] = min(row[kind][key] for row in rows.values())
    tools.show(result | {"recordings": rows}, options.json)


if __name__ == "__main__":
    main()
