"""What stage `state` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval, number
from brainlm_model.eval.rows import by, find, select
from brainlm_model.eval.state.features import LINEAR
from brainlm_model.eval.statistics.paired import LEVEL

TITLE = "States of tasks"
CAPTION = (
    "Balanced accuracy of telling the condition of an event from the series around it, with 95 % intervals; ticks: "
    "the same from surrogate series that know nothing of the events; dashed: one over the number of conditions. Right: "
    "what the best method mixes up."
)
VERDICT = {"better": "beats", "worse": "is beaten by", "not distinguishable": "cannot be told from"}
HELD_OUT = {"runs": "runs held out", "people": "people held out", "parts": "parts of a run held out"}
SHORT = {"tokens": "tokens", "probe": "attention probe", "cls": "CLS"}


def headline(content: Mapping[str, Any]) -> list[str]:
    """The model's methods, the best linear one, chance; and who beats whom."""
    if content["Reason"]:
        return [f"No state was decoded: {content['Reason']}."]
    rows = by("method", select(content["Results"], metric="balanced_accuracy"))
    count = len(content["Conditions"])
    people = "1 person" if content["Subjects"] == 1 else f"{content['Subjects']} people"
    ours = ", ".join(f"{name} {interval(rows[method])}" for method, name in SHORT.items() if method in rows)
    linear = [rows[method] for method in LINEAR if method in rows]
    text = (
        f"{count} conditions, {content['Events']} events of {people}"
        f" ({HELD_OUT[content['Validation']]}), balanced accuracy: {ours or 'no method of the model'}"
    )
    if not linear:
        return [f"{text}; chance {number(1 / count)}.", *_above_chance(rows)]
    best = max(linear, key=lambda row: row["value"])
    sentences = [f"{text}; the best linear method ({best['label']}) {interval(best)}; chance {number(1 / count)}."]
    sentences += _above_chance(rows)
    for method, name in SHORT.items():
        verdicts = []
        for other, called in ((best["method"], "that linear method"), (f"{method}_untrained", "the untrained network")):
            compared = find(content["Comparisons"], method=method, against=other)
            if compared is not None:
                verdicts.append(f"{VERDICT[compared['verdict']]} {called} ({compared['difference']:+.3f})")
        if verdicts:
            sentences.append(f"{name[0].upper()}{name[1:]}: the model {' and '.join(verdicts)}.")
    times = rows.get("times")
    if times is not None and tells(times, count):
        sentences.append(f"The times of the events alone, without any series, tell {interval(times)}.")
    return sentences


def _above_chance(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which methods tell more than the same from surrogates; nothing where these were not asked for."""
    tested = [row for row in rows.values() if row.get("p_holm") is not None]
    more = [row["label"] for row in tested if row["p_holm"] < LEVEL]
    if more:
        return [f"More than from surrogates (corrected p < .05): {'; '.join(more)}."]
    return ["No method tells more than from surrogates (corrected p < .05)."] if tested else []


def tells(times: Mapping[str, Any], conditions: int) -> bool:
    """Whether the times of the events tell the condition: p below .05, or, without one, an interval above 1 / C.

    Units that are all the same have no interval.
    """
    if times.get("p") is not None:
        return bool(times["p"] < LEVEL)
    low = times.get("low")
    return bool(times["value"] > 1 / conditions and (low is None or not low <= 1 / conditions))


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Balanced accuracy of every method, with its chance and corrected p."""
    rows = []
    for row in select(content["Results"], metric="balanced_accuracy"):
        p = "" if row.get("p_holm") is None else f"{row['p_holm']:.2g}"
        rows.append([row["label"], interval(row), number(row.get("chance")), p])
    return ["method", "balanced accuracy", "from surrogates", "corrected p"], rows


def said(row: Mapping[str, Any]) -> str:
    """What is published."""
    return str(row["what"])


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Nothing of ours is on published recordings with the same conditions."""
    return None
