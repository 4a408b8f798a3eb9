"""Stage imported, alone: what it writes, and how far it goes on images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from brainlm_data.files.tables import read_table
from brainlm_data.paths import artifact_path
from brainlm_data.pipeline import STAGES
from brainlm_data.stage import Stage
from tests.imports.images import derivatives
from tests.imports.made import signal
from tests.imports.test_arrays import NAMES, bids
from tests.imports.test_input import images, stages


def test_series_sidecar_and_metrics_of_a_recording(tmp_path: Path) -> None:
    section = {"kind": "arrays", "path": str(bids(tmp_path / "in"))}
    assert stages(tmp_path, "input", "imported", input=section) == 0
    func = tmp_path / "dag/derivatives/sub-03/func"
    stem = "sub-03_task-rest_run-2_space-unknown_seg-imported_stat-mean_timeseries"
    names, values = read_table(func / f"{stem}.tsv")
    assert names == NAMES and values.shape == (119, 6)
    np.testing.assert_allclose(values[::2], signal(7), rtol=1e-5)
    facts = json.loads((func / f"{stem}.json").read_text())
    assert facts["SamplingFrequency"] == 1 and facts["RepetitionTime"] == 2 and facts["StartTime"] == 0.5
    assert facts["FilterMethod"] is None  # series are as they were
    assert facts["EffectiveBand"] == [None, 0.25] and facts["Units"] == "as in the source"
    assert facts["SourceDigests"].keys() >= {"bids::atlas/atlas-imported/atlas-imported_dseg.tsv"}


def test_images_are_filtered_and_denoised_as_asked(tmp_path: Path) -> None:
    section = {"kind": "fmriprep", "path": str(derivatives(tmp_path / "in")), **images(tmp_path)}
    asked = {"strategy": "24P", "low_hz": 0, "high_hz": 0.1, "censor_fd_mm": 0.12}
    assert stages(tmp_path, "input", "imported", input=section, imported=asked) == 0
    func = tmp_path / "dag/derivatives/sub-01/func"
    facts = json.loads(next(func.glob("*_seg-blocks_stat-mean_timeseries.json")).read_text())
    assert facts["EffectiveBand"] == [0, 0.1] and facts["FilterMethod"] == "butterworth"
    assert facts["Parameters"]["strategy"] == "24P"
    done = facts["GeneratedBy"]["Description"]
    assert "columns of the source's confounds" in done and "0.12 mm" in done
    metrics = json.loads(next(func.glob("*_metrics.json")).read_text())
    assert metrics["n_confounds"] > 12 and metrics["n_censored"] > 0 and metrics["mean_fd_mm"] > 0

    # no parcel has more variance than without the confounds
    series = next(func.glob("*_seg-blocks_stat-mean_timeseries.tsv"))
    denoised = read_table(series)[1]
    assert stages(tmp_path, "input", "imported", input=section, imported=asked | {"strategy": "none"}) == 0
    assert (np.nanvar(denoised, axis=0) <= np.nanvar(read_table(series)[1], axis=0)).all()


def test_bundles_of_one_and_of_four_recordings_give_the_same_bytes(tmp_path: Path) -> None:
    """From images to the store: what one process remembers of a recording must not reach the next."""
    section = {"kind": "fmriprep", "path": str(derivatives(tmp_path / "in")), **images(tmp_path)}
    written = []
    for size in (1, 4):
        outdir = tmp_path / f"bundles-of-{size}"
        config = {"input": section, "outdir": str(outdir), "bundle_size": size}
        assert stages(tmp_path, "input", "imported", "collate", **config) == 0
        files = [path for path in outdir.rglob("*") if path.is_file() and outdir / "work" not in path.parents]
        written.append({str(path.relative_to(outdir)): path.read_bytes() for path in files})
        assert len(list((outdir / "work/imported").iterdir())) == 4 // size
    one, four = written
    assert {"scaler.npz", "recordings.parquet", "store.zarr/zarr.json"} < one.keys() == four.keys()
    assert [name for name in one if one[name] != four[name]] == []


def test_golden(tmp_path: Path, golden: Callable[..., None]) -> None:
    section = {"kind": "fmriprep", "path": str(derivatives(tmp_path / "in", people=2)), **images(tmp_path)}
    assert stages(tmp_path, "input", "imported", input=section) == 0
    stage = {stage.name: stage for stage in STAGES}
    names = {"space": "MNI", "seg": "blocks"}
    varies = ("GeneratedBy", "Sources", "SourceDigests", "Reading", "Parameters")

    def check(name: str, prefix: str, of: str, after: list[Stage]) -> None:
        outputs = {one: artifact_path(one, tmp_path / "dag", prefix, names) for one in stage[name].outputs}
        facts = json.loads(outputs[of].with_suffix(".json").read_text())
        golden(stage[name], outputs, facts, after=after, ignore=varies)

    check("input", "", "atlas_table", [])
    check("imported", "sub-01/func/sub-01_task-rest", "parcels", [stage["input"]])
