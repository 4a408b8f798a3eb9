"""What stage `perturbation` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval

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
        labels = {}
        for method in MOVED:
            rows = [
                r for r in content["Results"]
                if (r["part"], r["method"], r["metric"]) == ("moved_network", method, "share_difference")
            ]  # fmt: skip
            if rows:
                more = [
                    f"{r['name']} ({r['value']:+.2f})" for r in rows if r["p_holm"] is not None and r["p_holm"] < 0.05
                ]
                labels[method] = f"{rows[0]['label']}: {', '.join(more) or 'none'}"
        sentences.append(
            f"From {first} to {second}, networks whose share of the change differs from the null's: "
            f"{'; '.join(labels.values())}."
        )
    told = {r["method"]: r for r in content["Results"] if (r["part"], r["name"]) == ("response", "own")}
    if told:
        values = ", ".join(f"{r['label']} {interval(r)}" for r in told.values())
        verdicts = ", ".join(
            f"{VERDICT[c['verdict']]} {told[c['against']]['label']}"
            for c in content["Comparisons"]
            if c["target"] == "own" and c["against"] in told
        )
        sentences.append(
            f"Responses to a driven parcel with the person's connectivity in steps that were not seen, r: {values}. "
            f"The model is {verdicts}."
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
