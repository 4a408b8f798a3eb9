"""`input.kind`: the DAG's stages bring what exists into the same store as `brainlm-data import` does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from brainlm_data import Card, open_store
from brainlm_data.cli import main
from brainlm_data.graph.dag import Dag
from brainlm_data.imports import KINDS
from brainlm_data.imports.images import planned
from brainlm_data.pipeline import STAGES
from tests.imports.images import atlas, derivatives
from tests.imports.made import abide, pcp, run, signal
from tests.imports.test_arrays import bids
from tests.imports.test_dtseries import dlabel, dtseries
from tests.imports.test_hcp_ukb import hcp, ukb
from tests.imports.test_ptseries_dat import ptseries


def many(write: Callable[[Path, int], Any]) -> Callable[[Path], Path]:
    """A folder with four people."""

    def made(folder: Path) -> Path:
        for number in range(1, 5):
            write(folder, number)
        return folder

    return made


def dat(folder: Path, number: int) -> None:
    folder.mkdir(exist_ok=True)
    np.savetxt(folder / f"sub-{number:02d}_task-rest.dat", signal(number, parcels=424), delimiter="\t")


def images(folder: Path) -> dict[str, Any]:
    """Keys of images: the atlas that they were made with."""
    return {"atlas": str(atlas(folder / "atlas"))}


# kind: (its example, the TR that is given)
EXAMPLES: dict[str, tuple[Callable[[Path], Path], float | None]] = {
    "abide": (abide, None),
    "pcp": (pcp, 2.0),
    "arrays": (bids, None),
    "parcellated": (bids, None),
    "ptseries": (many(lambda folder, i: ptseries(folder / f"sub-{i:02d}.ptseries.nii", signal(i))), None),
    "dat": (many(dat), 1.5),
    "fmriprep": (derivatives, None),
    "hcp": (many(lambda folder, i: hcp(folder, str(100000 + i), seed=i)), None),
    "dtseries": (many(lambda folder, i: dtseries(folder / f"sub-{i:02d}_task-rest.dtseries.nii", seed=i)), None),
    "ukb": (many(lambda folder, i: ukb(folder, str(1000000 + i), seed=i)), None),
}


def stages(folder: Path, *names: str, **config: Any) -> int:
    """`brainlm-data run`, one stage after the other; the first exit status that is not 0."""
    (folder / "config.yaml").write_text(yaml.safe_dump({"outdir": str(folder / "dag"), **config}))
    for name in names:
        if status := main(["run", name, "--configfile", str(folder / "config.yaml"), "--threads", "1"]):
            return status
    return 0


def test_every_kind_has_an_example() -> None:
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_same_store_as_the_command(tmp_path: Path, kind: str) -> None:
    make, tr_s = EXAMPLES[kind]
    path = make(tmp_path / "in")
    given = images(tmp_path) if kind in ("fmriprep", "hcp", "ukb") else {}
    given |= {"atlas": str(dlabel(tmp_path / "areas.dlabel.nii"))} if kind == "dtseries" else {}
    words = [*(["--atlas", given["atlas"]] if given else []), *(["--tr", str(tr_s)] if tr_s else [])]
    assert run(kind, path, tmp_path / "out", *words) == 0
    section = {"kind": kind, "path": str(path), "tr_s": tr_s, **given}
    assert stages(tmp_path, "input", "imported", "collate", input=section) == 0
    here, there = (open_store(tmp_path / name / "store.zarr") for name in ("dag", "out"))
    assert here.recordings["id"].tolist() == there.recordings["id"].tolist()
    for name in here.recordings["id"]:
        np.testing.assert_array_equal(here.series(name), there.series(name))
        np.testing.assert_array_equal(here.valid(name), there.valid(name))
    shared = ["id", "subject", "tr_s", "n_volumes", "split", "status", "mean_fd_mm", "band_low_hz", "band_high_hz"]
    assert here.recordings[shared].equals(there.recordings[shared])
    same = ("atlas", "atlas_sha256", "space", "network_source", "parcels", "units", "rate_hz")
    assert {key: here.attrs[key] for key in same} == {key: there.attrs[key] for key in same}
    said = {**there.attrs["imported"], "kind": "arrays" if kind == "parcellated" else kind}
    assert here.attrs["imported"] == said
    scalers = here.scaler, there.scaler
    assert scalers[0] is not None and scalers[1] is not None
    np.testing.assert_array_equal(scalers[0].iqr, scalers[1].iqr)


def test_a_recording_that_cannot_be_used_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    folder = bids(tmp_path / "in")
    broken = next(folder.rglob("sub-02_*.npy"))
    broken.write_bytes(broken.read_bytes()[:100])
    np.save(next(folder.rglob("sub-03_*.npy")), signal(1, volumes=61, parcels=5))
    assert stages(tmp_path, "input", "imported", "collate", input={"kind": "arrays", "path": str(folder)}) == 0
    table = open_store(tmp_path / "dag/store.zarr").recordings.set_index("id")
    refused = table[table["status"] == "refused"]["reason"]
    assert "not an array of numbers" in refused["sub-02_task-rest_run-2"]
    assert "5 columns, 6 parcels expected" in refused["sub-03_task-rest_run-2"]
    assert len(refused) == 2 and len(table) == 12


@pytest.mark.parametrize("command", [False, True])
def test_a_name_that_could_be_words_of_a_command_is_left_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: bool
) -> None:
    folder = bids(tmp_path / "in")
    np.save(folder / "$(id).npy", signal(9))
    if command:
        assert main(["import", "arrays", str(folder), str(tmp_path / "out"), "--tr", "2"]) == 0
        assert "left aside: $(id).npy: the name" in capsys.readouterr().err
    else:
        given = {"kind": "arrays", "path": str(folder), "tr_s": 2.0}
        dag = Dag({"outdir": str(tmp_path / "dag"), "input": given}, STAGES)
        assert dag.n_recordings and "$(id).npy: the name" in dag.left_aside[0]


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    """Its own files, its sidecar, its row: by the receipt of each recording."""
    folder = bids(tmp_path / "in")
    section = {"kind": "arrays", "path": str(folder)}
    receipts = tmp_path / "dag/work/receipts/imported"

    def again(**more: Any) -> set[str]:
        before = {file.stem: file.stat().st_mtime_ns for file in receipts.glob("*")}
        assert stages(tmp_path, "input", "imported", input=section, **more) == 0
        return {file.stem for file in receipts.glob("*") if before.get(file.stem) != file.stat().st_mtime_ns}

    assert len(again()) == 12 and again() == set()
    assert again(collate={"seed": 9}) == set()
    np.save(next(folder.rglob("sub-02_*.npy")), signal(77))
    assert again() == {"sub-02_task-rest_run-2"}
    beside = next(folder.rglob("sub-03_*run-1*.json"))
    beside.write_text(json.dumps({"RepetitionTime": 2.5}))
    assert again() == {"sub-03_task-rest_run-1"}
    assert len(again(imported={"hz": 0.5})) == 12


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"kind": "arrays"}, "kind arrays needs path"),
        ({"kind": "bids", "path": "x"}, "kind bids starts from bids_dir"),
        ({"kind": "nifti", "path": "x"}, "'parcellated'"),
        ({"kind": "arrays", "path": "/nowhere"}, "input.path: there is no /nowhere"),
        ({"kind": "hcp", "path": "."}, "give the folder of the subjects"),
        ({"kind": "arrays", "path": ".", "atlas": "A424"}, "are for images"),
    ],
)
def test_what_cannot_be_meant(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, Any],
    words: str,
) -> None:
    """One line, before any job."""
    monkeypatch.chdir(tmp_path)
    assert stages(tmp_path, "input", input=section) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and len(said.splitlines()) == 2


def test_the_kind_of_parcel_series_is_told_by_the_endings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bids(tmp_path / "in")
    (folder / "x.1D").write_text("1 2\n")
    assert run("parcellated", folder, tmp_path / "out") == 2
    assert "files of kinds arrays and pcp" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("parcellated", tmp_path / "empty", tmp_path / "out") == 2
    assert "no file that ends in .npz" in capsys.readouterr().err


def test_a_cohort_that_grows_keeps_its_shards(tmp_path: Path) -> None:
    """Through the runner: the old store is set aside, taken from, and gone when the new one stands."""
    folder = bids(tmp_path / "in", subjects=20)
    section = {"kind": "arrays", "path": str(folder)}
    assert stages(tmp_path, "input", "imported", "collate", input=section) == 0
    store = tmp_path / "dag/store.zarr"

    def first_shard() -> int:
        return (store / "bold/c/0/0").stat().st_ino

    before = first_shard()
    bids(tmp_path / "more", subjects=22)
    for number in (20, 21):
        (tmp_path / f"more/sub-{number}").rename(folder / f"sub-{number}")
    (tmp_path / "more/participants.tsv").rename(folder / "participants.tsv")
    assert stages(tmp_path, "input", "imported", "collate", input=section) == 0
    assert first_shard() == before and len(open_store(store).recordings) == 44
    assert not list((tmp_path / "dag/work/collate/cohort.state/before").glob("*"))
    assert stages(tmp_path, "collate", input=section, collate={"seed": 5}) == 0
    assert first_shard() == before
    np.testing.assert_allclose(open_store(store).series("sub-21_task-rest_run-2")[::2], signal(43), rtol=1e-5)


def test_a_table_that_comes_or_changes_reruns_the_stage(tmp_path: Path) -> None:
    """As Snakemake sees it: the signature of stage input."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        np.save(folder / f"sub-{number:02d}.npy", signal(number))
    labels = tmp_path / "labels.tsv"
    labels.write_text("index\tname\n" + "".join(f"{i}\tp{i}\n" for i in range(1, 7)))
    config = {"outdir": str(tmp_path / "dag"), "input": {"kind": "arrays", "path": str(folder), "labels": str(labels)}}

    def asked() -> str:
        return Dag(config, STAGES)["input"].signature

    seen = [asked(), asked()]
    (folder / "participants.tsv").write_text("participant_id\ttr\n" + "".join(f"sub-{i:02d}\t2\n" for i in range(4)))
    seen.append(asked())
    labels.write_text(labels.read_text().replace("p1", "first"))
    seen.append(asked())
    assert [a == b for a, b in itertools.pairwise(seen)] == [True, False, False]
    assert stages(tmp_path, "input", "imported", "collate", input=config["input"]) == 0
    store = open_store(tmp_path / "dag/store.zarr")
    assert store.parcels["name"][0] == "first" and (store.recordings["tr_s"] == 2).all()


