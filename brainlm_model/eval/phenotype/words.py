"""What stage `phenotype` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval
from brainlm_model.eval.rows import by, find, select

TITLE = "Traits and diagnoses"
CAPTION = "Held-out predictions of each column, with 95 % intervals over subjects; the vertical line is chance."
KEY = {"regression": ("r2", "R²"), "classification": ("auroc", "area under the ROC curve")}
BEST, LINEAR = "ours_best", "correlations_ridge"
VERDICT = {
    "better": "the linear baseline wins", "worse": "the model's embeddings win",
    "not distinguishable": "they cannot be told apart",
}  # fmt: skip
COUNTERPARTS = {
    "SVM on raw recordings": "raw_svm", "SVM on pretrained embeddings": "cls_svm", "fine-tuned": "finetuned",
}  # fmt: skip


def headline(content: Mapping[str, Any]) -> list[str]:
    """The embeddings against a ridge on correlations, and what was best of all; one sentence per column."""
    if not content["Columns"]:
        return ["No column of the cohort's table was predicted: see the warnings."]
    sentences = []
    for facts in content["Columns"]:
        column, (metric, name) = facts["Column"], KEY[facts["Task"]]
        rows = by("method", select(content["Results"], column=column, metric=metric))
        methods = [row for method, row in rows.items() if method not in (BEST, "trivial")]
        text = f"{column} ({facts['Subjects']} subjects, {content['Validation']}), {name}: "
        compared = find(content["Comparisons"], column=column, method=LINEAR, against=BEST)
        if compared is not None:
            text += f"the model's embeddings {interval(rows[BEST])}, ridge on correlations {interval(rows[LINEAR])}: "
            text += f"{VERDICT[compared['verdict']]} (difference {compared['difference']:+.2f}, "
            text += f"corrected p {compared['p_holm']:.2g})."
        else:
            shown = [row for method, row in rows.items() if method != "trivial"]
            text += "; ".join(f"{row['label']} {interval(row)}" for row in shown) + "."
        defined = [row for row in methods if row["value"] is not None]
        top = max(defined, key=lambda row: row["value"])
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


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method and column."""
    metrics = list(dict.fromkeys(row["metric"] for row in content["Results"]))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in content["Results"]:
        cells.setdefault((row["column"], row["label"]), {})[row["metric"]] = interval(row)
    rows = []
    for (column, label), by_metric in cells.items():
        rows.append([column, label, *(by_metric.get(metric, "") for metric in metrics)])
    return ["column", "method", *metrics], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"UK Biobank: mean squared error of {row['label']}; {row['method']}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Age alone has a counterpart, where it was z-scored."""
    if row["label"] != "age, z" or not select(content["Columns"], Column="age", Transform="z"):
        return None
    own = find(content["Results"], column="age", method=COUNTERPARTS[row["method"]], metric="mse_transformed")
    return None if own is None else (f"age, {own['label']}", own)
