"""Whether a file of a person can be read at all, before anything waits for it or takes its digest."""

from __future__ import annotations

from pathlib import Path

from brainlm_data.errors import Refused

POINTERS = (b"/annex/objects/", b"version https://git-lfs")  # what stands in a file whose content is elsewhere
POINTER = "its content is not here: the file is a pointer of git-annex or git-lfs"
FETCH = "fetch its content: datalad get, git annex get, git lfs pull"
SMALL = 1024  # bytes: a file of this size may be a pointer


def check_present(path: Path) -> None:
    """Raises Refused for a path that is no file, or one that must not be read; a pipe is never opened."""
    try:
        if not path.exists():
            raise Refused(f"{path}: there is no such file", FETCH)
        if path.is_dir():
            return  # what is unpacked there; whoever reads it looks for its files
        if not path.is_file():
            raise Refused(f"{path}: not a regular file (a pipe, a socket or a device)", "put the file itself there")
        with path.open("rb") as stream:
            start = stream.read(SMALL)
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})", "check its permissions, copy it again") from error
    if not start:
        raise Refused(f"{path}: an empty file", "export or download it again")
    if start.startswith(POINTERS):
        raise Refused(f"{path}: {POINTER}", FETCH)
