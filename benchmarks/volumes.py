"""Peak memory of the stages that fit on voxels, by the number of volumes: does it grow?

    python -m benchmarks.volumes --json [--volumes 300 1200]

A voxel sample of 33,000 voxels on the 4 mm grid (20 autocorrelated courses and noise), with the inputs of confounds and
denoise beside it; each stage is a process of its own with one thread. denoise does one ICA of five passes, because
only its memory is looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tools import memory_mb, one_thread, parser, show

one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np

from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import write_table
from brainlm_data.methods.operators import Recipe
from brainlm_data.reading.image import Writer
from brainlm_data.stage import Files

SHAPE = (48, 57, 48)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
TR_S = 0.72
AXES = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
ENDS = {
    "confounds": "confounds.tsv", "ica_mixing": "mixing.tsv", "ica_components": "components.nii.gz",
    "ica_metrics": "metrics.tsv", "denoise_recipe": "denoise.npz",
}  # fmt: skip


def sample(folder: Path, volumes: int) -> None:
    """Write the inputs of both stages."""
    rng = np.random.default_rng(0)
    places = np.indices(SHAPE).reshape(3, -1).T - np.array(SHAPE) / 2
    mask = (np.square(places / [19, 23, 18]).sum(1) < 1).reshape(SHAPE)
    inside = np.flatnonzero(mask)
    tissue = np.zeros((*SHAPE, 5), np.float32)
    rows = tissue.reshape(-1, 3)
    rows[inside, :3] = [0.95, 0, 0]
    rows[inside[::9]] = [0, 0, 0.98, 0, 0.9]
    rows[inside[1::7]] = [0, 0.97, 0, 0.9, 0]
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "sample_mask.nii.gz")
    nib.save(nib.Nifti1Image(tissue, AFFINE), folder / "sample_probseg.nii.gz")
    weights, courses, image = rng.normal(size=(20, len(inside))), np.zeros(20), np.zeros(SHAPE, np.int16)
    with Writer(folder / "voxel_sample.nii.gz", (*SHAPE, volumes), AFFINE, np.int16, TR_S, 1 / 8) as out:
        for _ in range(volumes):
            courses = 0.8 * courses + rng.normal(size=20)
            image[mask] = np.rint(8 * (1000 + 8 * (courses @ weights) + rng.normal(0, 10, len(inside))))
            out.add(image)
    motion = np.cumsum(rng.normal(0, 0.01, (volumes, 6)), 0) * [1, 1, 1, 0.01, 0.01, 0.01]
    write_table(folder / "motion_params.tsv", AXES, motion)
    write_table(folder / "parcels_raw.tsv", ["a", "b"], 1000 + np.cumsum(rng.normal(size=(volumes, 2)), 0))
    Recipe(TR_S, volumes, low_hz=0.01).save(folder / "filter_recipe.json")
    facts = {"RepetitionTime": TR_S, "NumberOfVolumes": volumes, "EmptyVolumes": [], "GrandMean": 1000.0,
             "Space": "MNI", "AtlasName": "two"}  # fmt: skip
    for name in ("voxel_sample.nii.gz", "motion_params.tsv", "parcels_raw.tsv"):
        write_facts(folder / name, facts)
    write_facts(folder / "filter_recipe.json", {"CensorThresholdMm": None, "RepetitionTime": TR_S})


def run(stage: str, folder: Path) -> None:
    """One stage in this process; prints its peak memory, MB."""
    from importlib import import_module

    from brainlm_data.methods import ica
    from brainlm_data.runner.call import call

    ica.PASSES = 5
    made: Any = import_module(f"brainlm_data.stages.{stage}")
    there = {path.name.split(".")[0]: path for path in folder.iterdir() if path.suffix != ".json"}
    there["filter_recipe"] = folder / "filter_recipe.json"
    files = {name: there[name] for name in made.STAGE.inputs if name in there}
    section = {"fits": 1} if "fits" in made.Config.model_fields else {}
    outputs = {name: folder / ENDS[name] for name in made.STAGE.outputs}
    call(made.STAGE, Files(files, {"id": "sub-01", "metadata": {}}), outputs, made.Config(**section))
    print(json.dumps(round(memory_mb())))


def main() -> None:
    """One JSON object: stage -> volumes -> MB."""
    wanted = parser(__doc__)
    wanted.add_argument("--volumes", nargs="+", type=int, default=[300, 1200])
    options = wanted.parse_args()
    peaks: dict[str, dict[int, int]] = {"confounds": {}, "denoise": {}}
    for volumes in options.volumes:
        with tempfile.TemporaryDirectory() as place:
            sample(Path(place), volumes)
            for stage in peaks:
                code = "import sys; from pathlib import Path; from benchmarks.volumes import run;"
                call = [sys.executable, "-c", f"{code} run(sys.argv[1], Path(sys.argv[2]))", stage, place]
                done = subprocess.run(call, check=True, capture_output=True, text=True)
                peaks[stage][volumes] = int(done.stdout.splitlines()[-1])
    show({"peak_mb": peaks}, options.json)


if __name__ == "__main__":
    main()
