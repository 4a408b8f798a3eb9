"""What stage `attention` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval
from brainlm_model.eval.rows import by, find, select

TITLE = "Attention"
CAPTION = (
    "Attention of CLS to each parcel (1: uniform), attention between parcels beside connectivity, and, where two "
    "groups are compared, the difference with parcels ringed whose p is below .05 after correction for all parcels."
)


def headline(content: Mapping[str, Any]) -> list[str]:
    """Where CLS looks, whether attention follows connectivity, whether groups differ."""
    networks = select(content["Results"], part="cls_network", method="model")
    sentences = []
    if networks:
        ordered = sorted(networks, key=lambda r: r["value"])
        sentences.append(
            f"CLS attends most to {ordered[-1]['name']} ({ordered[-1]['value']:.3f} times uniform) and least to "
            f"{ordered[0]['name']} ({ordered[0]['value']:.3f}), in {content['Recordings']} recordings."
        )
    coupled = by("method", select(content["Results"], part="coupling", metric="r"))
    if "model" in coupled:
        row = find(content["Comparisons"], metric="r")
        more = {"better": "more than", "worse": "less than", "not distinguishable": "no otherwise than"}
        text = f"Attention between parcels correlates with connectivity by {interval(coupled['model'])}"
        if row is not None and "untrained" in coupled:
            text += f", {more[row['verdict']]} that of the untrained network ({interval(coupled['untrained'])})"
        sentences.append(text + ".")
    if content["Levels"]:
        first, second = content["Levels"]
        parcels = content["model_difference_parcel_significant"]
        sentences.append(
            f"{content['Group']}, {second} against {first} ({' and '.join(map(str, content['SubjectsOfLevels']))} "
            f"subjects): {parcels or 'no'} parcels differ in CLS attention after correction."
        )
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """CLS attention by network, coupling, differences by network."""
    rows = []
    for r in content["Results"]:
        rows.append([r["part"].replace("_", " "), r["label"], r["name"], r["metric"], interval(r)])
    return ["part", "model", "of", "measure", "value"], rows


def said(row: Mapping[str, Any]) -> str:
    """What is published."""
    return str(row["what"])


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """The paper gives no number."""
