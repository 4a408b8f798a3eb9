"""What the tables of a dataset say of each recording: of its person, of its session, and of the scan itself.

participants.tsv at the root; `sub-*/sub-*_sessions.tsv`; `*_scans.tsv` of a subject or a session (BIDS specification,
"Data summary files"). What is said nearer to a recording counts, `n/a` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from brainlm_data.errors import InputError
from brainlm_data.reading.people import beside, plain, read_people, some, without_zeros
from brainlm_data.reading.table import read_cells
from brainlm_data.reading.values import typed_of_people

PERSON = "participant_id"
Phenotypes = dict[str, dict[str, Any]]  # recording -> column -> value


class Run(NamedTuple):
    """A recording, by what tables call it: its session, and its path below the dataset's root."""

    id: str
    subject: str
    session: str | None
    path: str


def phenotypes(bids_dir: Path, paths: Sequence[str], runs: Sequence[Run]) -> dict[str, Any]:
    """What is said of each recording (`shared`), `unjoined`: what did not join, `columns`: what was taken for what.

    Parameters
    ----------
    paths: of all files, below `bids_dir`.

    Raises
    ------
    InputError: a table that cannot be read, or does not say whose its rows are.
    """
    people = read_people(beside(bids_dir), (PERSON,))
    rows = {subject: people.find(subject) for subject in sorted({run.subject for run in runs})}
    own = {s: {name: value for name, value in row.items() if name.lower() != PERSON} for s, row in rows.items()}
    found = {run.id: own[run.subject] for run in runs}
    notes, columns = people.notes(), people.columns()
    if "sessions.tsv" in paths:
        notes.append("sessions.tsv at the root is not read: sub-*/sub-*_sessions.tsv are")
    by_subject = dict[str, list[Run]]()
    for run in runs:
        by_subject.setdefault(f"sub-{run.subject}", []).append(run)
    sessions, scans = Joined("sessions.tsv", "session_id"), Joined("scans.tsv", "filename")
    for path in paths:
        of_subject = by_subject.get(path.split("/")[0], [])
        if of_subject and path.endswith("_sessions.tsv"):
            sessions.take(bids_dir / path, _by_session(of_subject))
        elif of_subject and path.endswith("_scans.tsv"):
            scans.take(bids_dir / path, _by_file(of_subject, path[: path.rfind("/") + 1]))
    for table in (sessions, scans):
        table.overwrite(found, notes, columns)
    return {**shared(found), "unjoined": notes, "columns": columns}


def shared(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`phenotypes`: the distinct ones of all recordings; `of`: recording -> number of its own."""
    distinct, of = dict[str, int](), dict[str, int]()
    for recording, values in found.items():
        of[recording] = distinct.setdefault(json.dumps(values), len(distinct))
    return {"phenotypes": list(map(json.loads, distinct)), "of": of}


def _by_session(runs: Sequence[Run]) -> dict[str, list[str]]:
    by_session = dict[str, list[str]]()
    for run in runs:
        if run.session:
            by_session.setdefault(run.session, []).append(run.id)
    return by_session


def _by_file(runs: Sequence[Run], folder: str) -> dict[str, list[str]]:
    return {run.path.removeprefix(folder): [run.id] for run in runs if run.path.startswith(folder)}


@dataclass
class Joined:
    """The rows of all tables of one kind, each with the recordings that it is about."""

    called: str
    key: str
    rows: list[tuple[list[str], dict[str, str | None]]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    total: int = 0

    def take(self, path: Path, things: Mapping[str, list[str]]) -> None:
        """The rows of a table. `things`: label of a row -> recordings.

        Raises
        ------
        InputError: no column of labels, or two rows of one that differ.
        """
        header, body = read_cells(path)
        if self.key not in header:
            raise InputError(
                f"{path}: no column {self.key} (there are: {', '.join(header)})", "name it in the first line"
            )
        who = path.name.split("_")[0]
        seen = dict[str, tuple[int, list[str]]]()
        for line, row in body:
            label = self._meant(plain(row[header.index(self.key)]), things)
            if label not in things:
                if self.key != "filename" or "_bold.nii" in label:
                    self.left.append(f"{who} {label or 'n/a'}")
                continue
            before, cells = seen.setdefault(label, (line, row))
            if cells != row:
                raise InputError(f"{path}: two rows of {label}, lines {before} and {line}, differ", "leave one of them")
            if before == line:
                said = {name: None if cell in ("", "n/a") else cell for name, cell in zip(header, row, strict=True)}
                self.rows.append((things[label], {name: said[name] for name in header if name not in ("", self.key)}))
        self.total += len(things)
        self.missed += [f"{who} {label}" for label in things if label not in seen]

    def _meant(self, label: str, things: Mapping[str, Any]) -> str:
        """The label as the files have it: without or with zeros, where that can be no other."""
        same = [thing for thing in things if without_zeros(thing) == without_zeros(label)]
        return same[0] if label not in things and len(same) == 1 else label

    def overwrite(self, found: Phenotypes, notes: list[str], columns: dict[str, str]) -> None:
        """Put the values in the place of those from further away, and say what did not join."""
        for name in dict.fromkeys(name for _, row in self.rows for name in row):
            own = [(recordings, row[name]) for recordings, row in self.rows if name in row]
            values, note = typed_of_people(name, [cell for _, cell in own])
            if note:
                columns[name] = "; ".join([*([columns[name]] if name in columns else []), f"{note} ({self.called})"])
            other = 0
            for (recordings, _), value in zip(own, values, strict=True):
                for recording in recordings:
                    other += name in found[recording] and found[recording][name] != value
                    found[recording] = {**found[recording], name: value}
            if other:
                notes.append(f"{self.called}: {name} of {other} recordings is its own, not that of participants.tsv")
        if self.missed:
            notes.append(f"{self.called}: no row for {len(self.missed)} of {self.total} ({some(self.missed)})")
        if self.left:
            notes.append(f"{self.called}: {len(self.left)} rows of what is not here ({some(self.left)})")
