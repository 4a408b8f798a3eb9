"""Kills: a command is killed at any moment, with all its processes, and run again; the bytes are those of no kill.

    python -m tests.attacks.kills --tries 200 --seed 1          # JSON: tried, survived, what fell out
    python -m tests.attacks.kills --tries 20 --only train       # one kind of command

A try forks a process that has everything imported, kills its process group (SIGKILL) after a random share of the time
that the command takes, up to four times, and lets it run to its end. Then all files must be there, and none more,
with the bytes of an undisturbed run; in between, a store must hold the values of before or after, or be an error.
Of commands that start others, one process alone may be killed: Snakemake itself, or one of those that train together.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data.errors import BrainLMError
from brainlm_data.files.sidecar import digest

SMALL = [  # of section train
    "train.window=60", "train.patch=20", "train.threads=1", "train.width=8", "train.heads=1", "train.hidden=8",
    "train.depth=1", "train.decoder_depth=1", "train.batch_size=2", "train.steps=6", "train.eval_every=2",
    "train.device=cpu",
]  # fmt: skip
SIMULATED = ["--subjects", 2, "--volumes", 12, "--shape", "20,22,18", "--voxel-mm", 9, "--t1w-mm", 4, "--quiet"]
DS = "ds000999"
PATIENCE_S = 30  # within which processes end whose command was killed
ROOT = Path(__file__).parents[2]
Tree = dict[str, str]
Hit = Callable[[int], None]


def data(*words: Any) -> None:
    """`brainlm-data WORDS`."""
    from brainlm_data.cli import main

    if main([str(word) for word in words]):
        raise SystemExit(1)


def model(*words: Any) -> None:
    """`brainlm-model WORDS`."""
    from brainlm_model.cli import main

    if main([str(word) for word in words]):
        raise SystemExit(1)


def dag(series: Path, outdir: Path, workers: int) -> None:
    """What `snakemake dataset` does with series that are imported: a plan, the lock, a job per bundle, the end."""
    from brainlm_data.graph.dag import Dag
    from brainlm_data.graph.edges import load_job
    from brainlm_data.pipeline import STAGES
    from brainlm_data.runner.bundle import run_bundle

    raw = {"input": {"kind": "arrays", "path": str(series), "tr_s": 1.0}, "outdir": str(outdir), "bundle_size": 4,
           "collate": {"validation": 0.2, "test": 0.3, "chunk_steps": 16}}  # fmt: skip
    graph = Dag(raw, STAGES)
    graph.prepare()
    stages = list(graph.stages.values())
    jobs = [(stage, bundle) for stage in stages for bundle in graph.bundles.by_level[stage.level]]
    jobs = [(stage, bundle) for stage, bundle in jobs if not graph.plan.stands(stage.name, bundle)]
    with graph.begin([(stage.name, bundle) for stage, bundle in jobs]):
        for stage, bundle in jobs:
            run_bundle(load_job(stages, stage.name, outdir, bundle, graph[stage.name].signature), workers)
        graph.finish()


def snakemake(series: Path, root: Path) -> None:
    """Be `snakemake dataset`: this process becomes it, and its jobs are processes of the same group."""
    config = {"input": {"kind": "arrays", "path": str(series), "tr_s": 1.0}, "outdir": str(root / "out"),
              "bundle_size": 4, "collate": {"validation": 0.2, "test": 0.3, "chunk_steps": 16}}  # fmt: skip
    file = series.with_suffix(".json")
    file.write_text(json.dumps(config))
    words = ["dataset", "--snakefile", ROOT / "Snakefile", "--directory", root / "here", "--cores", 2,
             "--workflow-profile", ROOT / "profiles/default", "--configfile", ROOT / "config.yaml", file]  # fmt: skip
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *map(str, words)])


def bucket(address: Any) -> None:
    """A process that serves a data set as OpenNeuro does; sends its address."""
    from tests.downloads.bucket import served

    with served() as fake:
        fake.handle_error = lambda *_: None  # who was killed hangs up
        for name in ("dataset_description.json", "participants.tsv", "README"):
            fake.files[f"{DS}/{name}"] = name.encode() * 3
        for subject in ("sub-01", "sub-02", "sub-03"):
            for name in (f"anat/{subject}_T1w.nii.gz", f"func/{subject}_task-rest_bold.nii.gz"):
                fake.files[f"{DS}/{subject}/{name}"] = (subject + name).encode() * 100_000
        address.send(fake.url)
        address.recv()  # until the attack ends


# ---- who is killed ----


def group(pid: int) -> None:
    """The command, with all processes of its group."""
    os.killpg(pid, signal.SIGKILL)


def alone(pid: int) -> None:
    """The command; what it started lives on."""
    os.kill(pid, signal.SIGKILL)


def trainer(pid: int) -> None:
    """One of several processes that train together, where they run already; the command has to notice that."""
    found = [other for other, words in processes() if "training.worker" in words and "distributed.run" not in words]
    if found:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(random.choice(found), signal.SIGKILL)
    else:
        group(pid)


def processes(root: str = "") -> Iterator[tuple[int, str]]:
    """Process and command line of all that run and have `root` in it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words and root in words:
                    yield int(entry.name), words


