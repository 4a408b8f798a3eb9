"""What stage `latent` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval, number
from brainlm_model.eval.rows import by, find, select

TITLE = "Latent space"
CAPTION = (
    "Recordings by their CLS embedding (UMAP, PCA) and by connectivity (UMAP), coloured by variable; the number says "
    "what nearest neighbours of other subjects tell of it (bold: p < .05). Identification: whose other recording is it?"
)
VERDICT = {"better": "beats", "worse": "is beaten by", "not distinguishable": "cannot be told from"}


def headline(content: Mapping[str, Any]) -> list[str]:
    """One sentence per variable, and one on identification."""
    sentences = []
    for name in content["Columns"]:
        own = by("method", (r for r in select(content["Results"], column=name) if r["metric"] != "silhouette"))
        cls, other = own["cls"], own["connectivity"]
        beyond = cls["p_holm"] is not None and cls["p_holm"] < 0.05
        compared = by("against", select(content["Comparisons"], part="separation", column=name))
        metric = cls["metric"].replace("_", " ")
        sentences.append(
            f"{name}, told by neighbours' CLS: {metric} {interval(cls)}, {'' if beyond else 'not '}beyond the chance "
            f"of {number(cls['chance'])}; connectivity {interval(other)}. "
            f"CLS {VERDICT[compared['connectivity']['verdict']]} connectivity "
            f"and {VERDICT[compared['untrained']['verdict']]} the untrained network."
        )
    rates = by("method", select(content["Results"], metric="rank1"))
    if rates:
        best = max(rates.values(), key=lambda r: r["value"])
        comparison = find(
            content["Comparisons"], part="identification", metric="rank1", method="cls", against="connectivity"
        )
        assert comparison is not None  # `tables.identification` always makes it
        verdict = VERDICT[comparison["verdict"]]
        people = content["PairedSubjects"]
        sentences.append(
            f"Identification among {people} people ({content['Pairs']}), rank-1 rate: CLS {interval(rates['cls'])}, "
            f"parcels' tokens {interval(rates['parcels'])}, connectivity {interval(rates['connectivity'])}, chance "
            f"{1 / people:.3f}. CLS {verdict} connectivity; best is {best['label']}."
        )
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Every value with its chance and corrected p."""
    rows = []
    for r in content["Results"]:
        p = "" if r["p_holm"] is None else f"{r['p_holm']:.2g}"
        rows.append([r["part"], r["label"], r["column"] or "", r["metric"], interval(r), number(r["chance"]), p])
    return ["part", "method", "column", "metric", "value", "chance", "corrected p"], rows


def said(row: Mapping[str, Any]) -> str:
    """What is published."""
    return str(row["what"])


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The rate of connectivity fingerprinting has a counterpart."""
    own = find(content["Results"], method="connectivity", metric="rank1")
    if row["value"] is None or own is None:
        return None
    return f"{own['label']}, {content['PairedSubjects']} people, {content['Pairs']}", own
