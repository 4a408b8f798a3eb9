"""What `brainlm-data import` of preprocessed images costs per recording, beside nilearn's NiftiLabelsMasker.

    python -m benchmarks.image_imports --json [--volumes 100] [--recordings 3]

Generated runs, int16 .nii.gz: in template space (99x117x95, 2 mm, as fMRIPrep and HCP write them) and native
(88x88x64, 2.4 mm, as UK Biobank's) with a dense warp; parcels demo424, each with a known series, and noise a voxel. CPU
seconds of a recording are those of an import of `--recordings` less those of one, over their difference, so without
start and store; one thread. `peak_mb`: above an empty process; `peak_mb_half`: with half of the volumes. `read_cpu_s`:
`Run` alone, one pass over the file in template space. `error`: largest difference of HCP's series (which are only
averaged and resampled) from the known ones, over their standard deviation. nilearn: the same parcel means, confounds
and high-pass of the fMRIPrep run, from the file, once.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tools import Cost, apart, one_thread, parser, show

one_thread()

# ruff: noqa: E402
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

TR_S = 0.72
SPACE = "MNI152NLin2009aSym"
NATIVE, NATIVE_MM = (88, 88, 64), 2.4
COMPONENTS = 5
STEM = "sub-{0}_task-rest"


def courses(volumes: int, parcels: int) -> NDArray[np.float64]:
    """(volume, parcel), slow, about 10000."""
    rng = np.random.default_rng(0)
    time = np.arange(volumes)[:, None] * TR_S
    return 10000 + 100 * np.sin(2 * np.pi * (rng.uniform(0.01, 0.08, parcels) * time + rng.uniform(0, 1, parcels)))


def write(folder: Path, volumes: int, recordings: int) -> None:
    """The three data sets; recordings of one kind are the same file under several names."""
    from brainlm_data.reading.image import Writer
    from brainlm_data.spaces.demo424 import embedded_atlas

    image, table = embedded_atlas()
    labels, affine = np.asarray(image.dataobj), np.asarray(image.affine)
    nib.save(image, folder / "labels.nii.gz")
    series = courses(volumes, len(table))
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 200, (4, *labels.shape)).astype(np.float32)  # four volumes of it, in turn
    inside = labels > 0
    noise[:, ~inside] = 0
    noise[:, inside] -= (np.stack([np.bincount(labels[inside], n[inside]) for n in noise])
                         / np.maximum(np.bincount(labels[inside]), 1))[:, labels[inside]]  # fmt: skip
    with Writer(folder / "template.nii.gz", (*labels.shape, volumes), affine, np.int16, TR_S, 0.5) as out:
        for volume, row in enumerate(series):
            out.add(np.rint(2 * (np.concatenate([[0.0], row])[labels] + noise[volume % 4])).clip(-32000, 32000))
    native = np.diag([-NATIVE_MM, NATIVE_MM, NATIVE_MM, 1.0])
    native[:3, 3] = [NATIVE_MM * 43, -120, -70]
    with Writer(folder / "native.nii.gz", (*NATIVE, volumes), native, np.int16, TR_S, 0.5) as out:
        for _ in range(volumes):
            out.add(rng.integers(18000, 22000, NATIVE, dtype=np.int16))
    shift = np.zeros((*labels.shape, 3), np.float32)
    shift += np.array([5, -8, 3], np.float32)
    shift[..., 0] += 3 * np.sin(np.arange(labels.shape[1]) / 20)[None, :, None]
    warp = nib.Nifti1Image(shift, affine)
    warp.header["intent_code"] = 2006
    nib.save(warp, folder / "warp.nii.gz")
    for number in range(recordings):
        _links(folder, f"{number:03d}", volumes)


def _links(folder: Path, who: str, volumes: int) -> None:
    stem = STEM.format(who)
    func = folder / "fmriprep" / f"sub-{who}" / "func"
    results = folder / "hcp" / who / "MNINonLinear" / "Results" / "rfMRI_REST1_LR"
    ica = folder / "ukb" / f"1{who}_20227_2_0" / "fMRI" / "rfMRI.ica"
    for place in (func, results, ica / "reg"):
        place.mkdir(parents=True)
    base = f"{stem}_space-{SPACE}_desc-preproc_bold"
    os.link(folder / "template.nii.gz", func / f"{base}.nii.gz")
    (func / f"{base}.json").write_text(json.dumps({"RepetitionTime": TR_S}))
    (func / f"{stem}_desc-confounds_timeseries.tsv").write_text(confounds(volumes))
    os.link(folder / "template.nii.gz", results / "rfMRI_REST1_LR_hp2000_clean.nii.gz")
    os.link(folder / "native.nii.gz", ica / "filtered_func_data_clean.nii.gz")
    os.link(folder / "warp.nii.gz", ica / "reg" / "example_func2standard_warp.nii.gz")


def confounds(volumes: int) -> str:
    """A table with what strategy acompcor takes."""
    rng = np.random.default_rng(2)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    names += [f"{name}_derivative1" for name in names]
    names += [f"{mask}_comp_cor_{i:02d}" for mask in "cw" for i in range(COMPONENTS)]
    rows = rng.normal(0, 0.01, (volumes, len(names)))
    return "\n".join(["\t".join(names), *("\t".join(f"{v:.6g}" for v in row) for row in rows)]) + "\n"


def cost(kind: str, path: str, outdir: str) -> dict[str, float]:
    """One import."""
    words = ["--atlas", "demo424", "--allow-space-mismatch", "--validation", "0", "--test", "0"]
    with Cost() as spent:
        from brainlm_data.cli import main

        with contextlib.redirect_stdout(sys.stderr):
            if main(["import", kind, path, outdir, *words]):
                raise RuntimeError("the import failed")  # SystemExit would leave the pool waiting
    return {"cpu_s": spent.seconds, "peak_mb": spent.mb}


def read(path: str) -> float:
    """CPU seconds of one pass."""
    from brainlm_data.reading.image import Run

    with Cost() as spent:
        for _ in Run(Path(path)):
            pass
    return spent.seconds


def peer(folder: str) -> dict[str, float]:
    """nilearn on the same file, imports of modules not counted."""
    import pandas as pd
    from nilearn.maskers import NiftiLabelsMasker

    func = Path(folder) / "fmriprep" / "sub-000" / "func"
    table = pd.read_csv(func / f"{STEM.format('000')}_desc-confounds_timeseries.tsv", sep="\t")
    with Cost() as spent:
        masker = NiftiLabelsMasker(
            str(Path(folder) / "labels.nii.gz"), standardize=None, resampling_target=None, high_pass=0.01, t_r=TR_S
        )
        masker.fit_transform(str(next(func.glob("*_bold.nii.gz"))), confounds=table)
    return {"cpu_s": spent.seconds, "peak_mb": spent.mb}


def error(store: str, volumes: int) -> float:
    """Largest difference of a recording of HCP's from what is known."""
    from brainlm_data import open_store
    from brainlm_data.methods.operators import resample

    made = open_store(store)
    known = courses(volumes, len(made.parcels))
    found = made.series(made.recordings["id"][0])
    return float(np.abs(found - resample(known, TR_S, 1.0)).max() / known.std(0).mean())


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--volumes", type=int, default=100)
    arguments.add_argument("--recordings", type=int, default=3)
    given = arguments.parse_args()
    if given.volumes < 50 or given.recordings < 2:
        raise SystemExit("at least 50 volumes (half of them must exceed the regressors) and 2 recordings")
    found: dict[str, Any] = {"volumes": given.volumes}
    with tempfile.TemporaryDirectory() as name:
        places = {"whole": given.volumes, "half": given.volumes // 2}
        for key, volumes in places.items():
            (Path(name) / key).mkdir()
            apart(write, Path(name) / key, volumes, given.recordings if key == "whole" else 1)
        for kind, inner in (("fmriprep", "sub-000"), ("hcp", "000"), ("ukb", "1000_20227_2_0")):
            folder = Path(name) / "whole" / kind
            all_ = apart(cost, kind, str(folder), str(Path(name) / f"{kind}-all"))
            one = apart(cost, kind, str(folder / inner), f"{name}/{kind}-one")
            half = apart(cost, kind, str(Path(name) / "half" / kind), f"{name}/{kind}-half")
            found[kind] = {
                "cpu_s_a_recording": (all_["cpu_s"] - one["cpu_s"]) / (given.recordings - 1),
                "cpu_s_of_one": one["cpu_s"], "peak_mb": all_["peak_mb"], "peak_mb_half": half["peak_mb"],
            }  # fmt: skip
        found["read_cpu_s"] = apart(read, f"{name}/whole/template.nii.gz")
        found["error"] = apart(error, f"{name}/hcp-all/store.zarr", given.volumes)
        found["nilearn"] = apart(peer, f"{name}/whole")
    found["ratio"] = found["nilearn"]["cpu_s"] / found["fmriprep"]["cpu_s_a_recording"]
    show(found, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