@dataclass(frozen=True)
class Target:
    """A command: what is there before it, the command itself, and files whose bytes are no result of it."""

    name: str
    run: Callable[[Path], None]
    before: Callable[[Path], None] = lambda _: None
    store: str = ""  # that a reader may read meanwhile
    hits: tuple[Hit, ...] = (group,)


def targets(series: Path, more: Path, url: str) -> list[Target]:
    """Every kind of command that writes. Each has a folder of its own, always the same path."""

    def imported(root: Path) -> None:  # --force, because the kill may come when all is done
        data("import", "arrays", series, root / "out", "--tr", 1, "--test", 0.3, "--validation", 0.2, "--force")

    def replaced(root: Path) -> None:
        data("import", "arrays", more, root / "out", "--tr", 1, "--test", 0.3, "--validation", 0.2, "--force")

    def trained(root: Path) -> None:
        model("train", root / "out/store.zarr", "--out", root / "model", "--force", "--set", *SMALL)

    def trained_by_two(root: Path) -> None:
        words = [*SMALL, "train.processes=2", "train.steps=12"]
        model("train", root / "out/store.zarr", "--out", root / "model", "--force", "--set", *words)

    def both(root: Path) -> None:
        imported(root)
        trained(root)

    def evaluated(root: Path) -> None:
        model("evaluate", root / "out/store.zarr", root / "model", "--set", "evaluate.threads=1")

    def simulated(root: Path) -> None:
        if not (root / "bids").exists():  # one that is whole is not made again
            data("simulate", "--out", root / "bids", *SIMULATED)

    def fetched(root: Path) -> None:
        data("fetch", "openneuro", DS, root / "bids", "--url", url)

    by_hand = ["--set", f"input={{kind: arrays, path: {series}, tr_s: 1.0}}", "bundle_size=4", "--outdir"]

    def first_stages(root: Path) -> None:
        for stage in ("template", "atlas", "input"):
            if stage == "input":
                data("run", stage, *by_hand, root / "out")

    return [
        Target("import", imported, store="out/store.zarr"),
        Target("import --force", replaced, imported, store="out/store.zarr"),
        Target("stage by hand", lambda root: data("run", "imported", *by_hand, root / "out"), first_stages),
        Target("bundles", lambda root: dag(series, root / "out", 1), store="out/store.zarr"),
        Target("bundles with workers", lambda root: dag(series, root / "out", 3), store="out/store.zarr"),
        Target("collate again", lambda root: dag(more, root / "out", 1), lambda root: dag(series, root / "out", 1),
               "out/store.zarr"),
        Target("export", lambda root: data("export", root / "out/store.zarr", root / "npy", "--to", "npy", "--force"),
               imported),
        Target("train", trained, imported),
        Target("embed", lambda root: model("embed", root / "model", root / "out/store.zarr", "--out", root / "e.tsv"),
               both),
        Target("evaluate", evaluated, both),
        Target("simulate", simulated),
        Target("fetch", fetched),
        Target("several train", trained_by_two, imported, hits=(group, alone, trainer)),
        Target("snakemake", lambda root: snakemake(series, root), store="out/store.zarr", hits=(group, alone)),
    ]  # fmt: skip