def test_a_link_to_nothing_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    """As git-annex leaves a file that was not fetched; of images, too."""
    folder = derivatives(tmp_path / "in")
    image = next((folder / "sub-02").rglob("*_desc-preproc_bold.nii.gz"))
    image.unlink()
    image.symlink_to("../../.git/annex/objects/none")
    section = {"kind": "fmriprep", "path": str(folder), **images(tmp_path)}
    assert stages(tmp_path, "input", "imported", "collate", input=section) == 0
    table = open_store(tmp_path / "dag/store.zarr").recordings.set_index("id")
    assert "datalad get" in table.loc["sub-02_task-rest", "reason"]
    assert (table["status"] == "done").sum() == len(table) - 1


def test_a_label_image_that_changed_mixes_no_two_atlases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = {"kind": "fmriprep", "path": str(derivatives(tmp_path / "in")), **images(tmp_path)}
    assert stages(tmp_path, "input", input=section) == 0
    image = nib.load(section["atlas"])
    assert isinstance(image, nib.Nifti1Image)
    data = np.asarray(image.dataobj)
    other = np.where(data == 1, 2, np.where(data == 2, 1, data)).astype(np.int16)
    nib.save(nib.Nifti1Image(other, image.affine), section["atlas"])
    planned.cache_clear()  # as in another process
    assert stages(tmp_path, "imported", input=section) == 2
    assert "the atlas is not the one that stage input saw" in capsys.readouterr().err


