"""The card: how data were made, in words. It travels with the store and with every model that is trained on it."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data.errors import InputError
from brainlm_data.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd

FACTS = "## Facts of the data"
ORDER = (
    "template", "atlas", "anat", "fmriprep", "motion", "slicetiming", "coreg", "sample", "ingest", "confounds",
    "filter", "denoise", "parcellate", "resample", "qc",
)  # of the methods text; others follow  # fmt: skip
SCALES = {
    True: "Each recording was multiplied by one number, so that its mean over brain voxels and volumes is this"
    " (grand-mean scaling): recordings are comparable whatever their scanner's units.",
    False: "No grand-mean scaling: recordings differ by their scanner's units, which decide the scaler.",
}
MISMATCH = "Parcels lie some millimetres off; compare with data made in the same way only."
NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w]|\.\d)")


def describe_data(table: pd.DataFrame, attributes: Mapping[str, Any], methods: Sequence[Mapping[str, str]]) -> str:
    """What a store holds, as Markdown: facts that `read_facts` finds again, the same in words, and the methods.

    Parameters
    ----------
    table: the recordings in the store. attributes: the store's.
    methods: sentences of each recording's stages.
    """
    facts = {
        "recordings": len(table),
        "subjects": table["subject"].nunique(),
        "atlas": attributes["atlas"],
        "atlas_sha256": attributes["atlas_sha256"],
        "space": attributes["space"],
        "space_mismatch": attributes.get("space_mismatch", ""),
        "parcels": attributes["n_parcels"],
        "networks": attributes["network_source"],
        "rate_hz": f"{attributes['rate_hz']:g}",
        "tr_s": _range(table["tr_s"]),
        "band_low_hz": _range(table["band_low_hz"]),
        "band_high_hz": _range(table["band_high_hz"]),
        "units": attributes["units"],
    }
    lines = [
        "# Data card",
        "",
        _made(attributes),
        "",
        FACTS,
        "",
        *(f"- {key}: {value}" for key, value in facts.items() if value != ""),
        "",
        "## In words",
        "",
        *_origin(facts, attributes),
        f"- Rate: {facts['rate_hz']} Hz from an original TR of {facts['tr_s']} s. Resampling adds steps, not"
        " information.",
        *([f"- Space: {facts['space_mismatch']}. {MISMATCH}"] if facts["space_mismatch"] else []),
        "- Missing: a parcel outside the field of view, and a step without data, is NaN. `valid` is false on steps that"
        " were dropped or censored.",
        "- Which recordings count (`status`: done) and who is in which split is in recordings.parquet, not here.",
        "- A model sees (x - mean of the recording - median) / iqr, per parcel: `brainlm_data.prepare` does it.",
        "",
        "## Methods",
        "",
        *(f"- {stage}: {sentence}" for stage, sentence in merge_methods(methods)),
    ]
    return "\n".join(lines) + "\n"


def _made(attributes: Mapping[str, Any]) -> str:
    version = f"brainlm-pipeline {importlib.metadata.version('brainlm-pipeline')}"
    if imported := attributes.get("imported"):
        return f"Parcel time series of fMRI, imported by {version}: {imported['name']} (kind {imported['kind']})."
    return f"Parcel time series of fMRI, made by {version}."


def _origin(facts: Mapping[str, Any], attributes: Mapping[str, Any]) -> list[str]:
    """Time, scale and band in words; of imported series what is known of them, and what nobody can say."""
    depends = "Scores of models depend on it: compare within one band only."
    band = f"- Band: {facts['band_low_hz']} to {facts['band_high_hz']} Hz"
    if imported := attributes.get("imported"):
        return [
            "- Orientation: (time, parcel). A recording starts at its first volume; nothing is extrapolated.",
            f"- Scale: {attributes['units']}. Whether recordings are comparable depends on what was done to them.",
            f"{band}. The upper edge is the highest frequency that TR and rate leave, or the source's filter; the"
            f" lower one is the source's filter, where it is known. {depends}",
            *(f"- Known: {sentence}" for sentence in imported["known"]),
            *(f"- Not known: {sentence}" for sentence in imported["unknown"]),
        ]
    return [
        "- Orientation: (time, parcel). A recording starts at its first acquired volume; nothing is extrapolated.",
        f"- Scale: {attributes['units']}. {SCALES[str(attributes['units']).startswith('grand mean')]}",
        f"{band} is what the filters left (not what was asked for, where that was impossible). {depends}",
    ]


def describe_tables(table: pd.DataFrame, config: Mapping[str, Any]) -> str:
    """The tables beside the store: splits, scaler, what was left out and why. `table`: recordings.parquet."""
    done = table[table["status"] == "done"]
    lines = ["", "## Splits and scaler", ""]
    for split in SPLITS:
        part = done[done["split"] == split]
        if split != "external" or config["external"]:
            lines.append(f"- {split}: {part['subject'].nunique()} subjects, {len(part)} recordings")
    if config["external"]:
        groups = "; ".join(f"{column} {', '.join(values)}" for column, values in config["external"].items())
        lines.append(f"- External is a test on whole groups that are in no other split: {groups}.")
    lines += [
        f"- Splits are by subject (seed {config['seed']}): all recordings of a person are on one side.",
        "- scaler.npz: median and interquartile range of each parcel over the valid steps of training subjects only,"
        " each recording demeaned first.",
    ]
    out = table[table["status"] != "done"]
    if len(out):
        lines += ["", "## Left out", ""]
        lines += [f"- {row.id}: {row.status}, {row.reason}" for row in out.head(50).itertuples()]
        if len(out) > 50:
            lines.append(f"- ... and {len(out) - 50} more: recordings.parquet has all, with reasons")
    return "\n".join(lines) + "\n"


def _range(values: pd.Series) -> str:
    """`2` where all are the same, else `0.735 to 3`; empty where nothing is known."""
    known = values.dropna()
    if known.empty:
        return "unknown"
    low, high = f"{known.min():.6g}", f"{known.max():.6g}"
    return low if low == high else f"{low} to {high}"


def merge_methods(methods: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    """(stage, sentence) of a cohort. Sentences that differ in numbers only become one, with ranges.

    Others are listed apart, each with the number of recordings that it holds for.
    """
    stages: dict[str, dict[tuple[str, ...], list[list[str]]]] = {}
    for sentences in methods:
        for stage, sentence in sentences.items():
            if sentence:
                skeleton = tuple(NUMBER.split(sentence))
                stages.setdefault(stage, {}).setdefault(skeleton, []).append(NUMBER.findall(sentence))
    found = []
    place = {stage: number for number, stage in enumerate(ORDER)}
    for stage, variants in sorted(stages.items(), key=lambda item: place.get(item[0], len(ORDER))):
        for skeleton, numbers in sorted(variants.items(), key=lambda item: (-len(item[1]), item[0])):
            slots = [_span(column) for column in zip(*numbers, strict=True)]
            text = "".join(part + slot for part, slot in zip(skeleton, [*slots, ""], strict=True))
            found.append((stage, text if len(variants) == 1 else f"{text} ({len(numbers)} recordings)"))
    return found


def _span(numbers: Sequence[str]) -> str:
    distinct = sorted(set(numbers), key=float)
    return distinct[0] if len(distinct) == 1 else f"{distinct[0]} to {distinct[-1]}"


def read_facts(card: Path) -> dict[str, str]:
    """The facts of a card (of a store or a model) as text. Raises InputError where it has none."""
    try:
        text = card.read_text()
    except OSError as error:
        raise InputError(f"{card}: {error}", "the card lies beside scaler.npz") from error
    if FACTS not in text:
        raise InputError(f"{card}: no section {FACTS!r}", "give a card that stage collate or train wrote")
    section = text.split(FACTS, 1)[1].split("\n## ", 1)[0]
    pairs = (line[2:].partition(": ") for line in section.splitlines() if line.startswith("- "))
    return {key: value for key, _, value in pairs}


def check_against(card: Path, series: Path) -> None:
    """Compare a parcel series' sidecar with a card.

    Raises
    ------
    InputError: no sidecar, or another rate, band, atlas, space or unit than the card's.
    """
    from brainlm_data.sidecar import sidecar_path

    wanted = read_facts(card)
    path = sidecar_path(series)
    if not path.exists():
        raise InputError(
            f"{series}: no sidecar {path.name}", "pass the values and scaler.npz if you know that they fit"
        )
    facts = json.loads(path.read_text())
    low, high = facts.get("EffectiveBand") or (None, None)
    numbers = {"rate_hz": facts.get("SamplingFrequency"), "band_low_hz": low, "band_high_hz": high}
    texts = {"atlas": facts.get("AtlasName"), "space": facts.get("Space"), "units": facts.get("Units")}
    for key, value in numbers.items():
        bounds = [float(v) for v in NUMBER.findall(wanted.get(key, ""))]
        if value is not None and bounds and not 0.99 * min(bounds) <= float(value) <= 1.01 * max(bounds):
            _differs(series, key, f"{value:g}", wanted[key])
    for key, text in texts.items():
        if text and key in wanted and str(text) != wanted[key]:
            _differs(series, key, str(text), wanted[key])
    found, trained = facts.get("SpaceMismatch", "none"), wanted.get("space_mismatch", "none")
    if "Space" in facts and found != trained:
        _differs(series, "space_mismatch", found, trained)


def _differs(series: Path, key: str, found: str, wanted: str) -> None:
    raise InputError(f"{series}: {key} is {found}, the card says {wanted}", "process it as the training data were")