def tree(root: Path) -> Tree:
    """Every file below a folder -> digest of its content; of what holds times, its name alone."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if ".snakemake" in path.parts:  # Snakemake's own
            continue
        if path.is_dir():
            if not any(path.iterdir()) and path.name != "scratch":
                found[name] = "an empty folder"
        elif "work" in path.relative_to(root).parts or ".flat." in name or path.name == "index.html":
            found[name] = ""
        elif path.name == "log.csv":  # seconds of each step
            rows = [line.split(",") for line in path.read_text().splitlines()]
            place = rows[0].index("seconds")
            found[name] = str([row[:place] + row[place + 1 :] for row in rows])
        elif path.name == "SHA256SUMS":  # that of log.csv has the seconds in it
            found[name] = str([line for line in path.read_text().splitlines() if not line.endswith("  log.csv")])
        elif path.name == ".fetched.tsv":  # in the order in which files came
            found[name] = str(sorted(set(path.read_text().splitlines())))
        else:
            found[name] = digest(path)
    return found


def values(store: Path) -> str:
    """Digest of all series of a store; "an error" where it is refused. NaN where there was data is another digest."""
    from brainlm_data import open_store

    try:
        opened = open_store(store)
        content = [opened.series(name).tobytes() for name in opened.attrs["recordings"]["id"]]
        return hashlib.sha256(b"".join(content)).hexdigest()
    except BrainLMError:
        return "an error"


def series_of(folder: Path, count: int) -> Path:
    """A folder with so many people's series of five parcels."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        walk = np.random.default_rng(number).standard_normal((130 + number, 5)).cumsum(0)
        np.save(folder / f"sub-{number:02d}_task-rest.npy", walk.astype(np.float32))
    return folder


class Killer:
    """Runs commands in forks of this process, which imports whatever one of them has imported."""

    def __init__(self, folder: Path) -> None:
        self.log, self._modules = folder / "log.txt", folder / "modules.txt"

    def learn(self) -> None:
        """Import what the last command that ended had imported: the next one is as fast as its own work."""
        names = self._modules.read_text().split() if self._modules.exists() else []
        for name in names:
            if name not in sys.modules and "__main__" not in name:
                with contextlib.suppress(Exception):  # a module that nobody imports by its name
                    importlib.import_module(name)

    def run(
        self, call: Callable[[Path], None], root: Path, kill_after: float | None = None, hit: Hit = group
    ) -> int | None:
        """Exit status of a command; None where it was killed, as `hit` does, after so many seconds."""
        pid = os.fork()
        if pid == 0:
            self._be(call, root)
        limit = None if kill_after is None else time.monotonic() + kill_after
        while True:
            done, status = os.waitpid(pid, os.WNOHANG if limit else 0)
            if done:
                return os.waitstatus_to_exitcode(status)
            if limit and time.monotonic() >= limit:
                hit(pid)
                os.waitpid(pid, 0)
                return None
            time.sleep(0.0005)

    def values(self, root: Path, store: str) -> str:
        """`values` of a store below `root`; in a fork, because zarr starts threads, after which nobody may fork."""
        if not store:
            return ""
        result = self.log.with_name("values.txt")
        result.unlink(missing_ok=True)

        def note(_: Path) -> None:
            result.write_text(values(root / store))

        self.run(note, root)
        return result.read_text()

    def _be(self, call: Callable[[Path], None], root: Path) -> None:
        """In the fork: the command, in a process group of its own, with what it says in a file."""
        code = 1
        try:
            os.setsid()
            with self.log.open("w") as stream:
                for descriptor in (1, 2):
                    os.dup2(stream.fileno(), descriptor)
            call(root)
            self._modules.write_text("\n".join(sys.modules))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


