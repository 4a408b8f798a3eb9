"""What a run takes of its dataset and what it leaves aside, and what became of the recordings, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import paths
from brainlm_data.errors import one_line
from brainlm_data.runner.manifest import read_manifest

if TYPE_CHECKING:
    from brainlm_data.graph.dag import Dag

SHOWN = 20  # refusals, files left aside and failed jobs that a run prints
NAMED = 3  # recordings with the same reason that are named
FIRST = ("index.html", "qc.html")  # of the pages in an outdir


def taken(dag: Dag) -> list[str]:
    """What is odd about the dataset, before it runs: what will be refused, notes, what is lacking or left aside."""
    lines = [f"{len(dag.faults)} recordings will be refused:", *_shown(dag.faults)] if dag.faults else []
    lacking = [] if dag.route == "import" else dag.index.lacking()
    return [one_line(line) for line in (*lines, *dag.notes, *lacking, *_left_aside(dag))]


def _left_aside(dag: Dag) -> list[str]:
    if not dag.left_aside:
        return []
    more = f" (all in {paths.left_aside_path(dag.outdir)})" if dag.left_aside[SHOWN:] else ""
    return [f"{len(dag.left_aside)} left aside{more}:", *_shown(dag.left_aside)]


def _shown(reasons: Sequence[str]) -> list[str]:
    return [*(f"  {reason}" for reason in reasons[:SHOWN]), *(["  ..."] if reasons[SHOWN:] else [])]


@dataclass
class Outcome:
    """What became of a run.

    Attributes
    ----------
    total, through: recordings in all, and those that have a parcel series. refused: recording -> reason.
    failed: lines on the jobs that failed: stage and bundle, its error, its log.
    notes: what was odd about the dataset. pages: files to open.
    """

    total: int
    through: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    n_failed: int = 0
    notes: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    everything: str = ""  # where all refusals are listed

    def lines(self, failed: bool = True) -> list[str]:
        """The summary, one line each; without `failed` those on jobs that failed are left out."""
        lines = [f"{self.through} of {self.total} recordings went through"]
        if not self.through and len(self.refused) < self.total:
            lines = ["no series yet"]
        if self.refused:
            lines += [f"{len(self.refused)} refused:", *self._by_reason()]
        if self.n_failed and failed:
            jobs = "1 job" if self.n_failed == 1 else f"{self.n_failed} jobs"
            lines += [f"{jobs} failed; the same command goes on from here:", *self.failed]
        lines += self.notes
        if self.pages:
            lines.append(f"open: {', '.join(self.pages)}")
        return [one_line(line) for line in lines]

    def _by_reason(self) -> Iterator[str]:
        """Each reason once, with the recordings that it is about."""
        by_reason: dict[str, list[str]] = {}
        for unit, reason in self.refused.items():
            by_reason.setdefault(reason.removeprefix(f"{unit}: "), []).append(unit)
        for reason, units in list(by_reason.items())[:SHOWN]:
            more = f" and {len(units) - NAMED} more" if units[NAMED:] else ""
            yield f"  {', '.join(units[:NAMED])}{more}: {reason}"
        if len(self.refused) > NAMED and self.everything:
            yield f"  (all in {self.everything})"


def _refused(units: Mapping[str, Any]) -> dict[str, str]:
    """Unit -> reason, of those that a manifest calls refused."""
    return {unit: entry["reason"] for unit, entry in units.items() if entry["status"] == "refused"}


def outcome(dag: Dag, failed: Collection[tuple[str, str]] = ()) -> Outcome:
    """What became of the recordings of a run.

    `failed`: (stage, bundle) of the jobs that failed.
    """
    found = Outcome(dag.n_recordings, notes=[*dag.notes, *_left_aside(dag)])
    last = dag.producers["parcels"].name
    before = [stage.name for stage in dag.stages.values() if stage.level == "recording" and stage.name != last]
    for bundle in dag.bundles.by_level["recording"]:  # one manifest at a time: a cohort's are hundreds of MB
        path = paths.manifest_path(dag.outdir, last, bundle)
        if path.exists():
            units = read_manifest(path)["units"]
            refused = _refused(units)
            found.through += len(units) - len(refused)
        else:  # a run that ended, or was to end, before the series
            earlier = [paths.manifest_path(dag.outdir, name, bundle) for name in before]
            refused = {}
            for path in earlier:
                refused |= _refused(read_manifest(path)["units"]) if path.exists() else {}
        found.refused |= refused
    found.n_failed = len(failed)
    for stage, bundle in list(failed)[:SHOWN]:
        log = paths.log_path(dag.outdir, stage, bundle)
        found.failed += [f"  {stage} of {bundle}: {line}" if i == 0 else f"    {line}"
                         for i, line in enumerate([*last_words(log), f"log: {log}"])]  # fmt: skip
    there = {page.name for page in dag.outdir.glob("*.html")}
    found.pages = [str(dag.outdir / name) for name in [*FIRST, *sorted(there - {*FIRST})] if name in there]
    table = dag.outdir / "recordings.parquet"
    found.everything = str(table) if table.is_file() else ""
    return found


def last_words(log: Path) -> list[str]:
    """How the log of a failed job ends: its error with the remedy, else its last line."""
    try:
        lines = [
            line.strip() for line in log.read_text(errors="replace", encoding="utf-8").splitlines() if line.strip()
        ]
    except OSError:
        lines = []
    if not lines:
        return ["ended without a word: killed (memory, time limit), or it never started"]
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("error: "):
            remedy = [line for line in lines[number + 1 : number + 2] if line.startswith("try: ")]
            return [lines[number].removeprefix("error: "), *remedy]
    return [f"killed, or ended without an error; its last line: {lines[-1]}"]
