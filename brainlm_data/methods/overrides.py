"""Verdicts on components that a person sets by hand: the table, and what it does to the automatic ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError, Refused, alike
from brainlm_data.reading.table import read_table

NEEDED, OPTIONAL = ("recording", "component", "classification"), ("note",)
VERDICTS = ("accepted", "rejected")
USER = "user"  # begins the rationale of a verdict that was set by hand


def read_overrides(path: Path, recordings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of each recording that has some.

    Parameters
    ----------
    path: TSV with the columns recording, component, classification and, if wanted, note.
    recordings: ids of the dataset.

    Returns
    -------
    recording -> {"overrides": rows in the order of components, "_overrides_at": where they stand, for messages}.

    Raises
    ------
    InputError: no such table, or a row that cannot be meant; names file, line and what is allowed.
    """
    table = read_table(path, text=(*NEEDED, *OPTIONAL), short=True)
    header = list(table.columns)
    if not set(NEEDED) <= set(header) or not set(header) <= {*NEEDED, *OPTIONAL}:
        columns = ", ".join(header) or "none"
        raise InputError(
            f"{path} line 1: its columns are {columns}", f"columns: {', '.join(NEEDED)} and, if wanted, note"
        )
    known, places = set(recordings), {}
    rows: dict[str, dict[str, dict[str, str]]] = {}
    for number, cells in zip(table.lines, table.rows(), strict=True):
        row = {column: cell or "" for column, cell in cells.items()}
        where, name, component = f"{path} line {number}", row["recording"], row["component"]
        if name not in known:
            close = alike(name, recordings) or list(recordings[:3])
            raise InputError(f"{where}: no recording {name!r} in this dataset", f"allowed: {', '.join(close)}, ...")
        if row["classification"] not in VERDICTS:
            raise InputError(f"{where}: classification {row['classification']!r}", f"allowed: {', '.join(VERDICTS)}")
        if not component or component in rows.get(name, {}):
            again = f"component {component} of {name} a second time" if component else "no component"
            raise InputError(f"{where}: {again}", "one row per component, as ica_03")
        rows.setdefault(name, {})[component] = {
            "component": component,
            "classification": row["classification"],
            "note": row.get("note", ""),
        }
        places[name, component] = number
    by_recording = {}
    for name, components in rows.items():
        by_recording[name] = {
            "overrides": [components[component] for component in sorted(components)],
            "_overrides_at": {component: f"{path} line {places[name, component]}" for component in components},
        }
    return by_recording


def overridden(
    labels: Sequence[str], reasons: Sequence[str], meta: Mapping[str, Any]
) -> tuple[NDArray[np.bool_], list[str], dict[str, dict[str, str]]]:
    """Automatic verdicts with those of a person in their place.

    Parameters
    ----------
    labels, reasons: names of the components, and why each is noise; empty where it is not.
    meta: of the recording, with the rows of `read_overrides` where there are some.

    Returns
    -------
    (components,) true where it is noise; the rationale of each; by component, what was set and what it replaced.

    Raises
    ------
    Refused: a component that the recording does not have.
    """
    noise, rationale = np.array([bool(r) for r in reasons], dtype=bool), list(reasons)
    by_hand: dict[str, dict[str, str]] = {}
    for row in meta.get("overrides", []):
        name = row["component"]
        if name not in labels:
            where = meta.get("_overrides_at", {}).get(name, "denoise.overrides")
            allowed = f"allowed: {labels[0]} to {labels[-1]}" if labels else "it has no components"
            raise Refused(f"{where}: {meta['id']} has no component {name}", allowed)
        place = list(labels).index(name)
        automatic = "rejected" if noise[place] else "accepted"
        by_hand[name] = {**row, "automatic": automatic, "automatic_rationale": reasons[place]}
        noise[place] = row["classification"] == "rejected"
        rationale[place] = f"{USER}: {row['note']}" if row["note"] else USER
    return noise, rationale, by_hand
