"""What stage `perturbation` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval
from brainlm_model.eval.rows import by, select

TITLE = "In-silico perturbation"
CAPTION = (
    "Smallest change that carries CLS from rest to a task, by network, beside its null (rest to another rest) and "
    "plain statistics; responses to a driven parcel against connectivity that was not seen; one seed on the brain."
)
MOVED = ("model", "untrained", "sd")
VERDICT = {"better": "above", "worse": "below", "not distinguishable": "not distinguishable from"}


def headline(content: Mapping[str, Any]) -> list[str]:
    """Networks where the change exceeds its null, method by method; then how responses follow connectivity."""
    sentences = []
    if content["Levels"]:
        first, second = content["Levels"]
        by_method = []
        for method in MOVED:
            rows = select(content["Results"], part="moved_network", method=method, metric="share_difference")
            beyond = []
            for row in rows:
                if row["p_holm"] is not None and row["p_holm"] < 0.05:
                    beyond.append(f"{row['name']} ({row['value']:+.2f})")
            if rows:
                by_method.append(f"{rows[0]['label']}: {', '.join(beyond) or 'none'}")
        sentences.append(
            f"From {first} to {second}, networks whose share of the change differs from the null's: "
            f"{'; '.join(by_method)}."
        )
    responses = by("method", select(content["Results"], part="response", name="own"))
    if responses:
        values = ", ".join(f"{row['label']} {interval(row)}" for row in responses.values())
        verdicts = []
        for comparison in select(content["Comparisons"], target="own"):
            if comparison["against"] in responses:
                label = responses[comparison["against"]]["label"]
                verdicts.append(f"{VERDICT[comparison['verdict']]} {label}")
        sentences.append(
            f"Responses to a driven parcel with the person's connectivity in steps that were not seen, r: {values}. "
            f"The model is {', '.join(verdicts)}."
        )
    if not content["Levels"]:
        sentences.append(f"Not asked: {content['PartOne']}.")
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Both parts, by network."""
    rows = []
    for r in content["Results"]:
        p = "" if r["p_holm"] is None else f"{r['p_holm']:.2g}"
        rows.append(
            [r["part"].replace("_", " "), r["label"], r["name"] or "", r["network"] or "", r["metric"], interval(r), p]
        )
    return ["part", "method", "of", "network", "metric", "value", "corrected p"], rows


def said(row: Mapping[str, Any]) -> str:
    """What is published."""
    return str(row["what"])


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """The paper gives no number."""
