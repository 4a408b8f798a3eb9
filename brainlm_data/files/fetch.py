"""Files of others: from an explicit path, the cache folder, FSL's copy, or a pinned address with its sha256."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
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


def obtain(remote: Remote, key: str) -> Path:
    """The file, from the cache, else where the same file is known to lie, else downloaded into the cache.

    Parameters
    ----------
    key: the config key that takes a path instead, for the error message.

    Raises
    ------
    InputError: not in the cache and not downloadable, or its digest is wrong.
    """
    place = cache_folder() / remote.name
    if place.exists():
        return checked(place, remote.sha256)
    copy = Path(os.path.expandvars(remote.same_as))
    if copy.is_absolute() and copy.is_file() and hashlib.sha256(copy.read_bytes()).hexdigest() == remote.sha256:
        return copy
    also = f"; the same file is {remote.same_as}" if remote.same_as else ""
    remedy = f"put it at {place} (from {remote.url}{also}), or give its path: {key}"
    try:
        with urllib.request.urlopen(remote.url, timeout=TIMEOUT_S) as answer:  # an https address from this package
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError; a cut answer is the other
        raise InputError(f"{remote.name} is not in the cache and could not be downloaded ({error})", remedy) from error
    found = hashlib.sha256(content).hexdigest()
    if found != remote.sha256:
        raise InputError(f"{remote.url}: sha256 {found}, expected {remote.sha256}", remedy)
    with atomic(place) as temporary:
        temporary.write_bytes(content)
    return place


def checked(path: Path, sha256: str) -> Path:
    """The path, if its content has this digest. Raises InputError otherwise."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise InputError(f"{path}: sha256 {found}, expected {sha256}", "delete it, so that it is downloaded again")
    return path
