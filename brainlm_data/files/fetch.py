"""Files of others: from an explicit path, the cache folder, FSL's copy, or a pinned address with its sha256."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import atomic

TIMEOUT_S = 30


@dataclass(frozen=True)
class Remote:
    """A published file: its name in the cache, its pinned address, its digest, whose it is, and where else it lies."""

    name: str
    url: str
    sha256: str
    licence: str
    same_as: str = ""


def cache_folder() -> Path:
    """BRAINLM_DATA_HOME, by default the user's cache folder."""
    home = os.environ.get("BRAINLM_DATA_HOME")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(home) if home else (Path(base) if base else Path.home() / ".cache") / "brainlm"


def is_cached(remote: Remote) -> bool:
    """True where the file is in the cache already."""
    return (cache_folder() / remote.name).exists()


@dataclass(frozen=True)
class Wanted:
    """A published file that a stage needs, and the config key that takes a path instead of it."""

    remote: Remote
    key: str


def obtain(remote: Remote, key: str) -> Path:
    """One file; as `obtain_all`, which says more."""
    return obtain_all([Wanted(remote, key)])[0]


def obtain_all(wanted: Sequence[Wanted], later: Sequence[Wanted] = ()) -> list[Path]:
    """The files, each from the cache, else where the same file is known to lie, else downloaded into the cache.

    Parameters
    ----------
    later: files that others need. They are not fetched; but where one of `wanted` cannot be had, those of them that are
        not here are named with it: who brings files to a machine without a network does it once.

    Raises
    ------
    InputError: some are neither here nor downloadable, all of which it names; or a digest is wrong.
    """
    paths, missing, why = list[Path](), list[Wanted](), ""
    for each in wanted:
        try:
            paths.append(_here(each.remote) or _downloaded(each.remote))
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError; a cut answer is the other
            missing.append(each)
            why = why or str(error)
    if missing:
        missing += [each for each in later if each not in missing and _here(each.remote) is None]
        names = ", ".join(each.remote.name for each in missing)
        raise InputError(f"{names}: not in the cache, and could not be downloaded ({why})", _by_hand(missing))
    return paths


def _here(remote: Remote) -> Path | None:
    """The file in the cache, or where the same file is known to lie; None where it is in neither place."""
    place = cache_folder() / remote.name
    if place.exists():
        return checked(place, remote.sha256)
    copy = Path(os.path.expandvars(remote.same_as))
    if copy.is_absolute() and copy.is_file() and hashlib.sha256(copy.read_bytes()).hexdigest() == remote.sha256:
        return copy
    return None


def _downloaded(remote: Remote) -> Path:
    """The file, downloaded into the cache. Raises OSError or HTTPException where it cannot be had."""
    with urllib.request.urlopen(remote.url, timeout=TIMEOUT_S) as answer:  # an https address from this package
        content = answer.read()
    found = hashlib.sha256(content).hexdigest()
    if found != remote.sha256:
        raise InputError(f"{remote.url}: sha256 {found}, expected {remote.sha256}", "another file lies there now")
    place = cache_folder() / remote.name
    with atomic(place) as temporary:
        temporary.write_bytes(content)
    return place


def _by_hand(missing: Sequence[Wanted]) -> str:
    """How a person brings the files."""
    puts = []
    for each in missing:
        also = f"; the same file is {each.remote.same_as}" if each.remote.same_as else ""
        puts.append(f"{cache_folder() / each.remote.name} (from {each.remote.url}{also})")
    keys = ", ".join(each.key for each in missing)
    return f"put there by hand: {', '.join(puts)}; or give {'a path' if len(missing) == 1 else 'paths'}: {keys}"


def checked(path: Path, sha256: str) -> Path:
    """The path, if its content has this digest. Raises InputError otherwise."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise InputError(f"{path}: sha256 {found}, expected {sha256}", "delete it, so that it is downloaded again")
    return path
