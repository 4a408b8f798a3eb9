"""Predict columns of the cohort's table from recordings: the stage, its section and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from brainlm_data import Facts, Files, InputError
from brainlm_model.eval.phenotype.section import ON_RECORDINGS, Column, Config
from brainlm_model.eval.task import Results, Start, task

if TYPE_CHECKING:
    from brainlm_model.eval.phenotype.cohort import ColumnResults
    from brainlm_model.eval.phenotype.people import People, Target

COLUMNS = (
    "column", "task", "validation", "method", "label", "group", "metric", "value", "low", "high", "p_permutation",
    "n_subjects", "n_folds", "note",
)  # fmt: skip
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
    people, labels, skipped = everybody, {}, []
    results: list[ColumnResults] = []
    # whatever is wrong with a column is said before the embeddings are made
    usable, passed_over = _targets(columns, everybody, config)
    if usable:
        with threadpool_limits(config.threads):
            cohort = Cohort(store, start.model, config, everybody, start.workdir, _digest(start.inputs))
            people, labels, skipped = cohort.people, cohort.labels, cohort.left_out
            usable, more = _targets(columns, people, config)  # of those who could be embedded
            passed_over |= more
            results = [cohort.column(target) for target in usable]
    rows, compared, predictions = [], [], {}
    notes = store.attrs.get("card_data", {}).get("columns", {})  # what was taken for what in the participants' table
    for column in results:
        column.facts["Note"] = notes.get(column.facts["Column"], "")
        rows += [{**row, "note": column.facts["Note"]} for row in column.rows]
        compared += column.comparisons
        for name, values in column.held.items():
            predictions[f"{column.facts['Column']}/{name}"] = values
    facts: Facts = {
        "Columns": [column.facts for column in results],
        "Subjects": len(people),
        "SubjectsSeenByModel": int(people.seen.sum()),
        "Recordings": sum(map(len, people.recordings)),
        "SkippedRecordings": skipped,
        "PassedOver": passed_over,
        "Validation": f"leave one {config.leave_out} out" if config.leave_out else f"{config.folds} folds of subjects",
        "InnerFolds": config.inner,
        "Candidates": Cohort.candidates,
        "Confounds": config.confounds,
        "Methods": labels,
        "Permutations": config.permutations,
        "Bootstrap": config.bootstrap,
        "Epochs": config.epochs,
        "Seed": config.seed,
    }
    return Results(facts, rows, predictions, compared, warnings(facts), PUBLISHED)


def _targets(columns: Sequence[Column], people: People, config: Config) -> tuple[list[Target], dict[str, str]]:
    """The columns that can be predicted, and why others cannot.

    Raises InputError where a column that the section names cannot: age and sex alone are tried without being named.
    """
    from brainlm_model.eval.phenotype.people import folds_of, target_of

    usable, passed_over = [], {}
    fewest = max(config.folds, 2 * config.inner)  # people of a class
    for column in columns:
        try:
            target = target_of(
                people, column.name, column.task, column.transform, config.confounds, config.leave_out, fewest
            )
            folds_of(target, people, config.folds, config.inner, config.seed)
        except InputError as error:
            if config.columns:
                raise
            passed_over[column.name] = error.message
        else:
            usable.append(target)
    return usable, passed_over


def _digest(inputs: Files) -> str:
    """What finished pieces depend on besides the configuration: store, table and model."""
    hasher = hashlib.sha256(f"{STAGE.version}".encode())
    for path in (inputs["store"] / "zarr.json", inputs["recordings"], inputs["model"], inputs["model_scaler"]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def warnings(facts: Facts) -> list[str]:
    """What a reader must know before believing the numbers."""
    lines = [f"not used: {reason}" for reason in facts["SkippedRecordings"]]
    lines += [f"not predicted: {reason.removeprefix('phenotype: ')}" for reason in facts["PassedOver"].values()]
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
        f"{names} were predicted from embeddings and from baselines with {facts['Validation']}{removed}; each method "
        f"chose among {facts['Candidates']} settings in inner folds. Intervals are from {facts['Bootstrap']} bootstrap "
        f"draws of subjects (Efron & Tibshirani, 1993), p values of paired comparisons are corrected after Holm (1979)."
    )


STAGE = task(
    "phenotype",
    3,
    "Predict age, sex or any other column, beside linear and other baselines.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
