"""The card: how data were made. `card.json` is read by programs; `card.md` says the same in words, made from it alone.

It lies beside the store, is an attribute of it (`card_data`), and travels with every model that is trained on it.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from brainlm_data.dataset.parcel_names import check_parcels, names_of
from brainlm_data.dataset.splits import SPLITS, said_of_unknown
from brainlm_data.errors import InputError
from brainlm_data.files.json import read_object
from brainlm_data.files.sums import check_sum
from brainlm_data.files.text import markdown_line
from brainlm_data.stage import Sentence

if TYPE_CHECKING:
    import pandas as pd

FILE, WORDS = "card.json", "card.md"
AGAIN = "run `snakemake dataset`, `brainlm-data import`, `brainlm-model train` or `convert` again, whichever made it"
ORDER = (
    "input", "imported", "template", "atlas", "anat", "fmriprep", "motion", "slicetiming", "coreg", "distortion",
    "sample", "ingest", "confounds", "filter", "denoise", "parcellate", "resample", "qc",
)  # of the methods text; others follow  # fmt: skip
SCALES = {  # by the first word of the units
    "grand": "Each recording was multiplied by one number, so that its mean over brain voxels and volumes is this"
    " (grand-mean scaling): recordings are comparable whatever their scanner's units.",
    "percent": "Each parcel was divided by its own mean over time: its fluctuations are percent signal change, whatever"
    " the scanner's units, the coil's sensitivity there, and drop-out.",
    "": "No grand-mean scaling: recordings differ by their scanner's units, which decide the scaler.",
}
MISMATCH = "Parcels lie some millimetres off; compare with data made in the same way only."
VARIANTS = 20  # wordings of one stage's sentence that are listed one by one
LISTED = 50  # recordings that were left out, by name
NUMERIC = ("rate_hz", "band_low_hz", "band_high_hz")
IF_ANY = ("columns", "external_unknown", "parcel_names")  # keys that are absent where they are empty
COMPARED = (*NUMERIC, "atlas", "space", "units")


class _Data(BaseModel):
    """Part of a card: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _said(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As JSON, without what there is nothing to say of."""
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if value or key not in IF_ANY}


class Range(_Data):
    """Lowest and highest value over the recordings; null where nothing is known."""

    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Range:
        """Of numbers; None and NaN are not known."""
        known = [value for value in values if value is not None and not math.isnan(value)]
        return cls(low=min(known), high=max(known)) if known else cls()

    def __format__(self, spec: str) -> str:
        """`2` where all are the same, else `0.735 to 3`; each number in the format `spec` (`.6g`)."""
        if self.low is None or self.high is None:
            return "unknown"
        low, high = f"{self.low:{spec or '.6g'}}", f"{self.high:{spec or '.6g'}}"
        return low if low == high else f"{low} to {high}"


class Filter(_Data):
    """The high-pass before denoising (`method`) and the low-pass after it. Where they cut: `Card.band_low_hz`, ..."""

    method: Literal["butterworth", "cosine"]


class Imported(_Data):
    """Series that came from elsewhere: the data set, and sentences on what is known of them and what nobody can say."""

    kind: str
    name: str
    known: list[str]
    unknown: list[str]


class Made(_Data):
    """What one stage did to a number of recordings: a `Sentence` whose numbers are ranges.

    Recordings whose sentences differ in more than numbers have an entry each.
    """

    stage: str
    version: int | None  # of the stage; null: a sentence of an earlier release, or of an import
    recordings: int
    template: str
    fields: dict[str, Range | str]

    @model_validator(mode="after")
    def _has_its_fields(self) -> Made:
        """A template that asks for other fields than it has, or for parts of them, was not written by a stage."""
        asked = {name for _, name, _, _ in Formatter().parse(self.template) if name is not None}
        if not asked <= self.fields.keys():
            raise ValueError(f"template of stage {self.stage} asks for {', '.join(sorted(asked - self.fields.keys()))}")
        _ = self.text
        return self

    @property
    def text(self) -> str:
        """The sentence."""
        return self.template.format(**self.fields)


class Cohort(_Data):
    """What the tables beside the store say: who is in which split, and which recordings do not count."""

    seed: int
    subjects: dict[str, int]  # by split
    recordings: dict[str, int]
    external: dict[str, list[str]]  # column: values of groups that are left out
    external_unknown: dict[str, list[str]] = {}  # column: subjects of whom it is not known; they are not left out
    left_out: int
    reasons: dict[str, str]  # of the first `LISTED` of them, by id


class Card(_Data):
    """How the data of a store were made.

    Attributes
    ----------
    made_by: program and version. tr_s: s, as acquired. rate_hz: steps per second.
    band_low_hz, band_high_hz: what the filters left, Hz. filter: None where none is known.
    parcel_names: in the order of the columns, as in the store's table; empty in cards of an earlier release.
    warnings: sentences on what did not join or may be wrong. columns: of recordings.parquet, what was taken for what in
        the tables of the participants (`89+`), in words. cohort: None in the store's attribute, which does not
        depend on splits.
    """

    format: Literal[1] = 1
    made_by: str
    recordings: int
    subjects: int
    atlas: str
    atlas_sha256: str = ""
    space: str = ""
    space_mismatch: str = ""
    parcels: int
    parcel_names: list[str] = []
    networks: str = ""
    rate_hz: float
    tr_s: Range
    band_low_hz: Range
    band_high_hz: Range
    units: str
    filter: Filter | None = None
    imported: Imported | None = None
    stages: list[Made]
    warnings: list[str] = []
    columns: dict[str, str] = {}
    cohort: Cohort | None = None

    @classmethod
    def describe(
        cls, table: pd.DataFrame, attributes: Mapping[str, Any], methods: Sequence[Mapping[str, Any]] = ()
    ) -> Card:
        """Of the recordings in a store.

        Parameters
        ----------
        table: one row per recording. attributes: the store's, and its table `parcels`.
        methods: of each recording, by stage: a sentence, or what `Sentence.content` gave, with the stage's `version`.
        """
        return cls(
            made_by=f"brainlm-pipeline {importlib.metadata.version('brainlm-pipeline')}",
            recordings=len(table),
            subjects=table["subject"].nunique(),
            parcels=attributes["n_parcels"],
            parcel_names=names_of(attributes),
            networks=attributes.get("network_source", ""),
            tr_s=Range.of(table["tr_s"]),
            band_low_hz=Range.of(table["band_low_hz"]),
            band_high_hz=Range.of(table["band_high_hz"]),
            stages=over_recordings(methods),
            **{key: attributes[key] for key in ("atlas", "rate_hz", "units")},
            **{key: attributes[key] for key in OPTIONAL if key in attributes},
        )

    @classmethod
    def read(cls, path: str | Path) -> Card:
        """From card.json of a store, or of a model (its part `data`), or the folder that it lies in.

        Raises
        ------
        InputError: there is none (a folder of an earlier release has card.md alone), or it is damaged.
        """
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        if not path.is_file() and (path.parent / WORDS).is_file():
            raise InputError(f"{path.parent}: {WORDS} without {FILE}, made by an earlier release", AGAIN)
        remedy = f"the card lies beside scaler.npz; {AGAIN}"
        check_sum(path, remedy)
        content = read_object(path, remedy=remedy)
        data = content.get("data") if "model" in content else content
        if data is None:
            raise InputError(f"{path}: does not say how the model's data were made", "give the scaler.npz itself")
        return parsed(data, str(path))

    def with_tables(
        self, table: pd.DataFrame, config: Mapping[str, Any], unknown: Mapping[str, list[str]] | None = None
    ) -> Card:
        """The card with what recordings.parquet says. `config`: section collate. `unknown`: `splits.unknown_groups`."""
        done, out = table[table["status"] == "done"], table[table["status"] != "done"]
        splits = {split: done[done["split"] == split] for split in SPLITS}
        cohort = Cohort(
            seed=config["seed"],
            subjects={split: part["subject"].nunique() for split, part in splits.items()},
            recordings={split: len(part) for split, part in splits.items()},
            external=config["external"],
            external_unknown=dict(unknown or {}),
            left_out=len(out),
            reasons={row.id: f"{row.status}, {row.reason}" for row in out.head(LISTED).itertuples()},
        )
        return self.model_copy(update={"cohort": cohort})

    def content(self) -> dict[str, Any]:
        """As JSON."""
        return self.model_dump(mode="json")

    def save(self, data: Path, words: Path) -> None:
        """Write card.json and card.md."""
        data.write_text(json.dumps(self.content(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        words.write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """The card in words."""
        facts = {
            key: f"{value:.6g}" if isinstance(value, (float, Range)) else value
            for key in SHOWN
            if (value := getattr(self, key)) != ""
        }
        lines = ["# Data card", "", self._origin(), "", "## Facts of the data", ""]
        lines += [f"- {key}: {value}" for key, value in facts.items()]
        lines += ["", "## In words", "", *self._time_and_scale()]
        lines += [
            f"- Rate: {facts['rate_hz']} Hz from an original TR of {facts['tr_s']} s. Resampling adds steps, not"
            " information."
        ]
        if self.space_mismatch:
            lines += [f"- Space: {self.space_mismatch}. {MISMATCH}"]
        lines += [
            "- Missing: a parcel outside the field of view, and a step without data, is NaN. `valid` is false on steps"
            " that were dropped or censored.",
            "- Which recordings count (`status`: done) and who is in which split is in recordings.parquet, not here.",
            "- A model sees (x - mean of the recording - median) / iqr, per parcel: `brainlm_data.prepare` does it.",
            *(f"- Column {name}: {text}" for name, text in self.columns.items()),
            *(f"- Warning: {text}" for text in self.said()),
            "",
            "## Methods",
            "",
        ]
        variants = [made.stage for made in self.stages]
        for made in self.stages:
            some = (
                f" ({made.recordings} recording{'' if made.recordings == 1 else 's'})"
                if variants.count(made.stage) > 1
                else ""
            )
            lines.append(f"- {made.stage}: {made.text}{some}")
        if self.cohort is not None:
            lines += _tables(self.cohort)
        return "\n".join(map(markdown_line, lines)) + "\n"

    def said(self) -> list[str]:
        """All warnings: what did not join or may be wrong, and whose group is not known."""
        unknown = self.cohort.external_unknown if self.cohort else {}
        return [*self.warnings, *(said_of_unknown(column, subjects) for column, subjects in unknown.items())]

    def _origin(self) -> str:
        if self.imported is None:
            return f"Parcel time series of fMRI, made by {self.made_by}."
        source = f"{self.imported.name} (kind {self.imported.kind})"
        return f"Parcel time series of fMRI, imported by {self.made_by}: {source}."

    def _time_and_scale(self) -> list[str]:
        """Time, scale and band in words; of imported series what is known of them, and what nobody can say."""
        depends = "Scores of models depend on it: compare within one band only."
        band = f"- Band: {self.band_low_hz} to {self.band_high_hz} Hz"
        if self.imported is not None:
            return [
                "- Orientation: (time, parcel). A recording starts at its first volume; nothing is extrapolated.",
                f"- Scale: {self.units}. Whether recordings are comparable depends on what was done to them.",
                f"{band}. The upper edge is the highest frequency that TR and rate leave, or the source's filter; the"
                f" lower one is the source's filter, where it is known. {depends}",
                *(f"- Known: {sentence}" for sentence in self.imported.known),
                *(f"- Not known: {sentence}" for sentence in self.imported.unknown),
            ]
        return [
            "- Orientation: (time, parcel). A recording starts at its first acquired volume; nothing is extrapolated.",
            f"- Scale: {self.units}. {SCALES.get(self.units.partition(' ')[0], SCALES[''])}",
            f"{band} is what the filters left (not what was asked for, where that was impossible). {depends}",
        ]


OPTIONAL = (
    "atlas_sha256",
    "space",
    "space_mismatch",
    "filter",
    "imported",
    "warnings",
    "columns",
)  # of the store's attributes
SHOWN = (
    "recordings", "subjects", "atlas", "atlas_sha256", "space", "space_mismatch", "parcels", "networks", "rate_hz",
    "tr_s", "band_low_hz", "band_high_hz", "units",
)  # fmt: skip


def _tables(cohort: Cohort) -> list[str]:
    """Splits, scaler, what was left out and why."""
    lines = ["", "## Splits and scaler", ""]
    for split, subjects in cohort.subjects.items():
        if split != "external" or cohort.external:
            lines.append(f"- {split}: {subjects} subjects, {cohort.recordings[split]} recordings")
    if cohort.external:
        groups = "; ".join(f"{column} {', '.join(values)}" for column, values in cohort.external.items())
        whole = "on whole groups that are in no other split" if not cohort.external_unknown else "on groups"
        lines.append(f"- External is a test {whole}: {groups}.")
    lines += [
        f"- Splits are by subject (seed {cohort.seed}): all recordings of a person are on one side.",
        "- scaler.npz: median and interquartile range of each parcel over the valid steps of training subjects only,"
        " each recording demeaned first.",
    ]
    if cohort.left_out:
        lines += ["", "## Left out", "", *(f"- {name}: {reason}" for name, reason in cohort.reasons.items())]
    if cohort.left_out > len(cohort.reasons):
        more = cohort.left_out - len(cohort.reasons)
        lines.append(f"- ... and {more} more: recordings.parquet has all, with reasons")
    return lines


def parsed(content: Any, source: str) -> Card:
    """A card from JSON. Raises InputError, which names `source` and the first key that is wrong."""
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the card"
        raise InputError(f"{source}: {key}: {first['msg']}", AGAIN) from error


def over_recordings(methods: Iterable[Mapping[str, Any]]) -> list[Made]:
    """What the stages did, over a cohort: sentences that differ in numbers alone are one entry with ranges."""
    stages: dict[str, dict[tuple[Any, ...], list[Sentence]]] = {}
    for of_one in methods:
        for stage, content in of_one.items():
            sentence = Sentence.of(content)
            version = content.get("version") if isinstance(content, Mapping) else None
            texts = tuple(item for item in sentence.fields.items() if not _is_number(item[1]))
            kind = (version, sentence.template, texts)
            if sentence:
                stages.setdefault(stage, {}).setdefault(kind, []).append(sentence)
    place = {stage: number for number, stage in enumerate(ORDER)}
    entries = []
    for stage, variants in sorted(stages.items(), key=lambda item: place.get(item[0], len(ORDER))):
        ordered = sorted(variants.items(), key=_commonest)
        for (version, template, texts), sentences in ordered[:VARIANTS]:
            fields: dict[str, Range | str] = {name: str(text) for name, text in texts}
            for name in sentences[0].fields:
                if name not in fields:
                    fields[name] = Range.of(sentence.fields[name] for sentence in sentences)
            count = len(sentences)
            entries.append(Made(stage=stage, version=version, recordings=count, template=template, fields=fields))
        if rare := ordered[VARIANTS:]:
            count = sum(len(sentences) for _, sentences in rare)
            text = "in other words, which are in the recordings' sidecars"
            entries.append(Made(stage=stage, version=None, recordings=count, template=text, fields={}))
    return entries


def _commonest(variant: tuple[tuple[Any, ...], list[Sentence]]) -> tuple[int, str]:
    """Order of the variants of a sentence: the one of most recordings first."""
    return -len(variant[1]), str(variant[0])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_against(folder: Path, series: Path) -> Card:
    """Compare a parcel series' sidecar with the card in a folder (of a store or of a model); returns the card.

    Raises
    ------
    InputError: no card, no sidecar, or another rate, band, atlas, space or unit than the card's.
    """
    from brainlm_data.files.sidecar import sidecar_path

    wanted = Card.read(folder)
    path = sidecar_path(series)
    if not path.exists():
        raise InputError(
            f"{series}: no sidecar {path.name}", "pass the values and scaler.npz if you know that they fit"
        )
    compare(wanted, of_sidecar(read_object(path)), str(series))
    return wanted


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


def of_store(attributes: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What a store says of itself, by the names of a card's facts; without a card what its other attributes say.

    Raises
    ------
    InputError: a store of an earlier release, whose card is text alone, or a damaged card.
    """
    if "card_data" not in attributes:
        if "card" in attributes:
            raise InputError(f"{source}: its card is text alone (an earlier release)", AGAIN)
        known = {key: attributes.get(key) for key in ("rate_hz", "units", "atlas", "space")}
        return known | {"parcel_names": names_of(attributes)}
    card = parsed(attributes["card_data"], source)
    keys = (*COMPARED, "atlas_sha256")
    facts = {key: getattr(card, key) for key in keys} | {"space_mismatch": card.space_mismatch or "none"}
    return facts | {"parcel_names": names_of(attributes)}


def compare(wanted: Card | None, found: Mapping[str, Any], source: str) -> list[str]:
    """Compare what is known of data with a card.

    Parameters
    ----------
    wanted: the card; None: the model has none. found: numbers, ranges and texts by the names of the card's facts;
        and `parcel_names`.
    source: the data's name, for the messages.

    Returns
    -------
    Sentences on what could not be compared, because one of the two does not say it.

    Raises
    ------
    InputError: another rate, band, atlas, space or unit than the card's, other parcels or another order of them.
    """
    if wanted is None:
        return ["the model's card does not say how its data were made: nothing could be compared with it"]
    silent = []
    for key in COMPARED:
        value, limit = found.get(key), getattr(wanted, key)
        if value is None or value in ("", Range()):
            silent += [key] if limit not in ("", Range()) else []
        elif key in NUMERIC:
            given, allowed = _as_range(value), _as_range(limit)
            if not _within(given, allowed):
                _differs(source, key, f"{given}", f"{allowed}")
        elif limit and str(value) != limit:
            _differs(source, key, str(value), limit)
    shas = found.get("atlas_sha256"), wanted.atlas_sha256
    if all(shas) and shas[0] != shas[1]:  # two atlases of one name
        _differs(source, "atlas_sha256", str(shas[0]), str(shas[1]))
    check_parcels(found.get("parcel_names") or [], wanted.parcel_names, source)
    mismatch, trained = found.get("space_mismatch"), wanted.space_mismatch or "none"
    if mismatch is not None and (mismatch or "none") != trained:
        _differs(source, "space_mismatch", str(mismatch or "none"), trained)
    if not silent:
        return []
    listed = ", ".join(f"{key} {_shown(getattr(wanted, key))}" for key in silent)
    return [f"nothing beside it says {', '.join(silent)}: taken to be the card's ({listed})"]


def _as_range(value: float | Range) -> Range:
    return value if isinstance(value, Range) else Range(low=value, high=value)


def _within(given: Range, allowed: Range) -> bool:
    """Whether all given values are inside what is allowed, to one percent: headers round. Unknown allows anything."""
    if given.low is None or given.high is None or allowed.low is None or allowed.high is None:
        return True
    return 0.99 * allowed.low <= given.low and given.high <= 1.01 * allowed.high


def _shown(value: float | Range | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _differs(source: str, key: str, found: str, wanted: str) -> None:
    raise InputError(f"{source}: {key} is {found}, the card says {wanted}", "process it as the training data were")
