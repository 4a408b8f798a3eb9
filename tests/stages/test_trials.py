"""Stage trials: planted answers come back, splits leak nothing, and what is wrong with events is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainlm_data.dataset.patterns import Patterns
from brainlm_data.errors import InputError
from brainlm_data.files.json import read_object
from brainlm_data.files.sidecar import write_facts
from brainlm_data.methods import single_trials
from brainlm_data.methods.operators import Recipe, Temporal
from brainlm_data.methods.regression import Regression
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import trials
from brainlm_data.stages.trials import Config

TR, VOLUMES, V, DROPPED = 2.0, 100, 12, 2
STIMULI = 16  # of each run of one person; the last four are shown in both runs
ANSWERS = np.random.default_rng(1).standard_normal((40, V))


def shown(run: int) -> list[int]:
    """Numbers of the stimuli of a run: 14 of its own, and 4 of both."""
    return [*range(14 * run, 14 * run + 14), 28, 29, 30, 31]


def make_recording(folder: Path, subject: str, run: int, every_s: float = 10.0, places: int = V) -> dict[str, Any]:
    """A recording whose voxels answer a stimulus by its row of ANSWERS, without noise; filtered as its recipe says."""
    name = f"sub-{subject}_task-see_run-{run + 1}"
    ends = {"voxels": "v.npz", "voxel_events": "events.tsv", "filter_recipe": "f.json", "denoise_recipe": "d.npz"}
    files = {key: folder / f"{name}_{end}" for key, end in ends.items()}
    order = np.random.default_rng(run).permutation(shown(run))
    onsets = 8.0 + every_s * np.arange(len(order))
    recipe = Recipe(TR, VOLUMES, DROPPED, (50,), low_hz=0.01)
    trend = np.sin(np.arange(VOLUMES - DROPPED) / 9)[:, None]
    regression = Regression.fit(trend, np.zeros((VOLUMES - DROPPED, 0)))
    design = single_trials.design(np.arange(VOLUMES) * TR, onsets, np.full(len(order), 3.0), "glover")
    series = Temporal(recipe, regression, 1.0).apply(design @ ANSWERS[order])[DROPPED:, :places]
    slope = np.abs(series).max(0).astype(np.float32) / 32000
    np.savez(
        files["voxels"], series=np.rint(series / slope).astype(np.int16), slope=slope, affine=np.eye(4),
        ijk=np.arange(places)[:, None] * [1, 0, 0], shape=np.array([V, 2, 2]),
    )  # fmt: skip
    facts = {"SamplingFrequency": 1 / TR, "FirstVolume": DROPPED, "Censored": [50], "StartTime": 0.0}
    write_facts(files["voxels"], {**facts, "NumberOfVoxels": places})
    recipe.save(files["filter_recipe"])
    regression.save(files["denoise_recipe"])
    rows = ["onset\tduration\ttrial_type\tstim_file\tset"]
    for onset, number in zip(onsets, order, strict=True):
        rows.append(f"{onset:g}\t3\tkind{number % 3}\tpics/{number:02d}.png\t{'both' if number > 27 else 'one'}")
    files["voxel_events"].write_text("\n".join([*rows, "190\t3\tblank\tn/a\tn/a"]) + "\n")
    return {
        "id": name, "subject": subject, "session": None, "task": "see", "run": str(run + 1), "status": "done",
        "files": {key: str(path) for key, path in files.items()}, "sha256": {},
    }  # fmt: skip


def write(folder: Path, recordings: list[dict[str, Any]], pictures: bool = True, **section: Any) -> tuple[Any, Files]:
    files = {}
    for number in range(32 if pictures else 0):
        path = folder / f"{number:02d}.png"
        Image.fromarray(np.full((20, 30), 7 * number, np.uint8)).save(path)
        files[f"stimuli/pics/{number:02d}.png"] = path
    outputs = Files({name: folder / "out" / f"trials.{end}" for name, end in zip(
        trials.STAGE.outputs, ("npz", "tsv", "json"), strict=True
    )})  # fmt: skip
    section = {"picture_px": 16, "estimate": "lss", "test_where": {"set": ["both"]}, **section}
    return call(
        trials.STAGE, Files(files, {"id": "cohort", "recordings": recordings}), outputs, Config(**section)
    ), outputs


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs")
    return [make_recording(folder, subject, run) for subject in ("01", "02") for run in (0, 1)]


def correlation(patterns: Patterns) -> float:
    """Median r, over rows, of patterns with what was planted, which is z-scored alike."""
    numbers = np.array([int(name[5:7]) for name in patterns.stimulus])
    training = np.unique(numbers[patterns.split == "train"])
    planted = (ANSWERS[numbers] - ANSWERS[training].mean(0)) / ANSWERS[training].std(0)
    return float(np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(patterns.patterns, planted, strict=True)]))


@pytest.mark.parametrize(("estimate", "least"), [("lsa", 0.99), ("lss", 0.9), ("mean", 0.8)])
def test_planted_answers_come_back(
    recordings: list[dict[str, Any]], tmp_path: Path, estimate: str, least: float, golden: Callable[..., None]
) -> None:
    facts, out = write(tmp_path, recordings, estimate=estimate)
    patterns = Patterns.load(out["trials"])
    assert correlation(patterns) > least
    assert facts["TrainingTrials"] == 56 and facts["TestTrials"] == 16 and facts["TestStimuli"] == 4
    assert patterns.of("test").repeats.tolist() == [2] * 8 and len(patterns.of("test")) == 8
    assert patterns.seen().shape == (64, 16, 16)
    assert {int(p.mean()) for p in patterns.of("test").seen()} == {7 * n for n in (28, 29, 30, 31)}
    if estimate == "lss":
        golden(trials.STAGE, dict(out), facts)


def test_of_overlapping_answers_one_model_tells_more_than_a_mean(tmp_path: Path) -> None:
    runs = [make_recording(tmp_path, "01", run, every_s=6.0) for run in (0, 1)]
    found = {}
    for estimate in ("lsa", "mean"):
        found[estimate] = correlation(Patterns.load(write(tmp_path, runs, estimate=estimate)[1]["trials"]))
    assert found["lsa"] > 0.999 > 0.97 > found["mean"]


def test_a_share_of_the_stimuli_is_for_the_test_wherever_they_are_shown(
    recordings: list[dict[str, Any]], tmp_path: Path
) -> None:
    _, out = write(tmp_path, recordings, test_where={}, test=0.25)
    table = pd.read_csv(out["trials_table"], sep="\t", dtype=str)
    assert table.groupby("stimulus")["split"].nunique().max() == 1
    assert table.groupby("split")["stimulus"].nunique().to_dict() == {"test": 8, "train": 24}
    _, out = write(tmp_path, recordings, test_where={}, test=0.25, by="category")
    table = pd.read_csv(out["trials_table"], sep="\t", dtype=str)
    assert table.groupby("category")["split"].nunique().max() == 1


def test_a_run_for_the_test_takes_its_stimuli_out_of_training(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    facts, out = write(tmp_path, recordings, test_where={"run": ["2"]})
    table = pd.read_csv(out["trials_table"], sep="\t", dtype=str, keep_default_na=False)
    left = table[table["reason"] != ""]
    assert len(left) == 8 and set(left["run"]) == {"1"} and facts["LeftOut"] == 8
    patterns = Patterns.load(out["trials"])
    assert not set(patterns.of("train").stimulus) & set(patterns.of("test").stimulus)


def test_nothing_is_learnt_of_people_for_the_test(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    """Not their training stimuli, nor their windows; their own trials of these are what theirs are z-scored by."""
    facts, out = write(tmp_path, recordings, test_subjects=["sub-02"])
    patterns = Patterns.load(out["trials"])
    alone = Patterns.load(write(tmp_path, recordings[:2])[1]["trials"])
    both = Patterns.load(write(tmp_path, recordings)[1]["trials"])
    assert set(patterns.of("train").subject) == {"01"} and set(patterns.of("test").subject) == {"02"}
    assert facts["TestSubjects"] == ["02"] and facts["TrainingTrials"] == 28 and facts["TestStimuli"] == 4
    assert "and by subject (1 of whom nothing was learnt)" in trials.describe(facts)
    np.testing.assert_array_equal(patterns.windows, alone.windows)
    test = both.of("test")
    np.testing.assert_array_equal(patterns.of("test").patterns, test.rows(test.subject == "02").patterns)
    for names, said in ((["*"], "none is left to learn from"), (["07"], "no subject 07 -> there are: 01, 02")):
        with pytest.raises(InputError, match=said):
            write(tmp_path, recordings, test_subjects=names)


def test_a_split_that_leaves_nothing_says_why(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trial of split train is left, of 72 in all; 56 were left out: its cat"):
        write(tmp_path, recordings, by="category")


def test_voxels_of_another_grid_are_refused(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    other = make_recording(tmp_path, "03", 0)
    with np.load(other["files"]["voxels"]) as file:
        moved = dict(file) | {"affine": np.diag([3.0, 3, 3, 1])}
    np.savez(other["files"]["voxels"], **moved)
    with pytest.raises(InputError, match="on another grid than those of sub-01"):
        write(tmp_path, [*recordings, other])


def test_windows_keep_away_from_test_trials(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    few, _ = write(tmp_path, recordings)
    many, out = write(tmp_path, recordings, test_where={"set": ["both"], "run": ["1"]})
    assert 0 < few["Windows"] < many["Windows"]
    windows = Patterns.load(out["trials"]).windows
    assert windows is not None and np.allclose(windows.std(0), 1, atol=1e-3)


def test_categories_without_pictures_are_split_by_run(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    facts, out = write(tmp_path, recordings, pictures=False, stimulus="no_column", test_where={}, test=0.25)
    table = pd.read_csv(out["trials_table"], sep="\t", dtype=str)
    assert table.groupby("recording")["split"].nunique().max() == 1
    assert facts["Pictures"] == 0 and any("no pictures" in text for text in facts["Warnings"])
    assert "blank" in set(table["category"])


def test_voxels_that_tell_training_categories_apart(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    facts, out = write(tmp_path, recordings, most_voxels=5)
    patterns = Patterns.load(out["trials"])
    assert facts["Voxels"] == patterns.n_voxels == len(patterns.voxel_ijk) == 5
    assert not any("in view" in text for text in facts["Warnings"])
    assert patterns.windows is not None and patterns.windows.shape[1] == 5


def test_recordings_keep_the_voxels_that_they_share(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    less = make_recording(tmp_path, "02", 1, places=V - 3)
    facts, out = write(tmp_path, [*recordings[:3], less])
    assert Patterns.load(out["trials"]).voxel_ijk[:, 0].tolist() == list(range(V - 3))
    assert any(f"{V - 3} voxels are in view in all recordings" in text for text in facts["Warnings"])


def test_a_trial_after_the_end_is_left_out(tmp_path: Path) -> None:
    runs = [make_recording(tmp_path, "01", run) for run in (0, 1)]
    events = Path(runs[0]["files"]["voxel_events"])
    events.write_text(events.read_text() + "198\t3\tkind0\tpics/20.png\tone\n")
    facts, out = write(tmp_path, runs)
    table = pd.read_csv(out["trials_table"], sep="\t", keep_default_na=False)
    assert table["reason"].tolist().count("no good volume in its window") == facts["LeftOut"] == 1


def test_windows_keep_away_from_all_of_a_long_test_trial(tmp_path: Path) -> None:
    runs = [make_recording(tmp_path, "01", run) for run in (0, 1)]
    short, _ = write(tmp_path, runs, test_where={"set": ["both"], "run": ["1"]}, estimate="mean")
    for run in runs:
        events = Path(run["files"]["voxel_events"])
        events.write_text(events.read_text().replace("\t3\t", "\t40\t"))
    long, _ = write(tmp_path, runs, test_where={"set": ["both"], "run": ["1"]}, estimate="mean")
    assert 0 < long["Windows"] < short["Windows"]


@pytest.mark.parametrize("how", ["bom", "utf-16", "crlf", "last_tab", "commas", "capitals_stay_words"])
def test_events_as_people_have_them(recordings: list[dict[str, Any]], tmp_path: Path, how: str) -> None:
    plain, _ = write(tmp_path, recordings[:2], estimate="mean")
    runs = [make_recording(tmp_path, "01", run) for run in (0, 1)]
    for run in runs:
        events = Path(run["files"]["voxel_events"])
        text = events.read_text()
        if how == "last_tab":
            text = text.replace("\n", "\t\n")
        if how == "commas":
            text = text.replace("\t", ",")
        if how == "capitals_stay_words":
            text = text.replace("blank", "NA")
        encoding = {"bom": "utf-8-sig", "utf-16": "utf-16"}.get(how, "utf-8")
        events.write_bytes((text.replace("\n", "\r\n") if how == "crlf" else text).encode(encoding))
    assert write(tmp_path, runs, estimate="mean")[0] == plain


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("onset\t", "Onset\t", "no column onset"),
        ("\n190\t3\t", "\nlate\t3\t", "line 20: onset 'late' is no number"),
        ("\n190\t3\t", "\n190\t-3\t", "line 20: a duration below 0"),
        ("\n190\t3\tblank", "\n190\t3\tblank\tmore", "line 20 has 6 cells"),
    ],
)
def test_damaged_events_are_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    runs = [make_recording(tmp_path, "01", run) for run in (0, 1)]
    events = Path(runs[0]["files"]["voxel_events"])
    events.write_text(events.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        write(tmp_path, runs)


def test_an_event_without_an_onset_is_told(tmp_path: Path) -> None:
    runs = [make_recording(tmp_path, "01", run) for run in (0, 1)]
    events = Path(runs[0]["files"]["voxel_events"])
    events.write_text(events.read_text() + "n/a\t3\tkind0\tpics/20.png\tone\n")
    facts, _ = write(tmp_path, runs)
    assert facts["LeftOut"] == 1 and any("no good volume in its window" in text for text in facts["Warnings"])


def test_what_is_written_about_it(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    facts, out = write(tmp_path, recordings)
    assert read_object(out["trials_facts"])["TestStimuli"] == 4
    assert "2" in trials.describe(facts) and "LSS" in trials.describe(facts)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"test_where": {"sets": ["both"]}}, "no event has a column sets"),
        ({"test_where": {"set": ["all"]}}, "no trial's set is all -> there are: both, one"),
        ({"test_where": {"task": ["see"]}}, "no trial of split train is left"),
        ({"events": {"trial_type": ["nothing"]}}, "none of 4 recordings has events"),
        ({"stimulus": "a", "category": "b"}, "none of 4 recordings has events"),
    ],
)
def test_errors_are_one_line(
    recordings: list[dict[str, Any]], tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path, recordings, **section)


def test_some_pictures_are_missing(recordings: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stimuli/pics/31\.png"):
        files = {"stimuli/pics/00.png": tmp_path / "0.png"}
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(files["stimuli/pics/00.png"])
        more = {f"stimuli/pics/{n:02d}.png": files["stimuli/pics/00.png"] for n in range(31)}
        outputs = {name: tmp_path / f"o.{name}" for name in trials.STAGE.outputs}
        call(trials.STAGE, Files(more, {"recordings": recordings}), outputs, Config())
