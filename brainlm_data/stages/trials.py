"""trials: one pattern of voxels for each time that something was shown, split by stimulus, with the pictures.

What a decoder learns from and is tested on (`dataset.patterns.Patterns`). A stimulus is in one split; statistics are
those of training trials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainlm_data.dataset.patterns import TEST, TRAIN, Patterns, averaged, standardised
from brainlm_data.dataset.trial_table import COLUMNS, ENTITIES, OF_TEST_SUBJECT, split_subjects, split_trials
from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import check_digest, read_facts, write_json
from brainlm_data.reading.events import read_trials
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

if TYPE_CHECKING:
    import pandas as pd

AFTER_S = 15.0  # s after the end of a test stimulus in which the brain still answers: not used for windows


class Config(StageConfig):
    """What is a trial, its pattern, and the split."""

    estimate: Literal["mean", "lsa", "lss"] = Field(
        "mean", description="mean of the volumes in window_s; lsa, lss: betas of one model, or of one for each trial"
    )
    window_s: tuple[float, float] = Field(
        (3.0, 9.0), description="seconds after the onset; a trial without a good volume there is left out"
    )
    hrf: Literal["glover", "spm"] = Field("glover", description="haemodynamic response of lsa and lss")
    stimulus: str = Field("stim_file", description="column of events.tsv that names the picture, below stimuli/")
    category: str = Field("trial_type", description="column of events.tsv that names the category")
    events: dict[str, list[str]] = Field(
        {}, description="column: [values] of the rows that are trials, * is any text; {}: all that have a stimulus"
    )
    test: float = Field(
        0.1, gt=0, lt=1, description="share of the stimuli (see `by`) for the test, by a digest of names"
    )
    test_where: dict[str, list[str]] = Field(
        {},
        description="in place of `test`: column of events.tsv, session, task or run: [values] of the test trials",
    )
    by: Literal["stimulus", "category", "run"] = Field(
        "stimulus", description="what is in one split as a whole; without stimuli, it is the run"
    )
    test_subjects: list[str] = Field(
        [], description="people (* is any text) of whom nothing is learnt and who alone are tested; []: all are in both"
    )
    seed: int = Field(0, ge=0, description="seed of the split")
    most_voxels: int | None = Field(
        None,
        ge=1,
        description="only so many voxels: those that tell the categories of training trials apart best (F); null: all",
    )
    picture_px: int = Field(64, ge=8, le=1024, description="pictures are reduced to so many pixels each way")
    pretraining_s: float = Field(6.0, gt=0, description="windows for a model that learns from fMRI alone, s each")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if not 0 <= self.window_s[0] < self.window_s[1]:
            raise ValueError(f"window_s {list(self.window_s)}: the first is 0 or more, and below the second")
        return self


@dataclass(frozen=True)
class Recording:
    """A recording as this stage sees it."""

    id: str
    entities: Mapping[str, str]
    voxels: Path
    files: Mapping[str, str]
    facts: Facts
    trials: pd.DataFrame  # COLUMNS and those of its events.tsv; split and reason are filled in by the stage


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write patterns, a table of all trials, and counts.

    Raises
    ------
    InputError: no recording has trials; a column or a value that the section names is not there; no training or no
        test trial is left; recordings have no voxel in common; some pictures are there and others are not.
    """
    import pandas as pd

    recordings = [_recording(one, config) for one in inputs.meta["recordings"] if one["status"] == "done"]
    tables = [recording.trials for recording in recordings if len(recording.trials)]
    if not tables:
        raise InputError(
            f"trials: none of {len(recordings)} recordings has events with a column {config.stimulus} or"
            f" {config.category}",
            "set trials.stimulus and trials.category to columns of your events.tsv",
        )
    table = pd.concat(tables, ignore_index=True)
    has_stimuli = bool((table["from"] == config.stimulus).any())
    by = config.by if has_stimuli else "run"
    split_trials(table, by, config.test, config.test_where, config.seed)
    new = split_subjects(table, config.test_subjects)
    places = _common_places(recordings)
    values, windows, subjects = _values(recordings, table, places, config)
    _check_both(table)
    patterns = _patterns(values, table, new)
    in_view = len(places)
    if config.most_voxels is not None and config.most_voxels < len(places):
        chosen = _telling(patterns, config.most_voxels)
        patterns = _patterns(values[:, chosen], table, new)
        places, windows = places[chosen], windows[:, chosen]
    shape, affine = _grid(recordings[0])
    names, pictures = _pictures(inputs, patterns, config, has_stimuli)
    patterns = replace(
        patterns,
        voxel_ijk=np.stack(np.unravel_index(places, shape), axis=1).astype(np.int64),
        affine=affine,
        pictures=pictures,
        names=names,
        windows=_standard_windows(windows, subjects, new),
    )
    patterns.save(outputs["trials"])
    table[list(COLUMNS)].to_csv(outputs["trials_table"], sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    facts = _facts(patterns, table, recordings, config, by, in_view, has_stimuli, new)
    write_json(outputs["trials_facts"], facts)
    return facts


def _recording(given: Mapping[str, Any], config: Config) -> Recording:
    files = given["files"]
    for name in ("voxels", "voxel_events"):
        if name in files and (digest := given.get("sha256", {}).get(name)):
            check_digest(Path(files[name]), digest)
    entities = {key: "" if given[key] is None else str(given[key]) for key in ENTITIES}
    voxels = Path(files["voxels"])
    events = Path(files["voxel_events"]) if "voxel_events" in files else None
    trials = read_trials(given["id"], entities, events, config.stimulus, config.category, config.events)
    return Recording(given["id"], entities, voxels, files, read_facts(voxels), trials)


def _check_both(table: pd.DataFrame) -> None:
    counts = Counter(table["split"][table["reason"] == ""])
    for split in (TRAIN, TEST):
        if not counts[split]:
            reasons = Counter(table["reason"][(table["reason"] != "") & (table["split"] == split)])
            why = "".join(f"; {count} were left out: {reason}" for reason, count in sorted(reasons.items()))
            raise InputError(
                f"trials: no trial of split {split} is left, of {len(table)} in all{why}",
                "another share, another seed or another test_where, or more runs",
            )


def _patterns(values: NDArray[np.float32], table: pd.DataFrame, new: set[str]) -> Patterns:
    """Patterns of the rows of the table that are used.

    new: people of whom nothing is learnt. Mean and SD of theirs are those of their trials that are not of the test,
    which are no rows after that.
    """
    used = (table["reason"] == "") | (table["reason"] == OF_TEST_SUBJECT)
    kept = table[used]
    test = (kept["split"] == TEST).to_numpy()
    stimulus, category, recording, subject = (
        kept[name].astype(str).tolist() for name in ("stimulus", "category", "recording", "subject")
    )
    patterns = averaged(values[used.to_numpy()], stimulus, category, recording, subject, test)
    return patterns.rows(~np.isin(patterns.subject, list(new)) | (patterns.split == TEST))


def _standard_windows(windows: NDArray[np.float32], subjects: NDArray[np.str_], new: set[str]) -> NDArray[np.float32]:
    """Windows (w, V) as z-scores for each person, without those of people of whom nothing is learnt."""
    learnt = ~np.isin(subjects, list(new))
    if not learnt.any():
        return windows[learnt]
    return standardised(windows[learnt], np.ones(int(learnt.sum()), bool), subjects[learnt])


def _common_places(recordings: Sequence[Recording]) -> NDArray[np.int64]:
    """Voxels that all recordings have. Raises InputError where there is none."""
    from brainlm_data.stages.voxels import Voxels

    common: NDArray[np.int64] | None = None
    shape, affine = _grid(recordings[0])
    for recording in recordings:
        voxels = Voxels(recording.voxels)
        if voxels.shape != shape or not np.allclose(voxels.affine, affine):
            raise InputError(
                f"{recording.voxels}: its voxels are on another grid than those of {recordings[0].voxels.name}",
                "`--forcerun voxels` makes all of them again",
            )
        common = voxels.places if common is None else np.intersect1d(common, voxels.places)
    if common is None or not len(common):
        raise InputError(f"trials: {len(recordings)} recordings have no voxel in common", "select those of one region")
    return common


def _grid(recording: Recording) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    from brainlm_data.stages.voxels import Voxels

    voxels = Voxels(recording.voxels)
    return voxels.shape, voxels.affine


def _values(
    recordings: Sequence[Recording], table: pd.DataFrame, places: NDArray[np.int64], config: Config
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.str_]]:
    """Patterns (rows of the table, V), windows (w, V) and the subject of each window; fills in `reason`."""
    from brainlm_data.stages.voxels import Voxels

    values = np.zeros((len(table), len(places)), np.float32)
    windows, subjects = [np.empty((0, len(places)), np.float32)], list[str]()
    for recording in recordings:
        series = Voxels(recording.voxels).series(places)
        times, good = _times(recording, len(series))
        rows = np.flatnonzero(table["recording"] == recording.id)
        own = table.iloc[rows]
        onsets = own["onset"].to_numpy(float)
        if len(rows):
            chosen, reached = _answers(recording, series, times, good, own, config)
            values[rows] = chosen
            late = rows[~reached]
            wanted = table.loc[late, "reason"].isin(["", OF_TEST_SUBJECT])
            table.loc[late[wanted], "reason"] = "no good volume in its window"
        of_test = (own["split"] == TEST).to_numpy()
        starts, ends = onsets[of_test, None], (onsets + own["duration"].to_numpy(float))[of_test, None] + AFTER_S
        shown = (times[None] >= starts) & (times[None] <= ends)
        parts = _windows(series, good & ~shown.any(0), config.pretraining_s * recording.facts["SamplingFrequency"])
        windows.append(parts)
        subjects += [recording.entities["subject"]] * len(parts)
    return values, np.concatenate(windows), np.array(subjects, np.str_)


