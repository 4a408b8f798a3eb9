"""Predict columns of the cohort's table from recordings: the stage, its section and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainlm_data import Facts, Files, InputError
from brainlm_model.eval.phenotype.section import GIVEN, ON_RECORDINGS, READOUT, TANGENT, Column, Config
from brainlm_model.eval.rows import Row, correct, find
from brainlm_model.eval.task import Results, Start, task

if TYPE_CHECKING:
    from brainlm_model.eval.phenotype.cohort import ColumnResults
    from brainlm_model.eval.phenotype.people import People, Target

COLUMNS = (
    "column", "task", "validation", "method", "label", "group", "metric", "value", "low", "high", "p_permutation",
    "n_subjects", "n_folds", "note",
)  # fmt: skip
COMPARED = {"regression": ("r2_within", "r_within", "r2"), "classification": ("auroc",)}
PRIMARY = {"r2_within": "primary", "auroc": "primary"}  # corrected together over columns; areas are within sites, too
ELSEWHERE = "UK Biobank, ages 40 to 69, parcels A424, its own labels and splits: not the people of this table"
# mean and deviation over runs of the mean squared error, of each of these labels
PUBLISHED_LABELS = ("age, z", "PCL, log and min-max", "GAD7, log and min-max", "neuroticism, min-max")
PUBLISHED_MSE = {
    "SVM on raw recordings": ((2.0, 0.22), (0.034, 0.0027), (0.172, 0.0066), (0.160, 0.0137)),
    "SVM on pretrained embeddings": ((0.857, 0.114), (0.022, 0.0019), (0.094, 0.0079), (0.086, 0.0047)),
    "fine-tuned": ((0.485, 0.025), (0.018, 0.0008), (0.074, 0.0053), (0.072, 0.0049)),
}


def _published() -> list[dict[str, Any]]:
    """One entry per method and label."""
    entries = []
    for method, errors in PUBLISHED_MSE.items():
        for label, (value, deviation) in zip(PUBLISHED_LABELS, errors, strict=True):
            entries.append(
                {"label": label, "metric": "mse_transformed", "method": method, "value": value,
                 "plus_minus": deviation, "source": "Ortega Caro et al., BrainLM, ICLR 2024", "comparable": False,
                 "reason": ELSEWHERE}
            )  # fmt: skip
    return entries


PUBLISHED = _published()


def evaluate(start: Start, config: Config) -> Results:
    """Predict every column by every method in the same folds.

    Finished folds are kept in the work folder, and a run that was killed goes on there.

    Raises
    ------
    InputError: a column that cannot be predicted, before anything long starts.
    """
    from threadpoolctl import threadpool_limits

    from brainlm_model.eval.phenotype import people as who
    from brainlm_model.eval.phenotype.cohort import Cohort

    store = start.store
    table = store.recordings[store.recordings["status"] == "done"]
    everybody = who.people_of(table, table["id"].tolist(), config.subjects)
    columns = config.columns or [Column(name=name) for name in who.default_columns(everybody.table)]
    people, labels, skipped, absent = everybody, {}, [], []
    results: list[ColumnResults] = []
    # whatever is wrong with a column is said before the embeddings are made
    usable, passed_over = _targets(columns, everybody, config)
    if usable:
        with threadpool_limits(config.threads):
            cohort = Cohort(store, start.model, config, everybody, start.workdir, _digest(start.inputs))
            people, labels, skipped, absent = cohort.people, cohort.labels, cohort.left_out, cohort.absent
            usable, more = _targets(columns, people, config)  # of those who could be embedded
            passed_over |= more
            for target, split in usable:
                results += cohort.column(target, split.words, split.transfer)
    rows, compared, predictions = [], [], {}
    notes = store.attrs.get("card_data", {}).get("columns", {})  # what was taken for what in the participants' table
    for column in results:
        column.facts["Note"] = notes.get(column.facts["Column"], "")
        rows += [{**row, "note": column.facts["Note"]} for row in column.rows]
        compared += column.comparisons
        part = "/".join(filter(None, (column.facts["Column"], column.part)))
        for name, values in column.held.items():
            predictions[f"{part}/{name}"] = values
    facts: Facts = {
        "Columns": [column.facts for column in results],
        "Subjects": len(people),
        "SubjectsSeenByModel": 0 if config.leave_out == GIVEN else int(people.seen.sum()),  # of those predicted
        "Recordings": sum(map(len, people.recordings)),
        "SkippedRecordings": skipped,
        "PassedOver": passed_over,
        "Validation": list(dict.fromkeys(column.facts["Validation"] for column in results)),
        "Absent": absent,
        "RepresentationMinusTangent": claims(results),
        "InnerFolds": config.inner,
        "Candidates": Cohort.candidates,
        "Confounds": config.confounds,
        "Methods": labels,
        "Permutations": config.permutations,
        "Bootstrap": max([column.facts["Draws"] for column in results], default=config.bootstrap),
        "Epochs": config.epochs,
        "Seed": config.seed,
    }
    return Results(facts, rows, predictions, compared, warnings(facts), PUBLISHED)


@dataclass(frozen=True)
class Split:
    """How people are split: the column whose groups are left out (None: folds), in two parts where `transfer`.

    `given`: by the splits of the store.
    """

    column: str | None
    transfer: bool
    words: str
    given: bool = False


def splits_of(table: Any, config: Config) -> list[Split]:
    """The main split, and the one by TR or scanner beside it; columns that are `auto` are looked for by their names."""
    from brainlm_model.eval.phenotype.people import site_of, transfer_of

    leave_out = site_of(table) if config.leave_out == "auto" else config.leave_out
    words = f"leave one {leave_out} out" if leave_out else f"{config.folds} folds"
    splits = [Split(leave_out, False, words)]
    if leave_out == GIVEN:
        splits = [Split(None, False, "the store's splits", given=True)]
    column = transfer_of(table) if config.transfer == "auto" else config.transfer
    if column:
        splits.append(Split(column, True, f"split by {column}"))
    return splits


def _targets(
    columns: Sequence[Column], people: People, config: Config
) -> tuple[list[tuple[Target, Split]], dict[str, str]]:
    """The columns that can be predicted, by each split, and why others cannot.

    Raises InputError where a column or a split that the section names cannot: age and sex alone, and splits that are
    `auto`, are tried without being named.
    """
    from brainlm_model.eval.phenotype.people import folds_of, target_of, with_splits

    usable, passed_over = [], {}
    fewest = max(config.folds, 2 * config.inner)  # people of a class
    splits = splits_of(people.table, config)
    folds = Split(None, False, f"{config.folds} folds")
    for column in columns:
        for split in splits:
            tried = [split]
            if split.column and not split.transfer and config.leave_out == "auto":
                tried.append(folds)  # where sites cannot be left out for this column; a warning says so
            may_fail = not config.columns or (split.transfer and config.transfer == "auto")
            for one in tried:
                try:
                    target = target_of(
                        people, column.name, column.task, column.transform, config.confounds, one.column, fewest,
                        one.transfer,
                    )  # fmt: skip
                    if one.given:
                        target = with_splits(target, people)
                    folds_of(target, people, config.folds, config.inner, config.seed)
                except InputError as error:
                    if one is tried[-1] and not may_fail:
                        raise
                    passed_over[f"{column.name}, {one.words}"] = error.message
                else:
                    usable.append((target, one))
                    break
    return usable, passed_over


def claims(results: Sequence[ColumnResults]) -> list[Row]:
    """The recommended readout minus tangent space, a column and split each, by every metric that is compared.

    p is corrected after Holm over the columns of the same split and metric's rank (r2 and area, r2 within sites, ...).
    """
    rows: list[Row] = []
    for column in results:
        method = READOUT[column.facts["Task"]]
        for metric in COMPARED[column.facts["Task"]]:
            found = find(column.comparisons, method=method, against=TANGENT, metric=metric)
            if found is not None:
                kept = {key: found[key] for key in ("column", "validation", "method", "metric", "difference", "low",
                                                    "high", "p")}  # fmt: skip
                rows.append({**kept, "rank": PRIMARY.get(metric, metric)})
    for validation in dict.fromkeys(row["validation"] for row in rows):
        for rank in dict.fromkeys(row["rank"] for row in rows):
            correct([row for row in rows if row["validation"] == validation and row["rank"] == rank])
    return [{key: value for key, value in row.items() if key != "rank"} for row in rows]


def _digest(inputs: Files) -> str:
    """What finished pieces depend on besides the configuration: store, table and model."""
    hasher = hashlib.sha256(f"{STAGE.version}".encode())
    for path in (inputs["store"] / "zarr.json", inputs["recordings"], inputs["model"], inputs["model_scaler"]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def warnings(facts: Facts) -> list[str]:
    """What a reader must know before believing the numbers."""
    lines = [f"not used: {reason}" for reason in facts["SkippedRecordings"]]
    for what, reason in facts["PassedOver"].items():
        lines.append(f"not predicted: {what}: {reason.removeprefix('phenotype: ')}")
    if facts["Absent"]:
        lines.append(f"{', '.join(facts['Absent'])} are left out: the model has no such features")
    if not facts["Columns"]:
        return [*lines, "no column was predicted: neither age nor sex can be; phenotype.columns names others"]
    for column in facts["Columns"]:
        lost = ", ".join(f"{count} {reason}" for reason, count in column["LeftOut"].items())
        if lost:
            lines.append(f"{column['Column']}: subjects left out: {lost}")
        if column["Note"]:
            lines.append(f"{column['Column']}: {column['Note']}")
    if facts["SubjectsSeenByModel"]:
        lines.append(
            f"the model was trained or watched on the series (not the labels) of {facts['SubjectsSeenByModel']} of "
            f"{facts['Subjects']} subjects; phenotype.subjects: unseen predicts the others alone"
        )
    if facts["Confounds"]:
        lines.append(f"{', '.join(ON_RECORDINGS)} are left out: confounds cannot be regressed out of a recording")
    else:
        lines.append("no confounds were regressed out: motion, site or age may carry a prediction")
    if 2 * (len(facts["Methods"]) + 1) / (1 + facts["Bootstrap"]) >= 0.05:
        lines.append(f"{facts['Bootstrap']} bootstrap draws are too few for any corrected p value below .05")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if not facts["Columns"]:
        return "No column of the cohort's table was predicted."
    names = ", ".join(f"{c['Column']} ({c['Task']}, {c['Subjects']} subjects)" for c in facts["Columns"])
    removed = f", with {', '.join(facts['Confounds'])} regressed out of features" if facts["Confounds"] else ""
    return (
        f"{names} were predicted from embeddings and from baselines with {' and '.join(facts['Validation'])}{removed}; "
        f"each method chose among {facts['Candidates']} settings in inner folds. Intervals are from "
        f"{facts['Bootstrap']} bootstrap draws of subjects (Efron & Tibshirani, 1993), p values of paired comparisons "
        f"are corrected after Holm (1979)."
    )


STAGE = task(
    "phenotype",
    5,
    "Predict age, sex or any other column, beside linear and other baselines.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