def test_a_path_from_within_a_subjects_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = EXAMPLES["hcp"][0](tmp_path / "in")
    section = {"kind": "hcp", "path": ".", **images(tmp_path)}
    monkeypatch.chdir(folder / "100002")
    assert stages(tmp_path, "input", "imported", input=section) == 0
    assert [p.name for p in (tmp_path / "dag/derivatives").glob("sub-*")] == ["sub-100002"]


def test_rows_of_recordings_and_what_did_not_join_are_those_of_the_command(tmp_path: Path) -> None:
    folder = bids(tmp_path / "in")
    rows = [
        (f"sub-{i:02d}_task-rest_run-{r}", i, f"{80 + i + r}", "A" if i < 2 else "B") for i in range(5) for r in (1, 2)
    ]
    rows[-1] = (rows[-1][0], 4, "89+", "n/a")
    rows.append(("sub-77_task-rest_run-1", 77, "3", "B"))
    lines = ["\t".join(map(str, row)) for row in [("id", "participant_id", "age", "site"), *rows]]
    (folder / "participants.tsv").write_text("\n".join(lines))
    external = {"site": ["A"]}
    assert run("arrays", folder, tmp_path / "out", "--external", "site=A") == 0
    section = {"kind": "arrays", "path": str(folder)}
    assert stages(tmp_path, "input", "imported", "collate", input=section, collate={"external": external}) == 0
    tables = [open_store(tmp_path / name / "store.zarr").recordings.set_index("id") for name in ("dag", "out")]
    for table in tables:
        assert table["age"].dropna().tolist() == [81, 82, 82, 83, 83, 84, 84, 85, 85, 89]
        assert set(table.index[table["split"] == "external"].str[:6]) == {"sub-00", "sub-01"}
    here, there = (Card.read(tmp_path / name) for name in ("dag", "out"))
    assert here.warnings == there.warnings and here.columns == there.columns
    assert here.columns == {"age": "89+ taken as 89, in 1 of 11 rows (participants.tsv)"}
    assert (
        here.warnings[0] == "participants.tsv: no row for 1 of 6 people (05)"
        and "(sub-77_task-rest_run-1)" in here.warnings[1]
    )
    for card in (here, there):
        assert card.cohort is not None and card.cohort.external_unknown == {"site": ["05"]}
        assert "whole groups" not in card.markdown() and "the site of 1 subjects is not known (05)" in card.markdown()
