"""Damage at rest: one file of a store, a run, a model or an export is not what was written, and every reader is asked.

    python -m tests.attacks.flips --hours .2 --seed 1       # JSON: tried, survived, what fell out
    python -m tests.attacks.flips --case 1:17               # one case again, with its traceback
    python -m tests.attacks.flips --outdir results          # of a copy of a run: images, tables, figures; verify alone

A case flips a bit, cuts, empties, deletes a file or puts a folder in its place, with its old mtime or a new one. A
reader must then give the very values of before, or one line; `verify` must find it. What was changed is put back.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data.cli import main as brainlm_data
from brainlm_data.errors import BrainLMError
from brainlm_data.files.reads import reads

KINDS = ("flip", "flip", "flip", "cut", "empty", "delete", "folder")
SMALL = [  # of section train
    "train.window=60", "train.patch=20", "train.threads=1", "train.width=8", "train.heads=1", "train.hidden=8",
    "train.depth=1", "train.decoder_depth=1", "train.batch_size=2", "train.steps=2", "train.device=cpu",
]  # fmt: skip
UNSEEN = ("work/receipts/", "work/listing/", "work/logs/", "work/index.json", "work/bundles", "work/lock",
          "work/planned", "work/to-do-again", "work/collate/cohort.state/", "derivatives/dataset_description.json",
          "derivatives/.bidsignore", ".store.zarr.flat", "SHA256SUMS")  # fmt: skip
Reader = Callable[[Path], Any]


# ---- what is damaged ----


def sample(folder: Path) -> dict[str, Path]:
    """By kind: the folder of an import, of a run (on the same series), of a model, of exports, and of embeddings."""
    series = folder / "in"
    series.mkdir(parents=True)
    for number in range(1, 7):
        values = np.random.default_rng(number).standard_normal((130 + number, 5)).cumsum(0)
        np.save(series / f"sub-{number:02d}_task-rest.npy", values.astype(np.float32))
    roots = {name: folder / name for name in ("import", "run", "model", "npy", "hf", "cifti", "e.zarr")}
    labels = folder / "labels.tsv"
    rows = [f"{n}\tp{n}\t{10 * n}\t{-8 * n}\t{6 * n}\n" for n in range(1, 6)]
    labels.write_text("".join(["index\tname\tx\ty\tz\n", *rows]))
    split = ("--tr", 1, "--test", 0.3, "--validation", 0.2, "--atlas-labels", labels)
    _call(brainlm_data, "import", "arrays", series, roots["import"], *split)
    run(series, roots["run"])
    from brainlm_model.cli import main as brainlm_model

    store = roots["import"] / "store.zarr"
    _call(brainlm_model, "train", store, "--out", roots["model"], "--set", *SMALL)
    for name in ("npy", "hf", "cifti"):
        _call(brainlm_data, "export", store, roots[name], "--to", name)
    _call(brainlm_model, "embed", roots["model"], store, "--out", roots["e.zarr"])
    windows(roots["import"])  # leaves the cache
    return roots


def run(series: Path, outdir: Path) -> None:
    """The stages of an import up to the store, as the rules would run them; what stands is left alone."""
    from brainlm_data.graph.dag import Dag
    from brainlm_data.graph.edges import load_job
    from brainlm_data.pipeline import STAGES
    from brainlm_data.runner.bundle import run_bundle

    raw = {"input": {"kind": "arrays", "path": str(series), "tr_s": 1.0}, "outdir": str(outdir), "bundle_size": 3,
           "collate": {"validation": 0.2, "test": 0.3}}  # fmt: skip
    dag = Dag(raw, STAGES)
    dag.prepare()
    stages = list(dag.stages.values())
    redone = dag.plan.redone
    with dag.begin([]):
        for stage in stages:
            for bundle in dag.bundles.by_level[stage.level]:
                path = dag[stage.name].path(bundle)
                if bundle in redone[stage.name] or not path.exists():
                    with contextlib.redirect_stderr(io.StringIO()):
                        run_bundle(load_job(stages, stage.name, outdir, bundle, dag[stage.name].signature))
        dag.finish()


def _call(main: Callable[[list[str]], int], *words: Any) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main([str(word) for word in words])
    if status:
        raise BrainLMError(said.getvalue().strip().splitlines()[-1])


# ---- what reads it ----


def store(root: Path) -> Any:
    """All that a store says, by its own reader and by xarray."""
    from brainlm_data import open_store

    opened = open_store(root / "store.zarr")
    ids = opened.attrs["recordings"]["id"]
    scaler = opened.scaler
    with reads(root):  # xarray reads when it is asked, with errors of its own
        lazily = {name: opened.dataset[name].to_numpy() for name in ("bold", "valid")}
    return [
        [opened.series(name) for name in ids], [opened.valid(name) for name in ids], opened.recordings.to_csv(),
        opened.parcels.to_csv(), repr(opened.attrs), opened.rate_hz, scaler and [scaler.median, scaler.iqr],
        lazily,
    ]  # fmt: skip


def card(root: Path) -> Any:
    """The card beside a store."""
    from brainlm_data import Card

    return Card.read(root).content()


def windows(root: Path) -> Any:
    """What training reads."""
    from brainlm_model import WindowDataset

    found = []
    for split in ("train", "validation", "test"):
        data = WindowDataset(root / "store.zarr", split, 60)
        found += [data.ids, data.windows(range(len(data))).numpy(), [data.series(i) for i in range(len(data))]]
    return found


def model(root: Path) -> Any:
    """A model: weights, scaler, card, what it was trained with."""
    from brainlm_model import load

    loaded = load(root)
    weights = {name: value.numpy() for name, value in loaded.network.state_dict().items()}
    return [weights, loaded.scaler.median, loaded.scaler.iqr, loaded.card.model_dump(), loaded.training]


def embedding(root: Path) -> Any:
    """A model in use."""
    from brainlm_model import load

    return load(root).embed(np.random.default_rng(0).standard_normal((130, 5)).astype(np.float32))


def exported(root: Path) -> Any:
    """An export of the store: its files, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        _call(brainlm_data, "export", root / "store.zarr", out, "--to", "npy")
        return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


