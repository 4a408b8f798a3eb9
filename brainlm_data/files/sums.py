"""SHA256SUMS: the digests of a folder's files, as `sha256sum -c SHA256SUMS` reads them.

A store's tables, a model and an export each have one beside them. Readers compare the file that they read; a folder
without SHA256SUMS (of an earlier release, or put together by hand) is read as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from brainlm_data.errors import InputError
from brainlm_data.files.reads import reads
from brainlm_data.files.sidecar import digest, write_text

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
CHANGED = f"if you changed it yourself, take its line out of {SUMS}"


def write_sums(path: Path, files: Mapping[str, Path]) -> None:
    """Write SHA256SUMS. `files`: by their names below the folder, with `/`."""
    write_text(path, "".join(f"{digest(file)}  {name}\n" for name, file in sorted(files.items())))


def sum_folder(folder: Path) -> None:
    """SHA256SUMS of all that is in a folder."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file() and p.name != SUMS}
    write_sums(folder / SUMS, files)


def read_sums(folder: Path) -> dict[str, str]:
    """Name -> sha256, empty where the folder has no SHA256SUMS. Raises InputError where that is damaged."""
    path = folder / SUMS
    if not path.exists():
        return {}
    with reads(path, "delete it: what it lists is then read without being compared"):
        sums = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            match = LINE.fullmatch(line)
            if match is None:
                raise ValueError(f"the line {line[:80]!r} is no digest and name")
            sums[match[2]] = match[1]
    return sums


def check_sum(path: Path, remedy: str) -> None:
    """Compare a file with the SHA256SUMS beside it; one that is not listed there is not compared.

    Raises
    ------
    InputError: another content than when it was written, or gone.
    """
    wanted = read_sums(path.parent).get(path.name)
    if wanted is not None and (problem := sum_problem(path, wanted)):
        raise InputError(f"{path}: {problem}", f"{remedy}; {CHANGED}")


def sum_problem(path: Path, wanted: str) -> str:
    """Why a file is not what its line in SHA256SUMS says, in words; empty where it is."""
    if not path.exists():
        return f"gone ({SUMS} lists it)"
    with reads(path):
        return "" if digest(path) == wanted else f"damaged or changed (its sha256 is not that in {SUMS})"
