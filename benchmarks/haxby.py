"""Categories from single volumes of Haxby et al. (2001), each run told from the eleven others: no pictures, an image.

    python -m benchmarks.haxby FOLDER --json

FOLDER has `bold.nii.gz`, `mask.nii.gz` and `attributes_literal.txt` (condition and run of each volume), as PyMVPA and
nilearn give them. `accuracy` is the mean over runs of how many of a run's volumes a linear classifier tells right,
`standard_error` that of the mean over runs, `chance` one over the number of categories.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from brainlm_model.decode.patterns import from_volumes

PENALTY = 300.0  # of ridge; 100: .66, 1,000: .67, 3,000: .61


def measure(folder: Path) -> dict[str, Any]:
    """The results, as JSON values."""
    from sklearn.linear_model import RidgeClassifier

    patterns = from_volumes(*(folder / name for name in ("bold.nii.gz", "mask.nii.gz", "attributes_literal.txt")))
    right = []
    for run in np.unique(patterns.run):
        fold = patterns.split_as(patterns.run == run)
        training, test = fold.of("train"), fold.of("test")
        told = RidgeClassifier(alpha=PENALTY).fit(training.patterns, training.category).predict(test.patterns)
        right.append(float((told == test.category).mean()))
    return {
        "accuracy": float(np.mean(right)),
        "standard_error": float(np.std(right, ddof=1) / np.sqrt(len(right))),
        "chance": 1 / len(np.unique(patterns.category)),
        "runs": len(right),
        "volumes": len(patterns),
        "voxels": patterns.n_voxels,
    }


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("folder", type=Path, help="bold.nii.gz, mask.nii.gz, attributes_literal.txt")
    given = options.parse_args()
    tools.show(measure(given.folder), given.json)


if __name__ == "__main__":
    main()