READERS: dict[str, list[Reader]] = {
    "import": [store, card, windows, exported], "run": [store, card], "model": [model, embedding],
}  # fmt: skip


# ---- the attack ----


@dataclass(frozen=True)
class Case:
    """A damage: of which root, which file below it, how, and whether its mtime stays."""

    root: str
    file: str
    kind: str
    place: float  # share of the file's size
    bit: int
    keeps_time: bool


@dataclass
class Report:
    """What became of the cases. `fell`: kind of fault -> the cases, as `--case` takes them."""

    tried: int = 0
    right: int = 0
    refused: int = 0
    fell: dict[str, list[str]] = field(default_factory=dict)
    by_kind: Counter[str] = field(default_factory=Counter)

    def content(self) -> dict[str, Any]:
        """As JSON."""
        fell = {kind: cases[:5] for kind, cases in sorted(self.fell.items())}
        count = len({case for cases in self.fell.values() for case in cases})
        return {"tried": self.tried, "survived": self.tried - count, "readings_right": self.right,
                "readings_refused": self.refused, "by_kind": dict(self.by_kind), "fell": fell}  # fmt: skip


class Attack:
    """A sample that is damaged and put back again and again."""

    def __init__(self, folder: Path, outdir: Path | None = None) -> None:
        self.series, self.report = folder / "sample/in", Report()
        if outdir is None:
            self.roots = {name: root for name, root in sample(folder / "sample").items() if root.exists()}
        else:
            self.roots = {"outdir": Path(shutil.copytree(outdir, folder / "outdir"))}
        self._pristine = folder / "pristine"
        self._stat: dict[Path, tuple[int, int]] = {}
        self._damaged: Path | None = None  # it may have the size and mtime of before
        for name, root in self.roots.items():
            shutil.copytree(root, self._pristine / name, copy_function=shutil.copy2)
            for file in (self._pristine / name).rglob("*"):
                if file.is_file():
                    self._stat[root / file.relative_to(self._pristine / name)] = _stat(file)
        self.expected = {
            (name, reader): reader(root) for name, root in self.roots.items() for reader in READERS.get(name, [])
        }
        self.put_back()

    def draw(self, source: random.Random) -> Case:
        """A case: any kind of file as often as any other, however many there are of it."""
        root = source.choice(list(self.roots))
        files = [f.relative_to(self.roots[root]).as_posix() for f in self._stat if self.roots[root] in f.parents]
        kinds: dict[str, list[str]] = {}
        for file in sorted(files):
            kinds.setdefault(_kind_of(file), []).append(file)
        file = source.choice(kinds[source.choice(list(kinds))])
        return Case(root, file, source.choice(KINDS), source.random(), source.randrange(8), source.random() < 0.5)

    def attempt(self, case: Case) -> Iterator[str]:
        """Damage, read by all readers, verify, and put back; every fault in words."""
        self._damage(case)
        root = self.roots[case.root]
        for reader in READERS.get(case.root, []):  # the rest is for other programs
            try:
                found = reader(root)
            except BrainLMError as error:
                self.report.refused += 1
                if "\n" in str(error):
                    yield f"{reader.__name__}: two lines"
            except Exception as error:
                yield f"{reader.__name__}: {type(error).__name__} {_place(error)}"
            else:
                self.report.right += 1
                if not _same(found, self.expected[case.root, reader]):
                    yield f"{reader.__name__}: other values"
            self.put_back(besides=case)
        yield from self._verified(case)
        self.put_back()

    def _verified(self, case: Case) -> Iterator[str]:
        from brainlm_data.runner.verify import verify

        root = self.roots[case.root]
        unseen = case.file.startswith(UNSEEN) or (case.kind == "empty" and (root / case.file).is_dir())
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                verify(root)
            if not unseen and not self._is_whole(case):
                yield "verify: nothing found"
            return
        except BrainLMError:
            pass
        except Exception as error:
            yield f"verify: {type(error).__name__} {_place(error)}"
            return
        if case.root == "run" and case.kind != "folder":
            yield from self._mended(root)

    def _mended(self, root: Path) -> Iterator[str]:
        """The remedy of verify: the same run again, after which nothing is to be found."""
        from brainlm_data.runner.verify import verify

        try:
            run(self.series, root)
            with contextlib.redirect_stdout(io.StringIO()):
                verify(root)
            if not _same(store(root), self.expected["run", store]):
                yield "mended: other values"
        except Exception as error:
            yield f"mended: {type(error).__name__}: {error} {_place(error)}"

    def _is_whole(self, case: Case) -> bool:
        file = self.roots[case.root] / case.file
        return file.is_file() and file.read_bytes() == (self._pristine / case.root / case.file).read_bytes()

    def _damage(self, case: Case) -> None:
        file = self._damaged = self.roots[case.root] / case.file
        content = bytearray(file.read_bytes())
        at = int(case.place * max(len(content) - 1, 0))
        if case.kind in ("delete", "folder"):
            file.unlink()
            if case.kind == "folder":
                file.mkdir()
        else:
            if case.kind == "flip" and content:
                content[at] ^= 1 << case.bit
            changed = {"cut": content[:at], "empty": b""}.get(case.kind, content)
            file.write_bytes(changed)
        if case.keeps_time and file.exists():
            os.utime(file, ns=(self._stat[file][1],) * 2)

    def put_back(self, besides: Case | None = None) -> None:
        """Every file as it was (but for the damage of a case); nothing that was not there."""
        spared = None if besides is None else self.roots[besides.root] / besides.file
        for name, root in self.roots.items():
            for there in sorted(root.rglob("*"), reverse=True):
                known = self._stat.get(there)
                if there == spared or (there.is_dir() and known is None):
                    if there.is_dir() and there != spared and not any(there.iterdir()):
                        there.rmdir()
                elif known is None:
                    there.unlink()
                elif there.is_dir():
                    shutil.rmtree(there)
            for file, stat in self._stat.items():
                if (
                    root in file.parents
                    and file != spared
                    and (file == self._damaged or not file.exists() or _stat(file) != stat)
                ):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(self._pristine / name / file.relative_to(root), file)


