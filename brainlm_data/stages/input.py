"""input: what the run starts from. Where that is not raw images, the parcels of what is imported.

`input.kind: bids` leaves this stage out. Every other kind is one of `brainlm-data import`: this stage provides the
table of the parcels, stage `imported` the series of each recording, and the run goes on with `collate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from brainlm_data.errors import InputError, Refused
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig, Unwatched
from brainlm_data.stages.imported import Config as Imported

if TYPE_CHECKING:
    from brainlm_data.imports import Options

LOOKED_AT = 10  # recordings that are read to see which parcels there are, where no table says so


class Config(StageConfig):
    """What there is at the start."""

    kind: Literal[
        "bids", "fmriprep", "hcp", "ukb", "dtseries", "parcellated", "abide", "pcp", "arrays", "ptseries", "dat"
    ] = Field(
        "bids",
        description="bids: raw images in bids_dir; preprocessed images: fmriprep, hcp, ukb, dtseries; parcel series:"
        " parcellated, or by name abide, pcp, arrays, ptseries, dat (docs/import.md)",
    )  # fmt: skip
    path: Unwatched = Field(
        None,
        description="folder or file to read; not for kind bids",  # the index reads it
    )
    tr_s: float | None = Field(None, gt=0, description="one TR for all recordings, s; null: from the files and tables")
    participants: Path | None = Field(None, description="table of the participants; null: participants.tsv in `path`")
    labels: Path | None = Field(None, description="TSV of the parcels: index, name, network, x, y, z")
    atlas: str | None = Field(None, description="for images: A424 (null), demo424 or a label image")
    space: str | None = Field(None, description="for fmriprep: MNI152NLin6Asym:res-2 or the like; null: the atlas's")
    allow_space_mismatch: bool = Field(
        False, description="for images: accept an atlas in another MNI space, with a note"
    )

    @model_validator(mode="after")
    def _belongs(self) -> Config:
        if self.kind != "bids" and self.path is None:
            raise ValueError(f"kind {self.kind} needs path")
        if self.kind == "bids" and any(getattr(self, key) for key in type(self).model_fields if key != "kind"):
            raise ValueError("kind bids starts from bids_dir: no other key of this section is for it")
        return self


def options_of(config: Config, how: Imported) -> Options:
    """What both sections say, as imports take it; images are treated as their kind has it where nothing is said."""
    from brainlm_data.imports import Options, Treatment, participants_of

    images = Treatment(
        config.space,
        config.atlas,
        how.strategy,
        how.low_hz,
        how.high_hz,
        how.censor_fd_mm,
        config.allow_space_mismatch,
        how.scale,
    )
    assert config.path is not None
    # the table of all recordings: a job reads the files of one alone, and does not find it beside them
    table = participants_of(config.kind, config.path, config.participants)
    return Options(config.tr_s, table, config.labels, images)


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the table of the parcels; its sidecar tells stage `imported` how to read a recording.

    Raises
    ------
    InputError: there is nothing of this kind, the parcels cannot be known, or the atlas cannot be had.
    """
    from brainlm_data.imports import Treatment, kind_of, label_image, read
    from brainlm_data.imports.labels import agreed, table_of
    from brainlm_data.imports.series import doubts
    from brainlm_data.reading.labels import read_labels

    assert config.path is not None
    path = config.path.absolute()
    kind = kind_of(path) if config.kind == "parcellated" else config.kind
    options = options_of(config, Imported())
    source = read(kind, path, options)
    labels = None if config.labels is None else read_labels(config.labels)
    seen = [] if source.parcels is not None else _looked_at(source.series, path)
    count, columns = agreed(source, labels, seen)
    table, networks = table_of(source, config.labels, labels, count, columns)
    table.to_csv(outputs["atlas_table"], sep="\t", index=False, na_rep="n/a")
    warnings = doubts(source, [shape for shape, _ in seen], bool(columns) or labels is not None)
    treatment = options.images if source.made_here else Treatment()
    atlas = _text(label_image(config.atlas)) or treatment.atlas
    return {
        "AtlasName": source.atlas or "unknown",
        "Sha256": source.sha256,
        "Space": source.space,
        "NetworkSource": networks,
        **({"SpaceMismatch": source.mismatch} if source.mismatch else {}),
        "NumberOfParcels": count,
        "Imported": {
            "kind": kind, "name": config.path.resolve().name, "known": list(source.known),
            "unknown": [*source.unknown, *warnings],
        },
        "Columns": list(columns),
        "Units": source.units,
        "Reading": {
            "TrS": options.tr_s, "Participants": _text(options.participants), "Labels": _text(options.labels),
            "Space": treatment.space, "Atlas": atlas, "AllowSpaceMismatch": treatment.mismatch,
        },
        "Warnings": warnings,
    }  # fmt: skip


def watches(config: Config) -> dict[str, Path]:
    """The table beside the recordings, and the label image, which its key names as text."""
    from brainlm_data.imports import label_image, participants_of

    table = None if config.path is None else participants_of(config.kind, config.path, config.participants)
    files = {"participants": table, "atlas": label_image(config.atlas)}
    return {key: file for key, file in files.items() if file is not None}


def _looked_at(series: Any, path: Path) -> list[tuple[tuple[int, int], tuple[str, ...]]]:
    """(shape, columns) of the first recordings that can be read. Raises InputError where none can."""
    from brainlm_data.imports.series import as_read

    found, reason = list[tuple[tuple[int, int], tuple[str, ...]]](), ""
    for one in series:
        try:
            values, columns, _ = as_read(one)
        except Refused as refusal:
            reason = reason or f"{one.file}: {refusal}"
            continue
        if values.ndim == 2:
            found.append(((values.shape[0], values.shape[1]), columns))
        if len(found) == LOOKED_AT:
            break
    if not found:
        raise InputError(f"{path}: none of its recordings can be read ({reason})", "fix the data")
    return found


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def describe(facts: Facts) -> str:
    """Methods sentence."""
    networks = facts["NetworkSource"]
    return (
        f"Recordings came from {facts['Imported']['name']} (kind {facts['Imported']['kind']}), in"
        f" {facts['NumberOfParcels']} parcels (atlas {facts['AtlasName']}; networks: {networks})."
    )


STAGE = Stage(
    name="input",
    version=3,
    level="cohort",
    summary="Say what the run starts from; provide the parcels of what is imported.",
    Config=Config,
    inputs=(),
    outputs=("atlas_table",),
    run=run,
    describe=describe,
    routes=("import",),
    watches=watches,
    need=Need(2000),
)
