"""Snakemake as a child process: its command line, what it tells, and the signals that are passed on to it."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from brainlm.places import names, ready_made, workflow
from brainlm_data.errors import InputError, did_you_mean
from brainlm_data.files.yaml import parsed
from brainlm_data.graph.events import COMMAND, VARIABLE

TICK_S = 0.5  # between two looks at the clock
VERSIONS = {"slurm": ">=2.8,<3"}  # of the plugins that were tested
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command(
    outdir: Path, configfile: Path, target: str | None, cores: int, profile: str | None, more: Sequence[str]
) -> list[str]:
    """The call of Snakemake. It works below `outdir`, so that any folder can be the current one.

    Raises
    ------
    InputError: there is no such profile, or it needs a plugin that is not installed.
    """
    root = workflow()
    words = [sys.executable, "-m", "snakemake", *([target] if target else [])]
    words += ["--snakefile", str(root / "Snakefile"), "--directory", str(outdir / "work" / "snakemake")]
    words += ["--configfile", str(configfile), "--cores", str(cores)]
    words += ["--workflow-profile", str(root / "profiles" / "default")]
    if profile:
        words += ["--profile", str(_profile(profile))]
    return [*words, *more]


def _profile(name: str) -> Path:
    """A profile's folder."""
    given = Path(name).expanduser()
    place = given if given.is_dir() else ready_made("profiles", name)
    if place is None:
        known = names("profiles")
        raise InputError(
            f"--profile {name}: no such folder", did_you_mean(name, known) or f"a folder, or one of {', '.join(known)}"
        )
    for file in (*place.glob("config.yaml"), *place.glob("config.v*.yaml")):
        executor = (parsed(file.read_text(encoding="utf-8"), str(file)) or {}).get("executor")
        plugin = f"snakemake_executor_plugin_{str(executor).replace('-', '_')}"
        if executor and importlib.util.find_spec(plugin) is None and executor not in {"local", "dryrun", "touch"}:
            raise InputError(
                f"--profile {name}: snakemake-executor-plugin-{executor} is not installed",
                f'pip install "snakemake-executor-plugin-{executor}{VERSIONS.get(str(executor), "")}"',
            )
    return place.absolute()


@dataclass
class Tick:
    """Time has passed and nothing was told."""


class Engine:
    """A running Snakemake.

    Attributes
    ----------
    interrupted: the signal that ended it, or None.
    code: its exit status, once `events` is exhausted.
    """

    def __init__(self, call: Sequence[str], log: Path) -> None:
        self.interrupted: int | None = None
        self.code: int | None = None
        self._before = {number: self._catch(number) for number in SIGNALS}
        reading, writing = os.pipe()
        self._events = os.fdopen(reading, "rb", buffering=0)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                call, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=(writing,),
                env={**os.environ, VARIABLE: str(writing), COMMAND: shlex.join(["brainlm", *sys.argv[1:]])},
                start_new_session=True,
            )  # fmt: skip
        os.close(writing)

    def events(self) -> Iterator[dict[str, Any] | Tick]:
        """What it tells, until it ends; a `Tick` every now and then. Signals are passed on to it and its jobs."""
        try:
            yield from self._read(self._events)
            self.code = self._process.wait()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._events.close()

    def _catch(self, number: int) -> Any:
        """Handle a signal from now on; how it was handled before.

        What is ignored (SIGHUP by nohup, SIGINT of a shell's background job) stays so, but not for Snakemake, which is
        ended by SIGINT whatever came here: a handler is not inherited, "ignore" would be.
        """
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        return signal.signal(number, (lambda *_: None) if is_ignored else self._pass_on)

    def _read(self, pipe: BinaryIO) -> Iterator[dict[str, Any] | Tick]:
        rest = b""
        with selectors.DefaultSelector() as ready:
            ready.register(pipe, selectors.EVENT_READ)
            while True:
                if not ready.select(TICK_S):
                    yield Tick()
                    continue
                data = os.read(pipe.fileno(), 1 << 16)
                if not data:  # it has ended
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    with suppress(ValueError):
                        yield json.loads(line)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """As Ctrl-C in a terminal: the whole group is told. A second time it is ended at once."""
        wanted = signal.SIGINT if self.interrupted is None else signal.SIGKILL
        self.interrupted = number
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, wanted)
