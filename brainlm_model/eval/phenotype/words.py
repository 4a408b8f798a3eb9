"""What stage `phenotype` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval

TITLE = "Traits and diagnoses"
CAPTION = "Held-out predictions of each column, with 95 % intervals over subjects; the vertical line is chance."
KEY = {"regression": ("r2", "R²"), "classification": ("auroc", "area under the ROC curve")}
BEST, LINEAR = "ours_best", "correlations_ridge"


def headline(content: Mapping[str, Any]) -> list[str]:
    """The embeddings against a ridge on correlations, and what was best of all; one sentence a column."""
    sentences = [] if content["Columns"] else ["No column of the cohort's table was predicted: see the warnings."]
    for about in content["Columns"]:
        column, (metric, name) = about["Column"], KEY[about["Task"]]
        rows = {r["method"]: r for r in content["Results"] if (r["column"], r["metric"]) == (column, metric)}
        shown = {m: interval(r) for m, r in rows.items()}
        text = f"{column} ({about['Subjects']} subjects, {content['Validation']}), {name}: "
        if BEST in rows and LINEAR in rows:
            row = next(
                r for r in content["Comparisons"]
                if (r["column"], r["method"], r["against"]) == (column, LINEAR, BEST)
            )  # fmt: skip
            verdict = {
                "better": "the linear baseline wins", "worse": "the model's embeddings win",
                "not distinguishable": "they cannot be told apart",
            }[row["verdict"]]  # fmt: skip
            text += f"the model's embeddings {shown[BEST]}, ridge on correlations {shown[LINEAR]}: {verdict}"
            text += f" (difference {row['difference']:+.2f}, corrected p {row['p_holm']:.2g})."
        else:
            text += "; ".join(f"{rows[m]['label']} {shown[m]}" for m in rows if m != "trivial") + "."
        real = [r for m, r in rows.items() if m not in (BEST, "trivial") and r["value"] is not None]
        top = max(real, key=lambda r: r["value"])
        chance = "" if top["p_permutation"] is None else f" (permutation p {top['p_permutation']:.2g})"
        text += f" Best of {len(real)} methods: {top['label']} {shown[top['method']]}{chance}."
        p = rows.get(BEST, top)["p_permutation"]
        if p is not None and p >= 0.05:
            text += f" Permuted labels do as well as the embeddings (p {p:.2g}): they predict nothing."
        if about.get("Note"):
            text += f" In the table of the participants: {about['Note']}."
        sentences.append(text)
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method and column."""
    metrics = list(dict.fromkeys(r["metric"] for r in content["Results"]))
    cells = {(r["column"], r["label"], r["metric"]): r for r in content["Results"]}
    rows = []
    for column, label in dict.fromkeys(key[:2] for key in cells):
        values = [cells.get((column, label, m)) for m in metrics]
        rows.append([column, label, *("" if v is None else interval(v) for v in values)])
    return ["column", "method", *metrics], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"UK Biobank: mean squared error of {row['label']}; {row['method']}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Age alone has a counterpart, where it was z-scored."""
    z = any(c["Column"] == "age" and c["Transform"] == "z" for c in content["Columns"])
    method = {"SVM on raw recordings": "raw_svm", "SVM on pretrained embeddings": "cls_svm", "fine-tuned": "finetuned"}
    for r in content["Results"]:
        if (r["column"], r["method"], r["metric"]) == ("age", method[row["method"]], "mse_transformed"):
            return (f"age, {r['label']}", r) if z and row["label"] == "age, z" else None
    return None
