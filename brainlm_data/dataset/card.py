"""The card: how data were made, in words. It travels with the store and with every model that is trained on it."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data.dataset.splits import SPLITS
from brainlm_data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FACTS = "## Facts of the data"
ORDER = (
    "input", "imported", "template", "atlas", "anat", "fmriprep", "motion", "slicetiming", "coreg", "sample",
    "ingest", "confounds", "filter", "denoise", "parcellate", "resample", "qc",
)  # of the methods text; others follow  # fmt: skip
SCALES = {
    True: "Each recording was multiplied by one number, so that its mean over brain voxels and volumes is this"
    " (grand-mean scaling): recordings are comparable whatever their scanner's units.",
    False: "No grand-mean scaling: recordings differ by their scanner's units, which decide the scaler.",
}
MISMATCH = "Parcels lie some millimetres off; compare with data made in the same way only."
NUMERIC = ("rate_hz", "band_low_hz", "band_high_hz")
COMPARED = (*NUMERIC, "atlas", "space", "units")
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


def facts_in(text: str) -> dict[str, str]:
    """The facts in a card's text; none where it has no such section, as the card of an official checkpoint."""
    section = text.partition(FACTS)[2].split("\n## ", 1)[0]
    pairs = (line[2:].partition(": ") for line in section.splitlines() if line.startswith("- "))
    return {key: value for key, _, value in pairs}


def read_facts(card: Path) -> dict[str, str]:
    """The facts of a card (of a store or a model) as text. Raises InputError where it has none."""
    try:
        text = card.read_text()
    except OSError as error:
        raise InputError(f"{card}: {error}", "the card lies beside scaler.npz") from error
    if FACTS not in text:
        raise InputError(f"{card}: no section {FACTS!r}", "give a card that stage collate or train wrote")
    return facts_in(text)


def check_against(card: Path, series: Path) -> None:
    """Compare a parcel series' sidecar with a card.

    Raises
    ------
    InputError: no sidecar, or another rate, band, atlas, space or unit than the card's.
    """
    from brainlm_data.files.sidecar import sidecar_path

    wanted = read_facts(card)
    path = sidecar_path(series)
    if not path.exists():
        raise InputError(
            f"{series}: no sidecar {path.name}", "pass the values and scaler.npz if you know that they fit"
        )
    compare(wanted, of_sidecar(json.loads(path.read_text())), str(series))


def of_sidecar(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a sidecar says, by the names of a card's facts; None where it does not."""
    low, high = facts.get("EffectiveBand") or (None, None)
    return {
        "rate_hz": facts.get("SamplingFrequency"),
        "band_low_hz": low,
        "band_high_hz": high,
        "atlas": facts.get("AtlasName"),
        "space": facts.get("Space"),
        "units": facts.get("Units"),
        "space_mismatch": facts.get("SpaceMismatch", "none") if "Space" in facts else None,
    }


def compare(wanted: Mapping[str, str], found: Mapping[str, Any], source: str) -> list[str]:
    """Compare what is known of data with a card's facts.

    Parameters
    ----------
    wanted: facts of the card. found: values by the same names (numbers, texts, or ranges such as "0.1 to 0.45").
    source: the data's name, for the messages.

    Returns
    -------
    Sentences on what could not be compared, because one of the two does not say it.

    Raises
    ------
    InputError: another rate, band, atlas, space or unit than the card's.
    """
    if not wanted:
        return ["the model's card does not say how its data were made: nothing could be compared with it"]
    silent = []
    for key in COMPARED:
        value = found.get(key)
        value = f"{value:.6g}" if isinstance(value, float) else value
        if value is None or value == "":
            silent += [key] if key in wanted else []
        elif key in NUMERIC:
            bounds = [float(v) for v in NUMBER.findall(wanted.get(key, ""))]
            given = [float(v) for v in NUMBER.findall(str(value))]
            if bounds and not all(0.99 * min(bounds) <= v <= 1.01 * max(bounds) for v in given):
                _differs(source, key, str(value), wanted[key])
        elif key in wanted and str(value) != wanted[key]:
            _differs(source, key, str(value), wanted[key])
    shas = found.get("atlas_sha256"), wanted.get("atlas_sha256")
    if all(shas) and shas[0] != shas[1]:  # two atlases of one name
        _differs(source, "atlas_sha256", str(shas[0]), str(shas[1]))
    mismatch, trained = found.get("space_mismatch"), wanted.get("space_mismatch", "none")
    if mismatch is not None and (mismatch or "none") != trained:
        _differs(source, "space_mismatch", str(mismatch or "none"), trained)
    if not silent:
        return []
    listed = ", ".join(f"{key} {wanted[key]}" for key in silent)
    return [f"nothing beside it says {', '.join(silent)}: taken to be the card's ({listed})"]


def _differs(source: str, key: str, found: str, wanted: str) -> None:
    raise InputError(f"{source}: {key} is {found}, the card says {wanted}", "process it as the training data were")
