"""A run: the configuration, Snakemake, what it shows, and how it ended."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm import options
from brainlm_data.errors import BrainLMError, InputError, did_you_mean, one_line
from brainlm_data.graph.untouched import nothing_left

if TYPE_CHECKING:
    from brainlm.engine import Engine
    from brainlm.settings import Settings

FAILED, NOT_BEGUN, REFUSED, INTERRUPTED = 1, 2, 3, 130  # exit statuses; docs/brainlm.md
IDLE = ("container", "threads")  # keys that no result depends on; all of `jobs` are such
TARGETS = {"participant": "preprocess", "group": None}  # None: the workflow's own default


def run(words: Sequence[str]) -> int:
    """`brainlm BIDS OUT ...`; the exit status.

    Raises
    ------
    ConfigError, InputError: nothing has run.
    """
    words = list(words)
    own, more = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    _is_meant(own)
    arguments = options.parse(own)

    from brainlm.engine import command
    from brainlm.settings import settings
    from brainlm_model.stages import ALL_STAGES

    known = [*options.TARGETS, "all", *(stage.name for stage in ALL_STAGES)]
    target = arguments.target
    if target and target not in known:
        raise InputError(
            f"--target {target}: no such stage", did_you_mean(target, known) or f"one of: {', '.join(known)}"
        )
    chosen = settings(arguments, ALL_STAGES)
    if any(stage.name == target and stage.level != "cohort" for stage in ALL_STAGES):
        target = f"all_{target}"  # its own rule has wildcards: workflow/rules/targets.smk
    target = target or _of_level(arguments.level, chosen.is_part)
    with nothing_left(chosen.outdir):
        _may_write(chosen.outdir)
        call = command(chosen.outdir, chosen.file_of_run(), target, arguments.cores, arguments.profile, more)
        if arguments.dry_run:
            call += ["--dry-run", "--quiet", "rules", "progress"]
        if arguments.verbose:
            chosen.remember()
            return subprocess.run(call, check=False).returncode
        return _shown(call, arguments, chosen)


def _of_level(level: str, is_part: bool) -> str | None:
    """The target of a level; a run of some labels alone leaves the pages of everybody as they are."""
    return "recordings" if level == "participant" and is_part else TARGETS[level]


def _is_meant(words: Sequence[str]) -> None:
    """A command that is misspelled is not taken for a dataset."""
    first = words[0] if words else ""
    meant = did_you_mean(first, options.COMMANDS)
    if first.startswith("-") or Path(first).exists() or (len(words) > 1 and not meant):
        return
    raise InputError(
        f"there is no command and no dataset {first}", meant or "brainlm BIDS OUT participant; brainlm --help"
    )


def _may_write(outdir: Path) -> None:
    """Raises InputError where the folder cannot be made or written."""
    try:
        (outdir / "work" / "snakemake").mkdir(parents=True, exist_ok=True)
        (outdir / "logs").mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=outdir / "work"):
            pass
    except OSError as error:
        raise InputError(f"{outdir}: cannot be written ({error.strerror})", "choose another folder for OUT") from error


def _shown(call: Sequence[str], arguments: argparse.Namespace, chosen: Settings) -> int:
    """Run Snakemake, show what it tells, and say how it ended; the exit status."""
    from brainlm.engine import Engine, Tick
    from brainlm.screen import Screen

    log = chosen.outdir / "logs" / ("plan.log" if arguments.dry_run else "snakemake.log")
    if log.is_file():
        log.replace(log.with_suffix(".before.log"))
    screen, engine = Screen(arguments.cores), Engine(call, log)
    ended: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    begun = False
    for event in engine.events():
        if isinstance(event, Tick):
            screen.tick()
            continue
        kind = event["kind"]
        if kind == "plan":
            screen.say(*_planned(chosen.changes, event["lines"]))
        elif kind == "stats":
            screen.say(*_counted(event, arguments.dry_run))
        elif kind == "jobs":
            begun = True
            chosen.remember()
            screen.progress.begin(event["jobs"])
        elif kind == "error":
            error = event
        elif kind == "end":
            ended = event
        elif kind != "failed" or engine.interrupted is None:  # what runs at Ctrl-C has not failed
            screen.job(event)
    screen.close()
    return _closed(engine, ended, error, begun, log, chosen, arguments.dry_run)


def _counted(event: Mapping[str, Any], dry_run: bool) -> list[str]:
    """How many jobs there are and what they take; in a plan, what each requests as well, and that the disk is small."""
    counts = _in_order(event["stats"])
    number = sum(counts.values())
    word = "would run" if dry_run else "to run:"
    lines = [f"{word} {number} job{'s' if number > 1 else ''}: {_listed(counts)}", f"they take {event['takes']}"]
    if not dry_run:
        return lines
    lines.append("what a job requests, the largest of each stage (docs/hpc.md):")
    has_gpus = any(row["gpus"] for row in event["requests"])
    lines.append(f"  {'stage':<13} {'jobs':>6} {'cores':>6} {'MB':>8} {'minutes':>8}" + f" {'GPUs':>5}" * has_gpus)
    for row in event["requests"]:
        line = f"  {row['stage']:<13} {row['jobs']:>6} {row['cores']:>6} {row['mb']:>8} {row['minutes']:>8}"
        lines.append(line + f" {row['gpus'] or '-':>5}" * has_gpus)
    return [*lines, event["warning"]] if event["warning"] else lines


def _in_order(stats: Mapping[str, int]) -> dict[str, int]:
    """Jobs by stage, in the order of the pipeline; without targets, which do nothing."""
    from brainlm_model.stages import ALL_STAGES

    return {stage.name: stats[stage.name] for stage in ALL_STAGES if stage.name in stats}


def _listed(counts: Mapping[str, int]) -> str:
    """`template, atlas, 2 anat, 24 motion`."""
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())


def _planned(changes: Sequence[str], lines: Sequence[str]) -> list[str]:
    """What has changed and what that makes again; of a change that no result follows from, that is said as well."""
    others = []
    for change in changes:
        key = change.split(":")[0]
        if any(change in line for line in lines):
            continue
        if key == "bundle_size":
            change += " (other jobs; recordings that are finished are not processed again)"
        elif key in IDLE or key.startswith("jobs."):
            change += " (nothing is made again)"
        others.append(change)
    return [*others, *lines]


def _closed(
    engine: Engine, ended: Mapping[str, Any] | None, error: Mapping[str, Any] | None, begun: bool, log: Path,
    chosen: Settings, dry_run: bool,
) -> int:  # fmt: skip
    """The last lines of a run, and its exit status."""
    if ended is not None:
        print("\n".join(ended["lines" if engine.interrupted is None else "if_interrupted"]))
    if engine.interrupted is not None:
        print("interrupted; the same command goes on from here")
        return INTERRUPTED
    if error is not None and not begun:
        raise BrainLMError(error["message"], error["remedy"])
    if engine.code == 0:
        if dry_run:
            return 0
        chosen.remember()
        return REFUSED if ended is not None and ended["refused"] else 0
    if ended is None or not ended["failed"]:
        lines = [
            line.strip() for line in log.read_text(errors="replace", encoding="utf-8").splitlines() if line.strip()
        ]
        last = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "no output")
        if not begun and " error: " in last and any(line.startswith("usage: ") for line in lines):  # of its argparse
            raise InputError(f"-- {last.partition(' error: ')[2]}", "options of Snakemake: snakemake --help")
        print(f"error: Snakemake: {one_line(last)[:300]}\n  try: the whole output is in {log}", file=sys.stderr)
        return FAILED if begun else NOT_BEGUN
    print(f"log of the run: {log}")
    return FAILED
