"""Which images are the fieldmaps of a run, what of them can be used, and that a change of one reruns what reads it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_data.bids import fieldmaps
from brainlm_data.bids.fieldmaps import DIRECTIONS, files_of, readout_s
from brainlm_data.bids.index import Recording, Select, read_index
from brainlm_data.bids.names import parse
from brainlm_data.cli import main
from brainlm_data.config import validate
from brainlm_data.graph.edges import details_of, listing_digest
from brainlm_data.paths import artifacts_of
from brainlm_data.pipeline import STAGES
from brainlm_data.stages import qc
from tests.conftest import write_bids

RUN = "ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz"
FMAP = "sub-01/ses-a/fmap/sub-01_ses-a"
AP = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.05, "IntendedFor": RUN}
PA = AP | {"PhaseEncodingDirection": "j"}
ECHOES = {"EchoTime1": 0.00492, "EchoTime2": 0.00738, "IntendedFor": RUN}


def image(root: Path, path: str, content: str | dict[str, Any] | None = None) -> Path:
    """An image below the root, without its extension; its JSON, where it gets one."""
    file = root / f"{path}.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(next(root.glob("sub-*/**/*_T1w.nii.gz")), file)
    sidecar = root / f"{path}.json"
    if content is not None:
        sidecar.write_text(content if isinstance(content, str) else json.dumps(content))
    return sidecar


def fieldmap(root: Path, content: str | dict[str, Any], suffix: str = "dir-AP_epi") -> Path:
    return image(root, f"{FMAP}_{suffix}", content)


def run_says(root: Path, **metadata: Any) -> None:
    content = {"RepetitionTime": 2.0, "PhaseEncodingDirection": "j", **metadata}
    (root / "sub-01" / RUN.replace(".nii.gz", ".json")).write_text(json.dumps(content))


def dataset(tmp_path: Path, sessions: tuple[str, ...] = ("a",)) -> Path:
    """One subject with two runs in each session; phase encoding of the first of session a is j."""
    root = write_bids(tmp_path / "bids", subjects=("01",), sessions=sessions, tasks=("rest", "nback"))
    run_says(root)
    return root


def recording(root: Path) -> Recording:
    index = read_index(root, Select.model_validate({}))
    return next(r for r in index.recordings if r.id == "sub-01_ses-a_task-rest")


def names(paths: Any) -> list[str]:
    return [path.rsplit("/", 1)[-1].removeprefix("sub-01_ses-a_").removesuffix(".nii.gz") for path in paths]


def found(root: Path) -> dict[str, list[str]]:
    """Images of each recording's sources."""
    index = read_index(root, Select.model_validate({}))
    return {r.id: [n for s in r.fieldmaps for n in names(files_of(s))] for r in index.recordings if r.fieldmaps}


def reason(root: Path) -> str:
    """Why the one fieldmap of the run cannot be used; the index says it, too."""
    index, one = read_index(root, Select.model_validate({})), recording(root)
    assert not one.fieldmaps and not one.fieldmap_files
    for path, why in one.fieldmaps_left.items():
        assert index.ignored.count(f"{path}: {why}") == 1
    (why,) = set(one.fieldmaps_left.values())
    return why


# -- what is meant for a run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [RUN, f"bids::sub-01/{RUN}", [f"bids::sub-01/{RUN}", "ses-b/func/other_bold.nii.gz"], RUN.removesuffix(".gz"),
     f"./{RUN}", f"/{RUN}", f"sub-01/{RUN}", RUN.replace("/", "\\")],
    ids=str,
)  # fmt: skip
def test_intended_for(tmp_path: Path, target: Any) -> None:
    root = dataset(tmp_path)
    fieldmap(root, AP | {"IntendedFor": target})
    assert found(root) == {"sub-01_ses-a_task-rest": ["dir-AP_epi"]}


