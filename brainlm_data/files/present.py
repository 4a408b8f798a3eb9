"""Whether a file of a person can be read at all, before anything waits for it or takes its digest."""

from __future__ import annotations

from pathlib import Path

from brainlm_data.errors import Refused


def check_present(path: Path) -> None:
    """Raises Refused for a path that is no file, or one that must not be read; a pipe is never opened."""
    try:
        if not path.exists():
            raise Refused(f"{path}: there is no such file", "fetch its content: datalad get, git annex get")
        if path.is_dir():
            return  # what is unpacked there; whoever reads it looks for its files
        if not path.is_file():
            raise Refused(f"{path}: not a regular file (a pipe, a socket or a device)", "put the file itself there")
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})", "check its permissions, copy it again") from error