def attack(
    folder: Path,
    seed: int,
    cases: int | None = None,
    seconds: float | None = None,
    only: int | None = None,
    outdir: Path | None = None,
) -> Report:
    """Cases of a seed: so many, or for so long; `only`: this one."""
    warnings.simplefilter("ignore")
    attack = Attack(folder, outdir)
    end, number = time.monotonic() + (seconds or 1e9), 0
    while number < (cases or 10**9) and time.monotonic() < end:
        case = attack.draw(random.Random(f"{seed} {number}"))
        if only is None or number == only:
            for fault in attack.attempt(case):
                named = f"{fault} [{case.root}: {_kind_of(case.file)}, {case.kind}]"
                attack.report.fell.setdefault(named, []).append(f"{seed}:{number}")
            attack.report.tried += 1
            attack.report.by_kind[f"{case.root}: {_kind_of(case.file)}"] += 1
        number += 1
    return attack.report


def _kind_of(file: str) -> str:
    """Files of one kind: their folder but for numbers and people, and their ending."""
    parts = Path(file).parts
    head = "/".join(part for part in parts[:-1] if not part.isdigit() and not part.startswith("sub-"))
    name = parts[-1].split("_")[-1] if parts[-1].startswith("sub-") else parts[-1]
    return re.sub(r"bundle-\d+", "bundle", f"{head}/{'N' if name.isdigit() else name}")


def _stat(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _place(error: BaseException) -> str:
    """The line of the product where it came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/brainlm_" in f.filename]
    return f"{frames[-1].filename[frames[-1].filename.index('/brainlm_') + 1 :]}:{frames[-1].lineno}" if frames else ""


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return isinstance(found, np.ndarray) and np.array_equal(found, expected, equal_nan=True)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_same(found[key], expected[key]) for key in expected)
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(_same, found, expected))
    return repr(found) == repr(expected)


def main() -> int:
    """Command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hours", type=float, default=0.02)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--case", help="SEED:NUMBER")
    options.add_argument("--outdir", type=Path, help="a finished run")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.case:
            seed, number = map(int, given.case.split(":"))
            report = attack(Path(folder), seed, cases=number + 1, only=number, outdir=given.outdir)
        else:
            report = attack(Path(folder), given.seed, seconds=given.hours * 3600, outdir=given.outdir)
    print(json.dumps(report.content(), indent=2))
    return 1 if report.fell else 0


if __name__ == "__main__":
    sys.exit(main())