def test_an_echo_stands_for_its_run(tmp_path: Path) -> None:
    """Whichever of them is named, and whichever is used."""
    root = dataset(tmp_path)
    func = root / "sub-01/ses-a/func"
    for extension in (".nii.gz", ".json"):
        for echo in (1, 2):
            shutil.copy(func / f"sub-01_ses-a_task-rest_bold{extension}",
                        func / f"sub-01_ses-a_task-rest_echo-{echo}_bold{extension}")  # fmt: skip
        (func / f"sub-01_ses-a_task-rest_bold{extension}").unlink()
    for named in ("_echo-1", "_echo-2", "", "_rec-norm"):
        fieldmap(root, AP | {"IntendedFor": RUN.replace("_bold", f"{named}_bold")})
        assert list(found(root).values()) == [["dir-AP_epi"]]
    fieldmap(root, AP | {"IntendedFor": RUN.replace("_task-rest_bold", "_task-rest_echo-1_sbref")})
    assert found(root) == {}


@pytest.mark.parametrize("target", ["func/sub-01_typo_bold.nii.gz", ["a.nii", RUN], {"a": 1}, 3], ids=str)
def test_a_target_that_is_not_there_is_said(tmp_path: Path, target: Any) -> None:
    root = dataset(tmp_path)
    fieldmap(root, AP | {"IntendedFor": target})
    (note,) = read_index(root, Select.model_validate({})).notes
    assert "sub-01_ses-a_dir-AP_epi.nii.gz: IntendedFor names no image of this subject" in note


@pytest.mark.parametrize("identifier", ["pepolar0", ["other", "pepolar0"]], ids=str)
def test_b0_field_identifier(tmp_path: Path, identifier: Any) -> None:
    """Of a fieldmap, and of a run with the other phase-encoding direction; the run itself is none of its own."""
    root = dataset(tmp_path)
    fieldmap(root, {"B0FieldIdentifier": identifier, "PhaseEncodingDirection": "j-"})
    run_says(root, B0FieldSource="pepolar0", B0FieldIdentifier="pepolar0")
    other = {"RepetitionTime": 2, "B0FieldIdentifier": ["pepolar0"], "PhaseEncodingDirection": "j-"}
    (root / "sub-01/ses-a/func/sub-01_ses-a_task-nback_bold.json").write_text(json.dumps(other))
    assert found(root) == {"sub-01_ses-a_task-rest": ["dir-AP_epi", "task-nback_bold"]}


def test_references_of_runs_with_opposed_directions(tmp_path: Path) -> None:
    """The single-band references stand for their runs where they have the identifier; nothing is guessed else."""
    root = dataset(tmp_path)
    stem = "sub-01/ses-a/func/sub-01_ses-a_task"
    own, other = {"PhaseEncodingDirection": "j"}, {"PhaseEncodingDirection": "j-"}
    image(root, f"{stem}-rest_sbref", own)
    image(root, f"{stem}-nback_sbref", other)
    assert found(root) == {}
    identified = {"B0FieldIdentifier": "pair"}
    image(root, f"{stem}-rest_sbref", own | identified)
    image(root, f"{stem}-nback_sbref", other | identified)
    (root / f"{stem}-nback_bold.json").write_text(json.dumps(other | identified | {"RepetitionTime": 2}))
    assert found(root) == {}
    run_says(root, B0FieldSource="pair", **identified)
    assert found(root) == {"sub-01_ses-a_task-rest": ["task-nback_sbref", "task-rest_sbref"]}


