"""What stage `phenotype` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval
from brainlm_model.eval.rows import by, find, select
from brainlm_model.eval.statistics.paired import verdict

TITLE = "Traits and diagnoses"
CAPTION = "Held-out predictions of each column, with 95 % intervals over subjects; the vertical line is chance."
KEY = {"regression": ("r2", "R²"), "classification": ("auroc", "area under the ROC curve")}
WITHIN = {"regression": ("r2_within", "R²"), "classification": ("auroc", "area")}
BEST, LINEAR, TANGENT = "ours_best", "correlations_ridge", "tangent_ridge"
VERDICT = {
    "better": "the linear baseline wins", "worse": "the model's embeddings win",
    "not distinguishable": "they cannot be told apart",
}  # fmt: skip
VERDICT_OF_READOUT = {
    "better": "the readout is better", "worse": "tangent space is better",
    "not distinguishable": "they cannot be told apart",
}  # fmt: skip
COUNTERPARTS = {
    "SVM on raw recordings": "raw_svm", "SVM on pretrained embeddings": "cls_svm", "fine-tuned": "finetuned",
}  # fmt: skip


def headline(content: Mapping[str, Any]) -> list[str]:
    """The embeddings against a ridge on correlations, the readout against tangent space, and what was best of all."""
    if not content["Columns"]:
        return ["No column of the cohort's table was predicted: see the warnings."]
    sentences = []
    for facts in content["Columns"]:
        column, (metric, name) = facts["Column"], KEY[facts["Task"]]
        validation = facts["Validation"]
        rows = by("method", select(content["Results"], column=column, validation=validation, metric=metric))
        methods = [row for method, row in rows.items() if method not in (BEST, "trivial")]
        text = f"{column} ({facts['Subjects']} subjects, {validation}), {name}: "
        defined = [row for row in methods if row["value"] is not None]
        if not defined:
            sentences.append(
                f"{text}not defined, because nobody of another class is in the same {facts['Within'][:-1]}."
            )
            continue
        compared = find(
            content["Comparisons"], column=column, validation=validation, method=LINEAR, against=BEST, metric=metric
        )
        if compared is not None and compared["difference"] is not None:
            text += f"the model's embeddings {interval(rows[BEST])}, ridge on correlations {interval(rows[LINEAR])}: "
            text += f"{VERDICT[compared['verdict']]} (difference {compared['difference']:+.2f}, "
            text += f"corrected p {compared['p_holm']:.2g})."
        else:
            shown = [row for method, row in rows.items() if method != "trivial"]
            text += "; ".join(f"{row['label']} {interval(row)}" for row in shown) + "."
        top = max(defined, key=lambda row: row["value"])
        text += _readout(content, facts)
        text += f" Best of {len(defined)} methods: {top['label']} {interval(top)}"
        if top["p_permutation"] is not None:
            text += f" (permutation p {top['p_permutation']:.2g})"
        text += "."
        p = rows.get(BEST, top)["p_permutation"]
        if p is not None and p >= 0.05:
            text += f" Permuted labels do as well as the embeddings (p {p:.2g}): they predict nothing."
        if facts.get("Note"):
            text += f" In the table of the participants: {facts['Note']}."
        sentences.append(text)
    return sentences


def _readout(content: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The recommended readout against tangent space, within sites (or folds)."""
    metric, name = WITHIN[facts["Task"]]
    which = {"column": facts["Column"], "validation": facts["Validation"], "metric": metric}
    rows = by("method", select(content["Results"], **which))
    claim = find(content["RepresentationMinusTangent"], **which)
    if claim is None or claim["difference"] is None:
        return ""
    bounds = ""
    if claim["low"] is not None:  # they are the same in every draw of few subjects
        bounds = f" [{claim['low']:.3f}, {claim['high']:.3f}]"
    won = VERDICT_OF_READOUT[verdict(claim["difference"], claim["p_holm"])]
    return (
        f" Within {facts['Within']}, {name}: log-Euclidean readout (no model) {interval(rows[facts['Readout']])}, "
        f"tangent space {interval(rows[TANGENT])}: {won} (difference {claim['difference']:+.3f}{bounds}, "
        f"p over columns {claim['p_holm']:.2g})."
    )


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method and column."""
    metrics = list(dict.fromkeys(row["metric"] for row in content["Results"]))
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in content["Results"]:
        cells.setdefault((row["column"], row["validation"], row["label"]), {})[row["metric"]] = interval(row)
    rows = []
    for key, by_metric in cells.items():
        rows.append([*key, *(by_metric.get(metric, "") for metric in metrics)])
    return ["column", "validation", "method", *metrics], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"UK Biobank: mean squared error of {row['label']}; {row['method']}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Age alone has a counterpart, where it was z-scored."""
    if row["label"] != "age, z" or not select(content["Columns"], Column="age", Transform="z"):
        return None
    own = find(content["Results"], column="age", method=COUNTERPARTS[row["method"]], metric="mse_transformed")
    return None if own is None else (f"age, {own['label']}", own)
