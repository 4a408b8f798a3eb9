"""Runs with several echoes: which one stands for the run, and what is said of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainlm_data.bids.echoes import Choice, Echo, choose, sentence, stated
from brainlm_data.bids.index import Index, Recording, Select, read_index
from brainlm_data.cli import main
from brainlm_data.config import validate
from brainlm_data.files.sidecar import write_record
from brainlm_data.graph.edges import details_of
from brainlm_data.paths import listing_path
from brainlm_data.pipeline import STAGES
from brainlm_data.reading.timing import stated_echo
from brainlm_data.why.records import Records, Unit
from tests.conftest import write_bids
from tests.core.test_index import bold
from tests.stages import phantom

TIMES = st.one_of(st.none(), st.floats(0.001, 0.3))


def dataset(root: Path, times: dict[int, float | None]) -> Path:
    """One run, with echoes by number."""
    write_bids(root, subjects=("01",))
    for number, seconds in times.items():
        about = {"RepetitionTime": 2.0} | ({} if seconds is None else {"EchoTime": seconds})
        bold(root, f"sub-02/func/sub-02_task-rest_echo-{number}", json.dumps(about))
    return root


def index_of(root: Path, **select: Any) -> Index:
    return read_index(root, Select.model_validate({"subject": ["02"]} | select))


def one(root: Path, **select: Any) -> Recording:
    (recording,) = index_of(root, **select).recordings
    return recording


@pytest.mark.parametrize(
    ("select", "used"),
    [({}, 2), ({"echo_ms": 50}, 3), ({"echo_ms": 1}, 1), ({"echo_ms": 38.5}, 2), ({"echo": 3}, 3), ({"echo": "3"}, 3),
     ({"echo": "combine"}, 1)],
)  # fmt: skip
def test_the_echo_of_a_run(tmp_path: Path, select: dict[str, Any], used: int) -> None:
    """By time or by number; its id is that of the run, whichever echo is used, and its metadata are its own."""
    root = dataset(tmp_path, {1: 0.013, 2: 0.030, 3: 0.047})
    recording = one(root, **select)
    assert recording.id == "sub-02_task-rest" and not recording.fault
    assert recording.bold.path.endswith(f"_echo-{used}_bold.nii.gz")
    assert recording.metadata["EchoTime"] == {1: 0.013, 2: 0.030, 3: 0.047}[used]


def test_a_number_that_a_run_does_not_have_refuses_it(tmp_path: Path) -> None:
    recording = one(dataset(tmp_path, {1: 0.013, 2: 0.030}), echo=7)
    assert recording.fault.endswith("no echo 7 of this run (there is 1, 2) -> set select.echo")


@pytest.mark.parametrize("seconds", [30.0, 0.0, -0.03, True, "0.03", None, float("nan"), [0.03]])
def test_what_is_no_echo_time(seconds: Any) -> None:
    assert stated_echo({"EchoTime": seconds}) is None


def test_without_times_the_first_is_used_with_a_warning(tmp_path: Path) -> None:
    recording = one(dataset(tmp_path, {1: None, 2: None}))
    facts, warnings = stated({"echo": recording.echo})
    assert facts["EchoNumber"] == 1 and facts["EchoTime"] is None
    assert warnings == ["echo 1 of 2 was used: no EchoTime says which is nearest to select.echo_ms"]


@pytest.mark.parametrize(
    ("times", "why"),
    [({1: 0.013, 2: None}, "EchoTime (seconds) is missing"), ({1: 0.03, 2: 0.03}, "the same EchoTime")],
)
def test_echoes_that_cannot_be_combined_refuse_the_run(tmp_path: Path, times: dict[int, Any], why: str) -> None:
    assert why in one(dataset(tmp_path, times), echo="combine").fault


def test_a_damaged_sidecar_refuses_the_run_only_where_its_echo_is_used(tmp_path: Path) -> None:
    root = dataset(tmp_path, {1: 0.013, 2: 0.030})
    (root / "sub-02/func/sub-02_task-rest_echo-1_bold.json").write_text("{")
    assert not one(root).fault
    assert "echo-1_bold.json" in one(root, echo=1).fault
    assert "echo-1_bold.json" in one(root, echo="combine").fault


def test_single_band_references_belong_to_their_echoes(tmp_path: Path) -> None:
    root = dataset(tmp_path, {1: 0.013, 2: 0.030})
    for image in list(root.glob("sub-02/func/*_echo-?_bold.nii.gz")):
        shutil.copy(image, image.with_name(image.name.replace("_bold", "_sbref")))
    index = index_of(root)
    reference = index.recordings[0].sbref
    assert reference is not None and reference.path.endswith("_echo-2_sbref.nii.gz")
    assert not any("sbref" in line for line in index.ignored)


def test_one_echo_alone_is_said(tmp_path: Path) -> None:
    recording = one(dataset(tmp_path, {2: 0.030}), echo="combine")
    facts, warnings = stated({"echo": recording.echo})
    assert facts == {"EchoNumber": 2, "EchoTime": 0.03, "EchoesNotUsed": []} and sentence(facts)[0] == ""
    assert warnings == ["one echo of a multi-echo run is there, echo 2: it was used"]


def test_combined_echoes_are_inputs_of_the_stages_that_read_them(tmp_path: Path) -> None:
    """Stage sample has each under its path; another size or time of one is another listing. Motion reads the first."""
    root = dataset(tmp_path, {1: 0.013, 2: 0.030})
    config = validate({"bids_dir": str(root), "outdir": str(tmp_path / "out"), "select": {"echo": "combine"}}, STAGES)
    index = index_of(root, echo="combine")
    details = details_of(STAGES, config, index, {"sub-02_task-rest": "b"})
    told = details["sample", "b"]["sub-02_task-rest"]
    assert details["keep", "b"]["sub-02_task-rest"] == told and ("denoise", "b") not in details
    assert "echo_files" not in details["motion", "b"]["sub-02_task-rest"]
    names = [f"sub-02/func/sub-02_task-rest_echo-{n}_bold.nii.gz" for n in (1, 2)]
    assert list(told["echo_files"]) == names and told["echo"]["EchoesCombined"] == [f"bids:raw:{n}" for n in names]
    for name, file in told["echo_files"].items():
        assert file.path == str(root / name) and file.size == (root / name).stat().st_size


def test_where_a_result_comes_from_has_every_echo(tmp_path: Path) -> None:
    """`why` lists files that one stage alone is told of beside the others."""
    file = {"path": "/ds/e2.nii.gz", "size": 7, "mtime_ns": 9}
    units = [{"id": "r", "stat": {"bold": {"path": "/ds/e1.nii.gz", "size": 5, "mtime_ns": 8}}}]
    details = {"sample": {"r": {"echo_files": {"e2.nii.gz": list(file.values())}}}}
    listing = listing_path(tmp_path, "recording", "b")
    listing.parent.mkdir(parents=True)
    write_record(listing, {"units": units, "digest": "", "details": details})
    sample, motion = (Unit(stage, "b", "r", {}, (), "done", "", {}) for stage in ("sample", "motion"))
    assert Records(tmp_path).listed(sample)["stat"] == {**units[0]["stat"], "e2.nii.gz": file}
    assert Records(tmp_path).listed(motion)["stat"] == units[0]["stat"]


def test_the_sidecar_of_motion_says_which_echo(tmp_path: Path) -> None:
    root = dataset(tmp_path / "ds", {1: 0.013, 2: 0.030})
    head = phantom.series(phantom.motions(phantom.walk(10)))
    for image in root.glob("sub-02/func/*_bold.nii.gz"):
        phantom.save(image, head)
    place = ["--bids-dir", str(root), "--outdir", str(tmp_path / "out"), "--recording", "sub-02_task-rest"]
    assert main(["run", "motion", *place]) == 0
    [file] = (tmp_path / "out").rglob("sub-02_task-rest_*boldref.json")
    facts = json.loads(file.read_text())
    assert (facts["EchoNumber"], facts["EchoTime"]) == (2, 0.03)
    assert facts["EchoesNotUsed"] == ["bids:raw:sub-02/func/sub-02_task-rest_echo-1_bold.nii.gz"]
    assert facts["Warnings"] == ["echo 2 of 2 (30 ms) was used: echoes are not combined"]
    assert "Of 2 echoes, number 2 (30 ms) was used." in facts["GeneratedBy"]["Description"]


def chosen(times: list[float | None], wanted: str | int, echo_ms: float) -> Choice:
    echoes = [Echo(str(n), n, (f"echo-{n}", 1, 1), None, "") for n in range(1, len(times) + 1)]
    return choose(echoes, {str(n): time for n, time in enumerate(times, 1)}, wanted, echo_ms)


@given(st.lists(TIMES, min_size=1, max_size=6), st.floats(1, 300))
def test_no_echo_is_nearer_than_the_one_that_is_used(times: list[float | None], echo_ms: float) -> None:
    choice = chosen(times, "nearest", echo_ms)
    distances = [abs(time - echo_ms / 1000) for time in times if time is not None]
    own = choice.facts["EchoTime"]
    assert own is None if not distances else abs(own - echo_ms / 1000) == min(distances)
    assert len(choice.left) == len(choice.facts["EchoesNotUsed"]) == len(times) - 1


@given(st.lists(st.floats(0.001, 0.3), min_size=2, max_size=6, unique=True))
def test_combined_echoes_are_in_the_order_of_their_times(times: list[float]) -> None:
    choice = chosen(list(times), "combine", 30)
    assert choice.facts["EchoTimes"] == sorted(times) and not choice.fault and not choice.left
    assert [times[echo.metadata - 1] for echo in choice.combined] == sorted(times)
