"""What stage `networks` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from brainlm_model.eval.masked.words import interval
from brainlm_model.eval.rows import by, find, select

TITLE = "Functional networks of parcels"
CAPTION = (
    "Accuracy of telling a parcel's network, with 95 % intervals over subjects; ticks: labels shuffled; dashed: "
    "always the largest network. Right: what the best method within recordings mixes up."
)
PROTOCOLS = {"within": "parcels held out within each recording", "across": "parcels held out in everybody"}
CLASSIFIERS = {"knn": "k nearest neighbours", "logistic": "logistic regression"}

VERDICTS = {
    "better": " Attention beats connectivity.", "worse": " Connectivity beats attention.",
    "not distinguishable": " Attention and connectivity cannot be told apart.",
}  # fmt: skip
NAMED = {
    "attention": "attention", "embedding": "embeddings", "connectivity": "rows of the correlation matrix",
    "position": "MNI coordinates alone",
}  # fmt: skip


def headline(content: Mapping[str, Any]) -> list[str]:
    """Attention and embeddings against connectivity and position, and the best; one sentence per protocol."""
    classifier = content["Classifiers"][0]
    sentences = []
    for protocol, words in PROTOCOLS.items():
        condition = {"protocol": protocol, "classifier": classifier}
        rows = by("method", select(content["Results"], **condition, metric="accuracy", labels="true"))
        named = dict(NAMED)
        if content["ModelKnowsCoordinates"]:
            named["position"] += ", which the model knows, too,"
        values = ", ".join(f"{name} {interval(rows[method])}" for method, name in named.items() if method in rows)
        best = max(rows.values(), key=lambda r: r["value"])
        text = f"{words[0].upper()}{words[1:]} ({CLASSIFIERS[classifier]}): {values}."
        text += f" Best is {best['label']} with {interval(best)}."
        compared = find(content["Comparisons"], **condition, method="attention", against="connectivity")
        if compared is not None:
            text += VERDICTS[compared["verdict"]]
        sentences.append(text)
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Accuracy, one column per protocol and classifier."""
    header = ["features"]
    rows = {method: [label] for method, label in content["Methods"].items()}
    accuracy = select(content["Results"], metric="accuracy", labels="true")
    for protocol, classifier in product(PROTOCOLS, content["Classifiers"]):
        header.append(f"{protocol} recordings, {CLASSIFIERS[classifier]}")
        measured = by("method", select(accuracy, protocol=protocol, classifier=classifier))
        for method, cells in rows.items():
            cells.append(interval(measured[method]) if method in measured else "")
    return header, list(rows.values())


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return f"UK Biobank: accuracy of seven networks, k-NN on {row['method']}"


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The same features, the same protocol."""
    condition = {key: row[key] for key in ("protocol", "classifier", "method")}
    own = find(content["Results"], **condition, metric="accuracy", labels="true")
    return None if own is None else (own["label"], own)