def _times(recording: Recording, steps: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """When each volume of a series was acquired, s after the first one; and which were not censored."""
    facts = recording.facts
    numbers = np.arange(steps) + facts["FirstVolume"]
    good = ~np.isin(numbers, facts.get("Censored", []))
    return numbers / facts["SamplingFrequency"] + facts.get("StartTime", 0.0), good


def _answers(
    recording: Recording, series: NDArray[np.float32], times: NDArray[np.float64], good: NDArray[np.bool_],
    trials: pd.DataFrame, config: Config,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    """Patterns (trials, V), and which trials have one."""
    from brainlm_data.methods import single_trials
    from brainlm_data.methods.operators import Temporal

    onsets, durations = trials["onset"].to_numpy(float), trials["duration"].to_numpy(float)
    inside = single_trials.in_window(times, onsets, config.window_s, good)
    reached: NDArray[np.bool_] = np.asarray(inside.any(1))
    out = np.zeros((len(trials), series.shape[1]), np.float32)
    if not reached.any():
        return out, reached
    if config.estimate == "mean":
        out[reached] = single_trials.means(series, inside[reached])
        return out, reached
    # the design meets all volumes, and what was done to the series
    temporal = Temporal.load(Path(recording.files["filter_recipe"]), Path(recording.files["denoise_recipe"]), 1.0)
    acquired = np.arange(temporal.recipe.n_volumes) * temporal.recipe.tr_s + recording.facts.get("StartTime", 0.0)
    columns = single_trials.design(acquired, onsets[reached], durations[reached], config.hrf)
    filtered = single_trials.filtered(columns, temporal)
    out[reached] = single_trials.betas(series, filtered, config.estimate == "lss")
    return out, reached


def _windows(series: NDArray[np.float32], good: NDArray[np.bool_], steps: float) -> NDArray[np.float32]:
    """Means (w, V) of consecutive volumes, about `steps` each; windows with a volume that is not good are left out."""
    size = max(1, round(steps))
    count = len(series) // size
    whole = good[: count * size].reshape(count, size).all(1)
    return series[: count * size].reshape(count, size, -1).mean(1)[whole]


def _telling(patterns: Patterns, most: int) -> NDArray[np.intp]:
    """The voxels, in their order, with the largest F of an analysis of variance over categories of training trials."""
    from sklearn.feature_selection import f_classif

    training = patterns.of(TRAIN)
    known = training.rows(training.category != "")
    counts = Counter(known.category.tolist())
    if len(counts) < 2 or len(known) <= len(counts):
        raise InputError(
            f"trials.most_voxels: {len(known)} training trials of {len(counts)} categories tell no voxels apart",
            "set trials.category to a column with categories, or most_voxels: null",
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # of voxels that do not change
        f = np.nan_to_num(f_classif(known.patterns, known.category)[0], nan=0.0)
    return np.sort(np.argsort(-f, kind="stable")[:most])


def _pictures(
    inputs: Files, patterns: Patterns, config: Config, has_stimuli: bool
) -> tuple[NDArray[np.str_], NDArray[np.uint8]]:
    """Names and pixels of all stimuli; nothing where the dataset has no pictures."""
    nothing = np.empty(0, np.str_), np.empty((0, 0, 0), np.uint8)
    if not has_stimuli:
        return nothing
    names = np.unique(patterns.stimulus)
    files = [inputs.get(f"stimuli/{name}") for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if file is None]
    if len(missing) == len(names):
        return nothing
    if missing:
        raise InputError(
            f"trials: {len(missing)} of {len(names)} pictures are not below stimuli/ (stimuli/{missing[0]})",
            "copy them there, or leave their trials out (trials.events)",
        )
    from brainlm_data.reading.pictures import read_pictures

    return names, read_pictures([file for file in files if file is not None], config.picture_px)


def _facts(
    patterns: Patterns, table: pd.DataFrame, recordings: Sequence[Recording], config: Config, by: str, in_view: int,
    has_stimuli: bool, new: set[str],
) -> Facts:  # fmt: skip
    """Counts, and what a reader of a result has to know. `in_view`: voxels that all recordings have."""
    training, test = patterns.of(TRAIN), patterns.of(TEST)
    shared = set(training.category.tolist()) & set(test.category.tolist()) - {""}
    left = Counter(table["reason"][table["reason"] != ""])
    warnings = [f"{count} trials were left out: {reason}" for reason, count in sorted(left.items())]
    if not len(patterns.names):
        warnings.append(
            "the dataset has no pictures of what was shown: categories can be decoded, pictures cannot"
            + (f" (no {patterns.stimulus[0]} below stimuli/)" if has_stimuli else "")
        )
    if shared:
        warnings.append(f"{len(shared)} categories of the test are in training, too")
    most = max(int(recording.facts["NumberOfVoxels"]) for recording in recordings)
    if in_view < most:
        warnings.append(f"{in_view} voxels are in view in all recordings, up to {most} in one of them")
    assert patterns.windows is not None
    return {
        "Recordings": len(recordings),
        "Subjects": len(set(patterns.subject.tolist())),
        "Voxels": patterns.n_voxels,
        "Estimate": config.estimate,
        "WindowSeconds": list(config.window_s),
        "Hrf": config.hrf,
        "By": by,
        "TestSubjects": sorted(new),
        "TrainingTrials": len(training),
        "TrainingStimuli": len(set(training.stimulus.tolist())),
        "TestTrials": int(test.repeats.sum()),
        "TestStimuli": len(set(test.stimulus.tolist())),
        "TestRepeats": float(np.median(test.repeats)),
        "SharedCategories": len(shared),
        "LeftOut": int(sum(left.values())),
        "Pictures": len(patterns.names),
        "Windows": len(patterns.windows),
        "Warnings": warnings,
    }


def describe(facts: Facts) -> str:
    """Methods sentence."""
    start, end = facts["WindowSeconds"]
    how = {
        "mean": f"the mean of the volumes {start:g} to {end:g} s after its onset",
        "lsa": f"a beta of one linear model of all trials of its run ({facts['Hrf']} response)",
        "lss": f"the beta of a linear model of its own (LSS; Mumford et al., 2012; {facts['Hrf']} response)",
    }[facts["Estimate"]]
    return Sentence(
        "The pattern of a trial was {how}, in {voxels} voxels; patterns were z-scored by each subject's training"
        " trials. {training} trials of {stimuli} stimuli were for training, {test_trials} of {test_stimuli} others for"
        " the test, split by {by}{people} before any statistic was computed; repeats of a test stimulus were averaged.",
        how=how,
        voxels=facts["Voxels"],
        training=facts["TrainingTrials"],
        stimuli=facts["TrainingStimuli"],
        test_trials=facts["TestTrials"],
        test_stimuli=facts["TestStimuli"],
        by=facts["By"],
        people=f" and by subject ({len(new)} of whom nothing was learnt)" if (new := facts["TestSubjects"]) else "",
    )


STAGE = Stage(
    name="trials",
    version=3,
    level="cohort",
    summary="Patterns of voxels per trial with the pictures that were seen, split by stimulus, for decoding.",
    Config=Config,
    inputs=("voxels", "voxel_events", "filter_recipe", "denoise_recipe"),
    outputs=("trials", "trials_table", "trials_facts"),
    run=run,
    describe=describe,
    optional=("voxel_events",),
    told=("stimulus_files",),
    routes=("native",),
    need=Need(4000, seconds=2),
)
