"""`brainlm-data why`: from results back to raw files, and what became of a recording, on an outdir that stages made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainlm_data.cli import main
from brainlm_data.files.sidecar import digest, load_record, record_text
from brainlm_data.runner.software import software
from tests.imports.made import run as imported
from tests.imports.made import signal
from tests.imports.test_arrays import bids
from tests.imports.test_input import stages

DONE = "sub-00_task-rest_run-1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source (`in`) and the outdir (`dag`): six people, of whom some do not arrive."""
    folder = tmp_path_factory.mktemp("why")
    source = bids(folder / "in")
    broken = next(source.rglob("sub-02_*.npy"))
    broken.write_bytes(broken.read_bytes()[:100])  # refused
    np.save(next(source.rglob("sub-03_*.npy")), signal(1, volumes=31))  # excluded
    np.save(source / "$(id).npy", signal(9))  # left aside
    sections = {
        "input": {"kind": "arrays", "path": str(source), "tr_s": 2.0}, "select": {"subject": ["00", "01", "02", "03"]},
        "collate": {"exclude": {"seconds": 80}, "validation": 0.25, "test": 0.25, "external": {}},
    }  # fmt: skip
    assert stages(folder, "input", "imported", "collate", **sections) == 0
    return folder


@pytest.fixture
def why(made: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the command says as JSON; of an error its lines."""

    def call(*words: str, expected: int = 0, form: str = "--json") -> Any:
        capsys.readouterr()
        asked = [str(made / "dag" / words[0]), *words[1:]]
        assert main(["why", *asked, *([form] if form else [])]) == expected
        said = capsys.readouterr()
        if expected:
            return said.err
        return json.loads(said.out) if form else said.out

    return call


def stage(found: dict[str, Any], name: str) -> dict[str, Any]:
    (node,) = [node for node in found["trace"]["made"] if node["stage"] == name]
    return dict(node)


def test_a_derivative_leads_to_its_raw_file(why: Any, made: Path) -> None:
    file = next((made / "dag/derivatives").rglob("sub-00*run-1*_timeseries.tsv"))
    found = why(str(file.relative_to(made / "dag")))
    assert found["outputs"]["parcels"]["sha256"] == digest(file)
    assert [node["stage"] for node in found["trace"]["made"]] == ["imported", "input"]
    node = stage(found, "imported")
    assert node["units"] == [DONE] and node["configuration"]["hz"] == 1.0
    assert node["manifests"] == [f"work/imported/{DONE}.json"]
    assert node["software"]["numpy"] == [np.__version__] and node["software"].keys() <= software().keys()
    (raw,) = [raw for raw in found["trace"]["raw"] if raw["path"].endswith(".tsv") and "sub-00" in raw["path"]]
    assert raw["sha256"] == digest(Path(raw["path"])) and raw["state"] == "unchanged"
    assert why(str(file.with_suffix(".json").relative_to(made / "dag")))["outputs"].keys() == {"parcels.json"}


def test_a_cohort_leads_to_all_and_a_recording_in_it_to_its_own(why: Any, made: Path) -> None:
    found = why("store.zarr")
    assert len(stage(found, "imported")["units"]) == 7 and len(stage(found, "imported")["refused"]) == 1
    assert stage(found, "collate")["configuration"]["exclude"]["seconds"] == 80
    assert stage(found, "collate")["reads"]["parcels"] == "imported"
    one = why("store.zarr", DONE)
    assert stage(one, "imported")["units"] == [DONE] and one["absent"] == ""
    assert one["fate"]["status"] == "done" and one["fate"]["split"] and one["fate"]["steps"] == 119
    other = next((made / "dag/derivatives").rglob("sub-01*run-1*_timeseries.tsv")).relative_to(made / "dag")
    assert "the file is of sub-01_task-rest_run-1 alone" in why(str(other), DONE)["absent"]
    assert why("store.zarr/bold/zarr.json")["outputs"].keys() == {"store"}
    assert why("card.md")["outputs"].keys() == {"card"}


def test_a_row_of_a_table(why: Any, made: Path) -> None:
    found = why("recordings.parquet:1")
    assert found["row"]["id"] == found["fate"]["recording"] == DONE
    assert stage(found, "imported")["units"] == [DONE]
    assert "no row 99" in why("recordings.parquet:99", expected=2)
    atlas = next((made / "dag/derivatives/atlas").rglob("*_dseg.tsv")).relative_to(made / "dag")
    assert "line 2" in why(f"{atlas}:2", form="") and "line 1 is the header" in why(f"{atlas}:1", expected=2)


@pytest.mark.parametrize(
    ("recording", "status", "at", "reason"),
    [
        ("sub-02_task-rest_run-2", "refused", "imported", "not an array of numbers"),
        ("sub-03_task-rest_run-2", "excluded", "collate", "below collate.exclude.seconds 80"),
        ("sub-04_task-rest_run-1", "left out", "index", "select"),
        ("$(id)", "left out", "index", "the name"),
    ],
)
def test_a_recording_that_did_not_arrive(why: Any, recording: str, status: str, at: str, reason: str) -> None:
    found = why("", recording)["fate"]
    assert (found["status"], found["stage"]) == (status, at) and reason in found["reason"] and found["remedy"]
    text = why("", recording, form="")
    assert f"{recording}: {status}" in text and "try: " in text
    if status in ("refused", "excluded"):
        assert text.count(reason) == 1  # in its branch, and not again of each stage that follows
        assert reason in why("store.zarr", recording)["absent"]


@contextmanager
def away(file: Path) -> Iterator[None]:
    """Without a file for a while."""
    kept = file.with_name(f"{file.name}.kept")
    file.rename(kept)
    try:
        yield
    finally:
        kept.rename(file)


def test_before_there_is_a_store(why: Any, made: Path) -> None:
    table, manifest = made / "dag/recordings.parquet", made / "dag/work/collate/cohort.json"
    with away(table):
        found = why("", DONE)["fate"]
        assert found["status"] == "unfinished" and f"{table}, which was written" in found["reason"]
        with away(manifest):
            assert why("", DONE)["fate"]["status"] == "processed"
            assert f"{DONE}: processed; there is no store yet" in why("", DONE, form="")


def test_a_recording_that_was_not_finished(why: Any, made: Path) -> None:
    manifest, kept = made / f"dag/work/imported/{DONE}.json", made / "dag/recordings.parquet"
    log = made / f"dag/work/logs/imported/{DONE}.log"
    for file in (manifest, kept):
        shutil.move(file, made / file.name)
    log.parent.mkdir(parents=True)
    log.write_text("Killed")
    try:
        found = why("", DONE)["fate"]
        assert found["status"] == "unfinished" and found["stage"] == "imported" and str(log) in found["reason"]
    finally:
        for file in (manifest, kept):
            shutil.move(made / file.name, file)
        shutil.rmtree(log.parents[1])


def test_a_name_that_nobody_has(why: Any) -> None:
    assert "nearly: sub-00_task-rest_run" in why("", "sub-00_task-rest_run-3", expected=2)


def test_the_tree_is_short_and_names_what_is_not_the_default(why: Any) -> None:
    lines = why("scaler.npz", form="").splitlines()
    assert lines[0].endswith("bytes)") and len(lines) < 40 and max(map(len, lines[1:])) < 120
    text = "\n".join(lines)
    assert "├─ collate" in text and "exclude.seconds: 80" in text and "chunk_steps" not in text
    assert "└─ software" in text and "numpy" in text


@contextmanager
def edited(file: Path, content: bytes) -> Iterator[None]:
    """A file with another content for a while."""
    before, times = file.read_bytes(), file.stat()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_was_edited_or_is_no_output_is_said_in_one_line(why: Any, made: Path) -> None:
    with edited(made / "dag/card.md", b"better"):
        said = why("card.md", expected=2)
        assert "is not what collate wrote" in said and said.count("\n") == 2
    (made / "dag/mine.txt").write_text("x")
    (made / "elsewhere.txt").write_text("x")
    assert "no output" in why("mine.txt", expected=2)
    assert "no output" in why("../elsewhere.txt", expected=2)
    assert "there is no such file" in why("nothing.csv", expected=2)
    assert "a record of the run" in why(f"work/imported/{DONE}.json", expected=2)
    assert "not a table" in why("card.md:3", expected=2)
    assert "name a file in it" in why("", expected=2)


def test_records_that_are_damaged_are_said(why: Any, made: Path) -> None:
    with edited(made / "dag/work/collate/cohort.json", b"{"):
        assert "manifest" in (said := why("card.md", expected=2)) and said.count("\n") == 2
    with edited(made / "dag/work/receipts/collate/cohort.json", b"{"):
        found = why("card.md")
        assert any("receipt" in note and "damaged" in note for note in found["trace"]["notes"])
        assert len(stage(found, "imported")["units"]) == 7
    with edited(made / f"dag/work/imported/{DONE}.json", b"[]"):
        assert any(f"{DONE}.json" in note for note in why("card.md")["trace"]["notes"])


def test_what_was_written_anew_since_is_noted(why: Any, made: Path) -> None:
    manifest = made / f"dag/work/imported/{DONE}.json"
    content = load_record(manifest, "")
    content["units"][DONE]["outputs"]["parcels"]["sha256"] = "0" * 64
    with edited(manifest, record_text(content).encode()):
        assert "imported wrote its parcels anew" in why("store.zarr")["trace"]["notes"][0]


def test_an_import_by_command_has_its_own_record(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported("arrays", made / "in", made / "out", "--tr", "2") == 0
    capsys.readouterr()
    assert main(["why", str(made / "out/store.zarr"), "sub-02_task-rest_run-2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fate"]["status"] == "refused" and "not an array" in found["fate"]["reason"]
    node = stage(found, "import")
    assert node["configuration"]["kind"] == "arrays" and node["software"]["brainlm-pipeline"]
    assert {raw["sha256"] for raw in found["trace"]["raw"]} >= {digest(next((made / "in").rglob("*_timeseries.tsv")))}
    assert "no manifest has its digest" in found["trace"]["notes"][0]
    assert main(["why", str(made / "out/store.zarr"), DONE]) == 0
    assert "in the store, 119 steps" in capsys.readouterr().out
