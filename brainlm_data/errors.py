"""The exceptions of this project, in one tree.

    BrainLMError            anything that a person can fix; printed as one line, exit status 2
    |-- ConfigError         a key of config.yaml is unknown, of the wrong type or impossible
    |-- InputError          an input that is missing, unreadable or contradictory; stops the run
    `-- Refused             ONE recording (or subject) cannot be processed, and never will be as it is:
                            it is written into the manifest with its reason and the others go on

Everything else (out of memory, disk full, a bug) is a crash: it fails the job, so that it is retried. `in_words` makes
one line of it as well.
"""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

REMEDIES = {
    errno.ENOSPC: "the disk is full: free space there, or choose another folder; what is finished is kept",
    errno.EDQUOT: "the quota is used up: free space there, or choose another folder; what is finished is kept",
    errno.EFBIG: "larger than this file system, or `ulimit -f`, allows: raise the limit, or choose another folder",
    errno.EROFS: "the file system is mounted read-only: choose another folder",
    errno.EACCES: "change its permissions, or choose another path",
    errno.EPERM: "change its permissions, or choose another path",
    errno.ENOENT: "give a path that exists; what a run has made and lost, the same command makes again",
    errno.ENOTDIR: "a file stands where a folder should be: choose another path",
    errno.EISDIR: "a folder stands where a file should be: choose another path",
    errno.EEXIST: "something of this name is there already: choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk, or the network to it, fails: look at it, then run the same command again",
    errno.ESTALE: "the network file system lost the file: run the same command again",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}
NEARLY = 0.7  # words this alike are one word with a mistake (difflib's ratio: twice the shared letters over all)
FRAMES = 4  # of a crash: how many of the innermost lines of this project are named


class BrainLMError(Exception):
    """An error with a remedy.

    Parameters
    ----------
    message: what is wrong, naming the file or key.
    remedy: what to do about it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = one_line(message)
        self.remedy = one_line(remedy)
        super().__init__(f"{self.message} -> {self.remedy}" if remedy else self.message)

    def __reduce__(self) -> tuple[type[BrainLMError], tuple[str, str]]:
        """From another process it comes with its remedy."""
        return type(self), (self.message, self.remedy)


class ConfigError(BrainLMError):
    """The configuration is not valid."""


class InputError(BrainLMError):
    """An input that the whole run needs is missing or unusable."""


class Refused(BrainLMError):
    """This one recording (or subject) cannot be processed; its neighbours go on."""


def one_line(text: str) -> str:
    """Text in which line breaks and other control characters, as a file name may have them, are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def alike(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known words that were probably meant, the nearest first; upper and lower case are the same."""
    by_lower = {str(name).lower(): str(name) for name in known}
    return [by_lower[near] for near in difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=NEARLY)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean filter?`, or nothing."""
    return "".join(f"did you mean {name}?" for name in alike(word, known, most=1))


def in_words(error: BaseException, place: Path | None = None) -> BrainLMError:
    """Any exception as an error of one line with its remedy: the one place that puts failures from below into words.

    Parameters
    ----------
    place: the folder that was being written, where the exception itself names no file.
    """
    if isinstance(error, BrainLMError):
        return error
    number = _number(error)
    if number is not None or isinstance(error, OSError):
        where = getattr(error, "filename", None) or place or "a file"
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        remedy = REMEDIES.get(number or 0, "look at this path, then run it again")
        return BrainLMError(f"{_text(where)}: {why}", remedy)
    if isinstance(error, MemoryError):
        return BrainLMError(f"out of memory {error}".strip(), "a machine with more memory, or fewer workers")
    if isinstance(error, BrokenProcessPool):
        return BrainLMError(
            "a worker process was killed, for its memory as a rule", "a machine with more memory, or fewer workers"
        )
    return BrainLMError(
        f"unexpected {type(error).__name__}: {error} (at {_place_of(error)})",
        "--debug shows the whole traceback; report it with the input that leads to it",
    )


def _number(error: BaseException) -> int | None:
    """The errno of a failure of the operating system, also where a library holds it in its text alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if match := re.search(r"os error (\d+)", str(error)):  # of libraries in Rust
        return int(match.group(1))
    if isinstance(error, OSError) and re.search(r"\d+ requested and \d+ written", str(error)):  # of NumPy
        return errno.ENOSPC
    return None


def _text(where: object) -> str:
    return where.decode(errors="backslashreplace") if isinstance(where, bytes) else str(where)


def _place_of(error: BaseException) -> str:
    """The innermost lines of this project that an exception came through, outermost first."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{path.parent.name}/{path.name}:{line}" for path, line in frames if "brainlm_" in str(path.parent)]
    return " < ".join(reversed(own[-FRAMES:])) or "an unknown place"
