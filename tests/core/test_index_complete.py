"""Whatever lies in a dataset: each file of a run is one recording, or is said; no id is there twice."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_data.bids.index import Index, Select, read_index
from brainlm_data.errors import InputError

LABELS = st.sampled_from(["1", "01", "a", "n_back", "x-y", "", "é"])
KEYS = st.sampled_from(["ses", "acq", "ce", "dir", "rec", "run", "echo", "part", "desc", "space", "chunk", "foo"])
SUFFIXES = st.sampled_from(["bold", "T1w", "sbref", "epi", "events", "BOLD", "old.bold", "x.y", "0012"])
STEMS = st.sampled_from(["", "", "", "bold", "T1w", "a.b", "frest-0001", "sbref"])  # names that are none of BIDS
ENDINGS = st.sampled_from([".nii.gz", ".nii", ".NII.GZ", ".mgz", ".img", ".json", ".nii.gz.part"])
FOLDERS = st.sampled_from(["", "func", "anat", "fmap", "ses-1/func", "ses-a/anat", "func/old", "dwi"])
SUBJECTS = st.sampled_from(["sub-1", "sub-2", "sub-a_b", "Sub-1", "other"])


@st.composite
def paths(draw: st.DrawFn) -> str:
    """A path that could be in a dataset, right or wrong."""
    subject = draw(SUBJECTS)
    pairs = draw(st.lists(st.tuples(KEYS, LABELS), max_size=3))
    own = draw(st.sampled_from([subject, subject, subject, "sub-2"]))
    name = "_".join([own, "task-t", *(f"{key}-{label}" for key, label in pairs), draw(SUFFIXES)])
    name = draw(STEMS) or name
    return "/".join(part for part in (subject, draw(FOLDERS), name + draw(ENDINGS)) if part)


def write(root: Path, names: list[str]) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"{}" if name.endswith(".json") else b"x" * 2000)


def index_of(root: Path) -> Index | str:
    try:
        return read_index(root, Select.model_validate({}))
    except InputError as error:
        return str(error)


def is_run(name: str) -> bool:
    return "_bold." in name and not name.endswith(".json") and name.startswith("sub-") and "sub-a_b/" not in name


@settings(max_examples=40, deadline=None)
@given(st.lists(paths(), min_size=1, max_size=8, unique=True))
def test_each_file_is_taken_or_said(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ds"
        write(root, names)
        index = index_of(root)
        if isinstance(index, str):
            assert "no BOLD run found" in index
            return
        ids = [recording.id for recording in index.recordings]
        assert len(ids) == len(set(ids))
        taken = {str(Path(r.bold.path).relative_to(root)) for r in index.recordings}
        chosen = {str(Path(s.t1w.path).relative_to(root)) for s in index.subjects if s.t1w}
        said = "\n".join(index.ignored)
        for name in names:
            if is_run(name) or ("_T1w." in name and name.startswith(("sub-1/", "sub-2/")) and ".json" not in name):
                assert (name in taken | chosen) != (f"{name}: " in said), name
        images = [
            name for name in names if name.startswith(("sub-1/", "sub-2/")) and name.endswith((".nii", ".nii.gz"))
        ]
        counted = sum(int(found[1]) for line in index.ignored if (found := re.match(r"(\d+) images ", line)))
        taken |= {str(Path(r.sbref.path).relative_to(root)) for r in index.recordings if r.sbref}
        assert counted == sum(name not in taken | chosen and f"{name}: " not in said for name in images)
        for recording in index.recordings:
            assert f"sub-{recording.subject}/" in recording.bold.path
        again = read_index(root, Select.model_validate({}), root.parent / "cache.json")
        assert read_index(root, Select.model_validate({}), root.parent / "cache.json") == again == index


@settings(max_examples=40, deadline=None)
@given(st.lists(paths(), min_size=1, max_size=8, unique=True))
def test_a_damaged_neighbour_changes_nothing_for_a_good_subject(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, ["sub-9/func/sub-9_task-t_bold.nii.gz", *names])
        (root / "sub-9/func/sub-9_task-t_bold.json").write_text('{"RepetitionTime": 2}')
        index = index_of(root)
        assert not isinstance(index, str)
        (good,) = [r for r in index.recordings if r.subject == "9"]
        assert good.metadata == {"RepetitionTime": 2} and not good.fault
