"""An answer as a short tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from brainlm_data.stage import Stage
from brainlm_data.why.answer import Answer
from brainlm_data.why.fate import Fate
from brainlm_data.why.trace import Made, Raw

SHOWN = 4  # names of recordings, files and the like, in a line
WIDTH = 110


def tree(answer: Answer, stages: Sequence[Stage]) -> str:
    """The answer in lines. `stages`: those of this program, to say which values are not the default."""
    branches: list[tuple[str, list[str]]] = []
    if answer.fate is not None:
        branches.append(_of_fate(answer.fate))
    if answer.absent:
        said = f", {answer.fate.reason}" if answer.fate and answer.fate.reason else ""  # in the branch before this one
        branches.append((answer.absent.removesuffix(said) if said else answer.absent, []))
    if answer.row is not None:
        branches.append((f"line {answer.row['line']}", _cells({k: v for k, v in answer.row.items() if k != "line"})))
    if answer.over:
        count = f"{len(answer.over)} recordings of split {answer.split}"
        branches.append((f"{answer.scored_by}: over {count}: {_some(answer.over)}", []))
    if answer.trace is not None:
        defaults = {stage.name: stage.Config().model_dump(mode="json") for stage in stages}
        refusals = _told_once(answer.trace.made, answer.fate)
        branches += [_of_stage(node, defaults.get(node.stage), refusals[node.stage]) for node in answer.trace.made]
        if answer.trace.raw:
            branches.append((f"raw files: {len(answer.trace.raw)}", _raw(answer.trace.raw)))
        if software := _software(answer.trace.made):
            branches.append(("software", software))
        branches += [(f"note: {note}", []) for note in answer.trace.notes]
    return "\n".join([_title(answer), *_drawn(branches)])


def _title(answer: Answer) -> str:
    if not answer.outputs:
        return answer.asked
    about = "; ".join(f"{name} sha256 {o['sha256'][:12]}..., {o['size']} bytes" for name, o in answer.outputs.items())
    whole = f"{len(answer.outputs)} files" if len(answer.outputs) > SHOWN else about
    return f"{answer.asked}  (as it was written: {whole})"


def _drawn(branches: Sequence[tuple[str, list[str]]]) -> Iterable[str]:
    """Branches with their leaves, as `tree` draws folders."""
    for number, (head, leaves) in enumerate(branches):
        last = number == len(branches) - 1
        yield f"{'└' if last else '├'}─ {head}"
        for leaf in leaves:
            for part in wrap(leaf, WIDTH) or [""]:
                yield f"{' ' if last else '│'}    {part}"


def _of_fate(found: Fate) -> tuple[str, list[str]]:
    """What became of a recording."""
    if found.status == "done":
        where = f"in the store, {found.steps} steps" + (f", split {found.split}" if found.split else "")
        return f"{found.recording}: {where}", []
    if found.status == "processed":
        return f"{found.recording}: processed; there is no store yet", []
    at = f" at stage {found.stage}" if found.stage else ""
    leaves = [found.reason, *([f"try: {found.remedy}"] if found.remedy else [])]
    return f"{found.recording}: {found.status}{at}", leaves


def _told_once(made: Sequence[Made], found: Fate | None) -> dict[str, dict[str, str]]:
    """Stage -> unit -> why it was refused there; those that follow repeat a reason, and so would a line of each."""
    told: set[tuple[str, str]] = set()
    if found is not None and found.status == "refused":
        told.add((found.recording, found.reason))  # in a branch of its own
    refusals: dict[str, dict[str, str]] = {}
    for node in reversed(made):  # the one that refused it first comes last
        own = refusals.setdefault(node.stage, {})
        for unit, reason in node.refused.items():
            key = unit, reason.partition(" -> ")[0]
            if key not in told:
                told.add(key)
                own[unit] = reason
    return refusals


def _of_stage(node: Made, default: dict[str, Any] | None, refused: Mapping[str, str]) -> tuple[str, list[str]]:
    """A stage: its version, what it read, the keys that are not as they come, and whom it was the first to refuse."""
    units = "" if node.units in ([], ["cohort"]) else f"  {_counted(node.units)}"
    head = f"{node.stage}{f' {node.version}' if node.version else ''}{units}"
    by_writer: dict[str, list[str]] = {}
    for name, writer in node.reads.items():
        by_writer.setdefault(writer, []).append(name)
    leaves = []
    if by_writer:
        parts = [f"{_some(names)} ({writer})" for writer, names in by_writer.items()]
        leaves.append(f"read {'; '.join(parts)}")
    usual = None if default is None else dict(_flat(default))
    keys = dict(_flat(node.configuration))
    changed = [f"{k}: {_value(v)}" for k, v in keys.items() if usual is None or k not in usual or usual[k] != v]
    if changed:
        leaves.append(f"{'; '.join(changed)}{'' if usual is None else ' (else the defaults)'}")
    leaves += [f"{key} is a file of sha256 {sha[:12]}..." for key, sha in node.watched.items()]
    leaves += [f"refused {name}: {reason}" for name, reason in list(refused.items())[:SHOWN]]
    if len(refused) > SHOWN:
        leaves.append(f"... and {len(refused) - SHOWN} refused more")
    if len(node.manifests) == 1:
        leaves.append(", ".join([*node.manifests, *node.logs]))
    elif node.manifests:
        leaves.append(f"{len(node.manifests)} jobs: {node.manifests[0]}, ...")
    return head, leaves


def _software(made: Sequence[Made]) -> list[str]:
    """Versions that all stages share in one line, and what single stages had besides."""
    sets = [
        (node.stage, {f"{name} {v}" for name, versions in node.software.items() for v in versions}) for node in made
    ]
    known = [(stage, versions) for stage, versions in sets if versions]
    shared = set.intersection(*(versions for _, versions in known)) if known else set()
    lines = [", ".join(sorted(shared))] if shared else []
    by_rest: dict[str, list[str]] = {}
    for stage, versions in known:
        if rest := ", ".join(sorted(versions - shared)):
            by_rest.setdefault(rest, []).append(stage)
    return lines + [f"{', '.join(stages)}: {rest}" for rest, stages in by_rest.items()]


def _flat(section: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of a section, of nested ones with dots."""
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _counted(units: list[str]) -> str:
    return units[0] if len(units) == 1 else f"{len(units)} units: {units[0]}, ..."


def _raw(files: Sequence[Raw]) -> list[str]:
    lines = []
    for file in files[:SHOWN]:
        when = datetime.fromtimestamp(file.mtime_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC, ")
        size = f"{file.size} bytes, {when}" if file.mtime_ns else ""
        sha = f"sha256 {file.sha256[:12]}..., " if file.sha256 else ""
        lines.append(f"{file.path}: {size}{sha}{file.state}")
    return lines + (["... (--json lists all)"] if len(files) > SHOWN else [])


def _cells(row: dict[str, Any]) -> list[str]:
    return ["; ".join(f"{key}: {_value(value)}" for key, value in row.items())]


def _value(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)})" if len(names) > SHOWN else "")
