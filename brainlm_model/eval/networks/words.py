"""What stage `networks` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval

TITLE = "Functional networks of parcels"
CAPTION = (
    "Accuracy of telling a parcel's network, with 95 % intervals over subjects; ticks: labels shuffled; dashed: "
    "always the largest network. Right: what the best method within recordings mixes up."
)
PROTOCOLS = {"within": "parcels held out within each recording", "across": "parcels held out in everybody"}
CLASSIFIERS = {"knn": "k nearest neighbours", "logistic": "logistic regression"}

NAMED = {
    "attention": "attention", "embedding": "embeddings", "connectivity": "rows of the correlation matrix",
    "position": "MNI coordinates alone, which the model knows, too,",
}  # fmt: skip


def headline(content: Mapping[str, Any]) -> list[str]:
    """Attention and embeddings against connectivity and position, and the best; a sentence a protocol."""
    classifier = content["Classifiers"][0]
    sentences = []
    for protocol, words in PROTOCOLS.items():
        rows = {
            r["method"]: r
            for r in content["Results"]
            if (r["protocol"], r["classifier"], r["metric"], r["labels"]) == (protocol, classifier, "accuracy", "true")
        }
        shown = {m: interval(r) for m, r in rows.items()}
        values = ", ".join(f"{name} {shown[m]}" for m, name in NAMED.items() if m in rows)
        best = max(rows.values(), key=lambda r: r["value"])
        text = f"{words[0].upper()}{words[1:]} ({CLASSIFIERS[classifier]}): {values}."
        text += f" Best is {best['label']} with {shown[best['method']]}."
        text += _verdict(content, protocol, classifier)
        sentences.append(text)
    return sentences


def _verdict(content: Mapping[str, Any], protocol: str, classifier: str) -> str:
    for r in content["Comparisons"]:
        place = (r["protocol"], r["classifier"], r["method"], r["against"])
        if place == (protocol, classifier, "attention", "connectivity"):
            return {
                "better": " Attention beats connectivity.", "worse": " Connectivity beats attention.",
                "not distinguishable": " Attention and connectivity cannot be told apart.",
            }[r["verdict"]]  # fmt: skip
    return ""


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Accuracy, a column a protocol and classifier."""
    conditions = [(p, c) for p in PROTOCOLS for c in content["Classifiers"]]
    cells = {
        (r["method"], r["protocol"], r["classifier"]): interval(r)
        for r in content["Results"]
        if r["metric"] == "accuracy" and r["labels"] == "true"
    }
    rows = [[label, *(cells.get((m, *c), "") for c in conditions)] for m, label in content["Methods"].items()]
    return ["features", *(f"{p} recordings, {CLASSIFIERS[c]}" for p, c in conditions)], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"UK Biobank: accuracy of seven networks, k-NN on {row['method']}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The same features, the same protocol."""
    for r in content["Results"]:
        place = (r["protocol"], r["classifier"], r["method"], r["metric"], r["labels"])
        if place == (row["protocol"], row["classifier"], row["method"], "accuracy", "true"):
            return r["label"], r
    return None
