"""What stage `future` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval, joined

TITLE = "Future states"
CAPTION = (
    "Error of each step by method, with 95 % intervals over subjects (star: the fine-tuned model's error is lower, "
    "cross: higher, corrected over steps and methods); R² of all steps; one recording."
)
SHOWN = {"r2_flat": "R²", "r_flat": "r", "mse": "MSE"}


def headline(content: Mapping[str, Any]) -> list[str]:
    """The fine-tuned model, what is best, what it beats and what beats it; a sentence a horizon."""
    sentences = []
    for horizon in content["Horizons"]:
        rows = {r["method"]: r for r in _overall(content, horizon, "r2_flat")}
        shown = {m: f"{r['label']} {interval(r)}" for m, r in rows.items()}
        best = max(rows, key=lambda m: rows[m]["value"])
        text = f"The next {horizon} steps, R²: best is {shown[best]}"
        if "finetuned" in rows and best != "finetuned":
            text += f"; {shown['finetuned']}"
        verdicts = {
            r["against"]: r["verdict"]
            for r in content["Comparisons"]
            if (r["horizon"], r["step"], r["method"]) == (horizon, None, "finetuned")
        }
        for verdict, words in (("worse", "is beaten by"), ("not distinguishable", "cannot be told from")):
            names = [rows[m]["label"] for m, v in verdicts.items() if v == verdict]
            if names:
                text += f"; the fine-tuned model {words} {joined(names)}"
        beaten = sum(v == "better" for v in verdicts.values())
        sentences.append(f"{text}; it beats {beaten} of {len(verdicts)} others." if verdicts else f"{text}.")
    return sentences


def _overall(content: Mapping[str, Any], horizon: int, metric: str) -> list[Mapping[str, Any]]:
    return [
        r for r in content["Results"] if r["horizon"] == horizon and r["metric"] == metric and r["step"] in ("", None)
    ]


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """R2, r and MSE over all steps, by horizon and method."""
    rows = []
    for horizon in content["Horizons"]:
        cells = {m: {r["method"]: r for r in _overall(content, horizon, m)} for m in SHOWN}
        for method, first in cells["r2_flat"].items():
            values = [interval(r) for r in (cells[m][method] for m in SHOWN)]
            rows.append([str(horizon), first["label"], *values])
    return ["steps", "method", *SHOWN.values()], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"{row['cohort']}: {SHOWN[row['metric']]} of the future, {row['method'].replace('_', ' ')}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The same method at the first horizon."""
    horizon = content["Horizons"][0]
    for r in _overall(content, horizon, row["metric"]):
        if r["method"] == row["method"]:
            return f"{r['label']}, {horizon} steps", r
    return None