@dataclass
class Report:
    """What became of the tries. `fell`: kind of command -> what was wrong."""

    tried: int = 0
    killed: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    fell: dict[str, list[str]] = field(default_factory=dict)
    failed: int = 0

    def content(self) -> dict[str, Any]:
        """As JSON."""
        fell = {kind: found[:5] for kind, found in self.fell.items()}
        return {"tried": self.tried, "survived": self.tried - self.failed, "kills": self.killed,
                "by_kind": dict(self.by_kind), "fell": fell}  # fmt: skip


class Attack:
    """Commands, what they leave undisturbed, and how long they take."""

    def __init__(self, folder: Path, url: str, only: str = "") -> None:
        self.root, self._kept, self.report = folder / "root", folder / "kept", Report()
        series = series_of(folder / "series", 8), series_of(folder / "more", 11)
        self.targets = [target for target in targets(*series, url) if only in target.name]
        self.killer = Killer(folder)
        self.expected: dict[str, tuple[Tree, float, set[str]]] = {}
        for target in self.targets:
            self._prepare(target)
            allowed = {"an error", self.killer.values(self.root, target.store)}
            self._undisturbed(target)
            self.killer.learn()
            self._prepare(target)
            seconds = self._undisturbed(target)
            allowed.add(self.killer.values(self.root, target.store))
            self.expected[target.name] = tree(self.root), seconds, allowed

    def _undisturbed(self, target: Target) -> float:
        """Run a command to its end; how many seconds it took."""
        begun = time.monotonic()
        if self.killer.run(target.run, self.root):
            raise RuntimeError(f"{target.name}: {self.killer.log.read_text()}")
        return time.monotonic() - begun

    def _prepare(self, target: Target) -> None:
        """The folder as it is before the command, always at the same path."""
        kept = self._kept / target.name
        shutil.rmtree(self.root, ignore_errors=True)
        if not kept.exists():
            self.root.mkdir(parents=True)
            if self.killer.run(target.before, self.root):
                raise RuntimeError(f"before {target.name}: {self.killer.log.read_text()}")
            shutil.copytree(self.root, kept, copy_function=shutil.copy2)
            return
        shutil.copytree(kept, self.root, copy_function=shutil.copy2)

    def attack(self, source: random.Random) -> None:
        """One try."""
        target = source.choice(self.targets)
        tree_of_none, seconds, allowed = self.expected[target.name]
        self._prepare(target)
        wrong: list[str] = []
        for _ in range(source.choice((1, 2, 4))):
            after, hit = source.uniform(0, 1.05 * seconds), source.choice(target.hits)
            self.report.killed += self.killer.run(target.run, self.root, after, hit) is None
            if self.killer.values(self.root, target.store) not in allowed:
                wrong.append("other values could be read after the kill")
        if self.killer.run(target.run, self.root):
            wrong.append(f"the next run failed: {self.killer.log.read_text().strip()[-300:]}")
        wrong += [f"lives on: {words[:200]}" for words in self._left()]
        found = tree(self.root)
        differing = sorted(n for n in found.keys() | tree_of_none.keys() if found.get(n) != tree_of_none.get(n))
        wrong += [f"{name}: {_how(name, found, tree_of_none)}" for name in differing]
        self.report.tried += 1
        self.report.by_kind[target.name] += 1
        self.report.failed += bool(wrong)
        if wrong:
            self.report.fell.setdefault(target.name, []).extend(wrong)

    def _left(self) -> list[str]:
        """Processes of killed commands that have not ended by themselves."""
        end = time.monotonic() + PATIENCE_S
        while (left := [words for _, words in processes(f"{self.root}/")]) and time.monotonic() < end:
            time.sleep(0.2)
        return left


def _how(name: str, found: Tree, expected: Tree) -> str:
    return "left behind" if name not in expected else "missing" if name not in found else "other bytes"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Attack, print the report as JSON, and return it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="commands whose name contains this")
    options = parser.parse_args(argv)
    source = random.Random(options.seed)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=bucket, args=(theirs,), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(Path(folder), ours.recv(), options.only)
        for _ in range(options.tries):
            attack.attack(source)
    server.kill()
    content = attack.report.content()
    print(json.dumps(content, indent=2))
    return content


if __name__ == "__main__":
    main()
