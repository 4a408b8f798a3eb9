"""What stage `future` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval, joined
from brainlm_model.eval.rows import by, find, select

TITLE = "Future states"
CAPTION = (
    "Error of each step by method, with 95 % intervals over subjects (star: the fine-tuned model's error is lower, "
    "cross: higher, corrected over steps and methods); R² of all steps; one recording."
)
VERDICT = {"better": "better than", "worse": "worse than", "not distinguishable": "not distinguishable from"}
SHOWN = {"r2_flat": "R²", "r_flat": "r", "mse": "MSE"}


def headline(content: Mapping[str, Any]) -> list[str]:
    """The fine-tuned model, what is best, what it beats and what beats it; one sentence per horizon."""
    sentences = []
    for horizon in content["Horizons"]:
        rows = by("method", _overall(content, horizon, "r2_flat"))
        best = max(rows.values(), key=lambda row: row["value"])
        text = f"The next {horizon} steps, R²: best is {best['label']} {interval(best)}"
        finetuned = rows.get("finetuned")
        if finetuned is not None and finetuned is not best:
            text += f"; {finetuned['label']} {interval(finetuned)}"
        compared = select(content["Comparisons"], horizon=horizon, step=None, method="finetuned")
        for verdict, words in (("worse", "is beaten by"), ("not distinguishable", "cannot be told from")):
            names = [rows[row["against"]]["label"] for row in select(compared, verdict=verdict)]
            if names:
                text += f"; the fine-tuned model {words} {joined(names)}"
        for row in select(content["BySplit"], horizon=horizon, against=content["Start"]):
            text += (
                f"; in split {row['split']} {VERDICT[row['verdict']]} its start ({rows[row['against']]['label']}): R² "
            )
            text += f"{row['r2']:.4f} and {row['r2_against']:.4f}, error {-row['difference']:+.5f} "
            text += f"[{-row['high']:+.5f}, {-row['low']:+.5f}]"
        if compared:
            text += f"; it beats {len(select(compared, verdict='better'))} of {len(compared)} others"
        sentences.append(f"{text}.")
    return sentences


def _overall(content: Mapping[str, Any], horizon: int, metric: str) -> list[Mapping[str, Any]]:
    """Rows of all steps together, where `step` is empty."""
    rows = select(content["Results"], horizon=horizon, metric=metric)
    return [row for row in rows if row["step"] in ("", None)]


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """R2, r and MSE over all steps, by horizon and method."""
    rows = []
    for horizon in content["Horizons"]:
        for first in _overall(content, horizon, "r2_flat"):
            cells = [str(horizon), first["label"]]
            for metric in SHOWN:
                cells += [interval(r) for r in select(_overall(content, horizon, metric), method=first["method"])]
            rows.append(cells)
    return ["steps", "method", *SHOWN.values()], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"{row['cohort']}: {SHOWN[row['metric']]} of the future, {row['method'].replace('_', ' ')}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The same method at the first horizon."""
    horizon = content["Horizons"][0]
    own = find(_overall(content, horizon, row["metric"]), method=row["method"])
    if own is None:
        return None
    return f"{own['label']}, {horizon} steps", own