def test_a_source_that_is_nowhere_is_said(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    run_says(root, B0FieldSource=["here", "nowhere"])
    fieldmap(root, {"B0FieldIdentifier": "here", "PhaseEncodingDirection": "j-"})
    assert found(root) == {"sub-01_ses-a_task-rest": ["dir-AP_epi"]}
    (note,) = read_index(root, Select.model_validate({})).notes
    assert note.endswith("task-rest_bold.nii.gz: its B0FieldSource 'nowhere' is the B0FieldIdentifier of no image")


def test_an_identifier_of_every_session_means_the_runs_own(tmp_path: Path) -> None:
    root = dataset(tmp_path, ("a", "b"))
    run_says(root, B0FieldSource="pepolar")
    identified = {"B0FieldIdentifier": "pepolar", "PhaseEncodingDirection": "j-"}
    for session in "ab":
        image(root, f"sub-01/ses-{session}/fmap/sub-01_ses-{session}_dir-AP_epi", identified)
    assert found(root) == {"sub-01_ses-a_task-rest": ["dir-AP_epi"]}


def test_another_session_only_where_it_is_named(tmp_path: Path) -> None:
    """And after those of the run's own."""
    root = dataset(tmp_path, ("a", "b"))
    other = "sub-01/ses-b/fmap/sub-01_ses-b_dir"
    image(root, f"{other}-AP_epi", {"PhaseEncodingDirection": "j-"})
    image(root, f"{other}-PA_epi", {"PhaseEncodingDirection": "j"})
    assert found(root) == {}
    image(root, f"{other}-AP_epi", AP)
    image(root, f"{other}-PA_epi", PA)
    assert found(root) == {"sub-01_ses-a_task-rest": ["sub-01_ses-b_dir-AP_epi", "sub-01_ses-b_dir-PA_epi"]}
    fieldmap(root, ECHOES, "phasediff")
    fieldmap(root, {}, "magnitude1")
    assert [source["kind"] for source in recording(root).fieldmaps] == ["phasediff", "epi"]


@pytest.mark.parametrize(
    "content",
    ["{", "[1, 2]", '["a"]', {"IntendedFor": None}, {"IntendedFor": 3}, {"IntendedFor": []},
     {"IntendedFor": "bids:other:sub-01/" + RUN}, {"IntendedFor": "ses-b/func/sub-01_ses-b_task-rest_bold.nii.gz"},
     {"B0FieldIdentifier": "of nothing"}],
    ids=str,
)  # fmt: skip
def test_what_names_no_run(tmp_path: Path, content: Any) -> None:
    root = dataset(tmp_path)
    fieldmap(root, content)
    assert found(root) == {} and not recording(root).fieldmaps_left
    said = "\n".join(read_index(root, Select.model_validate({})).ignored)
    assert "its sidecar" in said if isinstance(content, str) else "1 images *_epi (fmap), meant for no run" in said


# -- what of it can be used -----------------------------------------------------------------------------------------


def test_an_opposed_pair(tmp_path: Path) -> None:
    """Metadata come from JSON higher up, too."""
    root = dataset(tmp_path)
    fieldmap(root, {"PhaseEncodingDirection": "j-", "IntendedFor": RUN, "EffectiveEchoSpacing": 5e-4})
    fieldmap(root, {"PhaseEncodingDirection": "j", "IntendedFor": RUN, "TotalReadoutTime": 0.04}, "dir-PA_epi")
    (root / "epi.json").write_text('{"ReconMatrixPE": 64, "EchoTime": 0.06, "Manufacturer": "M"}')
    (source,) = recording(root).fieldmaps
    assert source == {
        "kind": "epi", "images": [f"{FMAP}_dir-AP_epi.nii.gz", f"{FMAP}_dir-PA_epi.nii.gz"], "metadata": [
            {"PhaseEncodingDirection": "j-", "EffectiveEchoSpacing": 5e-4, "ReconMatrixPE": 64, "EchoTime": 0.06},
            {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.04, "ReconMatrixPE": 64, "EchoTime": 0.06},
        ],
    }  # fmt: skip
    assert [readout_s(m, (6, 6, 6)) for m in source["metadata"]] == [pytest.approx(63 * 5e-4), 0.04]


def test_pairs_are_told_apart_by_their_names(tmp_path: Path) -> None:
    """Of one direction each, they are put together."""
    root = dataset(tmp_path)
    for label in ("dir-AP_run-1", "dir-PA_run-1", "dir-AP_run-2", "dir-PA_run-2", "acq-x_dir-AP"):
        fieldmap(root, PA if "PA" in label else AP, f"{label}_epi")
    sources = recording(root).fieldmaps
    assert [names(s["images"]) for s in sources] == [
        ["dir-AP_run-1_epi", "dir-PA_run-1_epi"], ["dir-AP_run-2_epi", "dir-PA_run-2_epi"], ["acq-x_dir-AP_epi"],
    ]  # fmt: skip
    shutil.rmtree(root / "sub-01/ses-a/fmap")
    fieldmap(root, AP, "dir-AP_run-1_epi")
    fieldmap(root, PA, "dir-PA_run-2_epi")
    assert [names(s["images"]) for s in recording(root).fieldmaps] == [["dir-AP_run-1_epi", "dir-PA_run-2_epi"]]


@pytest.mark.parametrize(("of_run", "usable"), [("j", True), ("j-", False), ("i", False), ("sideways", True)])
def test_one_direction_needs_a_run_of_the_other(tmp_path: Path, of_run: str, usable: bool) -> None:
    """What the run's own direction is, is for the stage to say where it is none."""
    root = dataset(tmp_path)
    fieldmap(root, AP)
    run_says(root, PhaseEncodingDirection=of_run)
    if usable:
        assert found(root) == {"sub-01_ses-a_task-rest": ["dir-AP_epi"]}
    else:
        assert reason(root) == f"no image with the opposite phase encoding: j- here, {of_run} of the run"


@pytest.mark.parametrize(("direction", "word"), [(None, "no"), ("AP", "'AP' as"), (3, "3 as")])
def test_a_direction_that_is_none(tmp_path: Path, direction: Any, word: str) -> None:
    root = dataset(tmp_path)
    fieldmap(root, {k: v for k, v in (AP | {"PhaseEncodingDirection": direction}).items() if v is not None})
    assert reason(root) == f"its JSON has {word} PhaseEncodingDirection"


def test_a_phase_difference(tmp_path: Path) -> None:
    """Only the image that is read is an input; the other magnitude is not said to be unused."""
    root = dataset(tmp_path)
    fieldmap(root, ECHOES, "phasediff")
    for suffix in ("magnitude1", "magnitude2"):
        fieldmap(root, {"IntendedFor": RUN}, suffix)
    one, index = recording(root), read_index(root, Select.model_validate({}))
    assert one.fieldmaps == [{
        "kind": "phasediff", "phase": f"{FMAP}_phasediff.nii.gz", "magnitude": f"{FMAP}_magnitude1.nii.gz",
        "metadata": {"EchoTime1": 0.00492, "EchoTime2": 0.00738},
    }]  # fmt: skip
    assert names(one.fieldmap_files) == ["phasediff", "magnitude1"]
    assert not one.fieldmaps_left and not index.ignored and not index.notes


def test_echo_times_of_the_magnitudes(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    fieldmap(root, {"IntendedFor": RUN}, "phasediff")
    fieldmap(root, {"EchoTime": 0.004}, "magnitude1")
    fieldmap(root, {"EchoTime": 0.006}, "magnitude2")
    assert recording(root).fieldmaps[0]["metadata"] == {"EchoTime1": 0.004, "EchoTime2": 0.006}


@pytest.mark.parametrize(
    ("content", "words"),
    [({}, "EchoTime1 and EchoTime2 are not in its JSON"), ({"EchoTime1": 0.004}, "are not in its JSON"),
     ({"EchoTime1": 4.92, "EchoTime2": 7.38}, r"4.92 and 7.38, are no echo times in seconds (are they milliseconds?)"),
     ({"EchoTime1": 0.004, "EchoTime2": 0.004}, "are not two times"),
     ({"EchoTime1": "0.004", "EchoTime2": 0.006}, "are not two times"),
     ({"EchoTime1": True, "EchoTime2": 0.006}, "are not two times")],
)  # fmt: skip
def test_echo_times_that_are_none(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    root = dataset(tmp_path)
    fieldmap(root, content | {"IntendedFor": RUN}, "phasediff")
    fieldmap(root, {}, "magnitude1")
    assert words in reason(root)


def test_two_phases(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    fieldmap(root, {"IntendedFor": RUN, "EchoTime": 0.005}, "phase1")
    assert reason(root) == "no second phase image beside it (*_phase2)"
    fieldmap(root, {"IntendedFor": RUN}, "phase2")
    assert "no magnitude image" in reason(root)
    fieldmap(root, {}, "magnitude1")
    assert reason(root) == "EchoTime of *_phase1 and *_phase2 are not in its JSON"
    fieldmap(root, {"EchoTime": 0.0075}, "magnitude2")
    assert recording(root).fieldmaps == [{
        "kind": "phases", "phase": [f"{FMAP}_phase1.nii.gz", f"{FMAP}_phase2.nii.gz"],
        "magnitude": f"{FMAP}_magnitude1.nii.gz", "metadata": [{"EchoTime": 0.005}, {"EchoTime": 0.0075}],
    }]  # fmt: skip


@pytest.mark.parametrize(("units", "known"), [("Hz", "Hz"), ("rad/s", "rad/s"), ("tesla", "T"), (None, ""), ("mm", "")])
def test_a_field(tmp_path: Path, units: Any, known: str) -> None:
    root = dataset(tmp_path)
    fieldmap(root, {"IntendedFor": RUN} | ({"Units": units} if units else {}), "fieldmap")
    if not known:
        assert reason(root) == f"Units in its JSON: {units!r}, neither Hz, rad/s nor T"
        return
    (source,) = recording(root).fieldmaps
    assert source["magnitude"] is None and source["metadata"] == {"Units": known}
    fieldmap(root, {}, "magnitude")
    assert names(recording(root).fieldmap_files) == ["fieldmap", "magnitude"]


def test_what_is_no_fieldmap_of_distortion(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    fieldmap(root, {"IntendedFor": RUN}, "TB1map")
    assert reason(root) == "*_TB1map is no fieldmap of distortion"
    shutil.rmtree(root / "sub-01/ses-a/fmap")
    fieldmap(root, {"IntendedFor": RUN}, "magnitude1")
    assert reason(root) == "*_magnitude1 without the image that it belongs to"


def test_content_that_is_not_here(tmp_path: Path) -> None:
    """Of a fieldmap; of a magnitude, which is then not beside it."""
    root = dataset(tmp_path)
    fieldmap(root, AP)
    file = root / f"{FMAP}_dir-AP_epi.nii.gz"
    file.write_bytes(b"")
    assert reason(root) == "an empty file -> export or download it again"
    file.unlink()
    file.symlink_to("../../.git/annex/objects/nowhere")
    assert reason(root).startswith("there is no such file -> fetch its content")
    shutil.rmtree(file.parent)
    fieldmap(root, ECHOES, "phasediff")
    fieldmap(root, {}, "magnitude1")
    (root / f"{FMAP}_magnitude1.nii.gz").write_bytes(b"")
    assert "no magnitude image" in reason(root)


def test_the_best_comes_first(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    fieldmap(root, {"IntendedFor": RUN, "Units": "Hz"}, "fieldmap")
    fieldmap(root, {"IntendedFor": RUN, "EchoTime": 0.005}, "phase1")
    fieldmap(root, {"IntendedFor": RUN, "EchoTime": 0.0075}, "phase2")
    fieldmap(root, ECHOES, "phasediff")
    fieldmap(root, {}, "magnitude1")
    fieldmap(root, AP)
    kinds = ["phasediff", "phases", "fieldmap"]
    assert [source["kind"] for source in recording(root).fieldmaps] == [*kinds, "epi"]
    fieldmap(root, PA, "dir-PA_epi")
    assert [source["kind"] for source in recording(root).fieldmaps] == ["epi", *kinds]


PARTS = st.tuples(
    st.sampled_from(["ses-a", "ses-b"]), st.sampled_from(["", "_run-1", "_run-2"]), st.sampled_from(["AP", "PA", "LR"]),
    st.sampled_from(["epi", "phasediff", "phase1", "phase2", "magnitude1", "magnitude", "fieldmap", "T2w"]),
)  # fmt: skip
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("j-Hz0", max_size=3))
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "PhaseEncodingDirection": st.sampled_from(DIRECTIONS) | VALUES, "EchoTime1": st.just(0.004) | VALUES,
        "EchoTime2": st.just(0.006) | VALUES, "EchoTime": st.just(0.005) | VALUES, "Units": st.just("Hz") | VALUES,
        "B0FieldIdentifier": st.lists(st.sampled_from("xy")) | VALUES,
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(PARTS, METADATA, max_size=8), METADATA)
def test_every_image_is_used_or_left_with_a_reason(images: dict[Any, dict[str, Any]], run: dict[str, Any]) -> None:
    """Whatever the metadata are; a source that is handed on has what its kind needs."""
    bold = f"sub-01/{RUN}"
    known = {}
    for (session, number, direction, suffix), metadata in images.items():
        path = f"sub-01/{session}/fmap/sub-01_{session}_dir-{direction}{number}_{suffix}.nii.gz"
        known[path] = fieldmaps.Image(parse(path), metadata | {"IntendedFor": RUN})
    meant = fieldmaps.intended(bold, run, known)
    assert meant == sorted(known)
    result = fieldmaps.found(bold, run, meant, known)
    used = {path for source in result.sources for path in files_of(source)}
    assert not used & result.left.keys()
    silent = {p for p in meant if parse(p).suffix in ("magnitude", "magnitude1", "phase2")}
    assert set(meant) - silent <= used | result.left.keys()
    assert all(reason and "\n" not in reason for reason in result.left.values())
    for source in result.sources:
        json.dumps(source)
        if source["kind"] == "epi":
            axes = {m["PhaseEncodingDirection"] for m in source["metadata"]} | {run.get("PhaseEncodingDirection")}
            assert any(f"{axis}-" in axes for axis in axes) or run.get("PhaseEncodingDirection") not in DIRECTIONS


# -- readout --------------------------------------------------------------------------------------------------------


def test_readout() -> None:
    """As stated; else from the spacing and the lines that were reconstructed; else those of the image."""
    spacing = {"EffectiveEchoSpacing": 5e-4, "PhaseEncodingDirection": "i-"}
    assert readout_s(spacing | {"TotalReadoutTime": 0.04, "ReconMatrixPE": 64}, (90, 80, 70)) == 0.04
    assert readout_s(spacing | {"ReconMatrixPE": 64}, (90, 80, 70)) == pytest.approx(63 * 5e-4)
    assert readout_s(spacing, (90, 80, 70)) == pytest.approx(89 * 5e-4)
    assert readout_s({"EffectiveEchoSpacing": 5e-4}, (90, 80, 70)) is None and readout_s({}, (9, 9, 9)) is None


@given(st.one_of(VALUES, st.lists(VALUES)), st.sampled_from(["TotalReadoutTime", "EffectiveEchoSpacing"]))
def test_a_readout_is_a_time_or_an_error_in_words(value: Any, key: str) -> None:
    metadata = {key: value, "PhaseEncodingDirection": "j"}
    try:
        time = readout_s(metadata, (64, 64, 32))
    except ValueError as error:
        assert key in str(error) and "\n" not in str(error)
    else:
        assert time is not None and 1e-3 <= time <= 1


@pytest.mark.parametrize(
    ("metadata", "words"),
    [({"TotalReadoutTime": 49.3}, r"is none \(is it milliseconds\?\)"), ({"TotalReadoutTime": 0}, "is none$"),
     ({"EffectiveEchoSpacing": 0.58, "ReconMatrixPE": 64}, r"0.58 makes a readout of 36.54 s, .* milliseconds")],
)  # fmt: skip
def test_a_readout_of_another_unit(metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        readout_s(metadata, (64, 64, 32))


# -- what stages are told -------------------------------------------------------------------------------------------


def test_the_cache_follows_the_fieldmaps(tmp_path: Path) -> None:
    root, cache = dataset(tmp_path), tmp_path / "index.json"
    file = fieldmap(root, AP)
    fresh = read_index(root, Select.model_validate({}), cache).recordings
    assert [bool(r.fieldmaps) for r in fresh] == [False, True]
    assert read_index(root, Select.model_validate({}), cache).recordings == fresh  # from the cache
    shutil.rmtree(file.parent)
    assert not read_index(root, Select.model_validate({}), cache).recordings[1].fieldmaps


def test_what_runs_share_is_kept_once(tmp_path: Path) -> None:
    """In the cache and in memory: a pair of many runs."""
    root, cache = dataset(tmp_path), tmp_path / "index.json"
    runs = [RUN, RUN.replace("rest", "nback")]
    fieldmap(root, AP | {"IntendedFor": runs})
    fieldmap(root, PA | {"IntendedFor": runs}, "dir-PA_epi")
    first, second = read_index(root, Select.model_validate({}), cache).recordings
    assert first.fieldmaps[0] is second.fieldmaps[0] and first.fieldmap_files is second.fieldmap_files
    assert cache.read_text().count("dir-PA_epi.nii.gz") == 2  # in the source and of the file
    assert cache.read_text().count("TotalReadoutTime") == 2  # of each direction


def test_what_the_stages_are_told(tmp_path: Path) -> None:
    """Stage distortion, of that recording; nothing where fMRIPrep corrects the distortion itself."""
    root = dataset(tmp_path)
    fieldmap(root, AP)
    index = read_index(root, Select.model_validate({}))
    bundles = {r.id: r.id for r in index.recordings}
    details = details_of(STAGES, validate({}, STAGES), index, bundles)
    name = "sub-01_ses-a_task-rest"
    assert set(details) == {("distortion", name)}
    told = details["distortion", name][name]
    assert told["fieldmaps"] == recording(root).fieldmaps
    assert [Path(raw.path).name for raw in told["fieldmap_files"].values()] == ["sub-01_ses-a_dir-AP_epi.nii.gz"]
    section = {"preprocess": {"engine": "fmriprep"}, "template": {"name": "MNI152NLin6Asym"}}
    assert details_of(STAGES, validate(section, STAGES), index, bundles) == {}


@pytest.mark.parametrize("change", ["image", "magnitude", "readout", "echo time"])
def test_a_stage_that_reads_fieldmaps_follows_them(tmp_path: Path, change: str) -> None:
    """The digest of its listing, on which the plan decides; that of a stage that does not stays."""
    root = dataset(tmp_path)
    fieldmap(root, ECHOES, "phasediff")
    fieldmap(root, {}, "magnitude1")
    run_says(root, TotalReadoutTime=0.03)
    told = ("phase_encoding", "fieldmaps", "fieldmap_files", "fieldmaps_left")
    reads = replace(qc.STAGE, told=told)
    plain = replace(qc.STAGE, told=())

    def digests() -> list[str]:
        index = read_index(root, Select.model_validate({}))
        bundles = {r.id: "b" for r in index.recordings}
        config, artifacts = validate({}, STAGES), artifacts_of(STAGES)
        per_stage = [details_of([stage], config, index, bundles).get(("qc", "b"), {}) for stage in (reads, plain)]
        metadata = json.dumps([r.metadata for r in index.recordings])
        return [listing_digest(reads, artifacts, metadata, details) for details in per_stage]

    before = digests()
    if change == "readout":
        run_says(root, TotalReadoutTime=0.04)
    elif change == "echo time":
        fieldmap(root, ECHOES | {"EchoTime2": 0.008}, "phasediff")
    else:
        os.utime(root / f"{FMAP}_{'phasediff' if change == 'image' else 'magnitude1'}.nii.gz", ns=(1, 1))
    after = digests()
    assert after[0] != before[0] and after[1] == before[1]


def test_index_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = dataset(tmp_path)
    fieldmap(root, AP)
    assert main(["index", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "sub-01_ses-a_task-rest\t2.0\tyes\t1"
