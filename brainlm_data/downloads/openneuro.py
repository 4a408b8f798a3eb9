"""A data set of OpenNeuro (docs.openneuro.org): its newest version, from the public bucket, into a BIDS folder."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from brainlm_data.downloads.s3 import Bucket, Item, below
from brainlm_data.errors import ConfigError, InputError
from brainlm_data.files.lock import beside
from brainlm_data.files.progress import Progress
from brainlm_data.files.space import check_space
from brainlm_data.paths import not_plain

URL = "https://s3.amazonaws.com/openneuro.org"
DATASET = re.compile(r"ds\d{6,}")
DATATYPES = ("anat", "func", "fmap")
DONE = ".fetched.tsv"  # ETag and path of what is in place, one per line
SHOWN = 5


@dataclass(frozen=True)
class Wanted:
    """What to fetch: `dataset` (ds000030), labels of participants (empty: all), folders of data (empty: all)."""

    dataset: str
    participants: Sequence[str] = ()
    datatypes: Sequence[str] = DATATYPES


def listed(bucket: Bucket, wanted: Wanted) -> list[Item]:
    """The files of a data set: those at its top, and those of the participants.

    Raises
    ------
    ConfigError: no accession number. InputError: there is no such data set or participant.
    """
    if not DATASET.fullmatch(wanted.dataset):
        raise ConfigError(f"{wanted.dataset}: no accession number of OpenNeuro", "ds and six digits, as ds000030")
    prefix = f"{wanted.dataset}/"
    folders, items = bucket.folders(prefix)
    if not items and not folders:
        raise InputError(
            f"{wanted.dataset}: not found at {bucket.url}", "check the number, and that the data set is public"
        )
    there = [folder.split("/")[-2] for folder in folders if folder.startswith(f"{prefix}sub-")]
    asked = [f"sub-{label.removeprefix('sub-')}" for label in wanted.participants] or there
    if unknown := sorted(set(asked) - set(there)):
        raise InputError(
            f"{wanted.dataset}: no {', '.join(unknown)}; there are {len(there)}: {', '.join(there[:SHOWN])}, ...",
            "give --participant-label one of these",
        )
    for subject in asked:
        own = [i for i in bucket.items(f"{prefix}{subject}/") if _is_wanted(i.key, wanted.datatypes)]
        items += [item for item in own if _is_plain(item.key)]
    return items


def _is_plain(key: str) -> bool:
    """False, with a line on stderr, for a participant's file whose name could be read as words of a command."""
    problem = not_plain(*(part.lstrip(".") for part in key.split("/")))
    if problem:
        print(f"fetch: left aside {key}: {problem}", file=sys.stderr, flush=True)
    return problem is None


def _is_wanted(key: str, datatypes: Sequence[str]) -> bool:
    """Files of these datatypes, and those that stand above them (scans.tsv, sessions.tsv)."""
    folder = key.split("/")[-2]
    return not datatypes or folder in datatypes or folder.startswith(("sub-", "ses-"))


def fetch(bucket: Bucket, wanted: Wanted, outdir: Path, connections: int = 4, dry: bool = False) -> dict[str, int]:
    """Fetch what is not in place; each file whole or not at all. `dry`: only counts.

    Returns
    -------
    files and bytes: of the data set as wanted; fetched: files that came now.

    Raises
    ------
    InputError: some files could not be fetched (the others are in place), or what `listed` raises.
    """
    items = listed(bucket, wanted)
    prefix = f"{wanted.dataset}/"
    targets = {item: below(item.key, prefix, outdir) for item in items if item.key != f"{prefix}{DONE}"}
    items = list(targets)
    counts = {"files": len(items), "bytes": sum(item.size for item in items), "fetched": 0}
    if dry:
        return counts
    with beside(outdir, "fetching"):
        outdir.mkdir(parents=True, exist_ok=True)
        done = _done(outdir / DONE)
        left = [i for i in items if not _in_place(targets[i], i, done.get(targets[i].relative_to(outdir).as_posix()))]
        check_space(outdir, sum(item.size for item in left), "this data set", "fetch fewer participants, or elsewhere")
        progress, recording = Progress("fetch", sum(item.size for item in left) / 1e6, " MB"), threading.Lock()
        failed: list[str] = []
        with (outdir / DONE).open("a", encoding="utf-8") as record, ThreadPoolExecutor(connections) as pool:

            def one(item: Item) -> None:
                try:
                    bucket.get(item, targets[item], lambda count: progress.add(count / 1e6))
                except InputError as error:
                    failed.append(f"{error}")
                    return
                with recording:
                    record.write(f"{item.etag}\t{targets[item].relative_to(outdir).as_posix()}\n")
                    record.flush()

            list(pool.map(one, left))
    counts["fetched"] = len(left) - len(failed)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(items)} files could not be fetched: {'; '.join(sorted(failed)[:SHOWN])}",
            "run the same command again: it fetches what is missing",
        )
    return counts


def _done(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    pairs = (line.split("\t", 1) for line in file.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return {name: etag for etag, name in pairs}


def _in_place(target: Path, item: Item, etag: str | None) -> bool:
    """A file was checked before it got its name; the same ETag means that it has not changed since."""
    return etag == item.etag and target.is_file() and target.stat().st_size == item.size
