"""Every file is read inside `reads`: whatever a damaged one makes of its parser becomes one line with the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainlm_data.errors import BrainLMError, InputError

LONGEST = 200  # characters of what a parser says
RUN_AGAIN = "`brainlm-data verify` names all that is damaged in a run; delete it and run the same command again"


@contextmanager
def reads(path: Path, remedy: str = RUN_AGAIN, error: type[BrainLMError] = InputError) -> Iterator[None]:
    """Around the lines that read a file, and around nothing else.

    A cut or flipped file makes parsers raise nearly anything (BadZipFile, EOFError, KeyError, zlib.error, MemoryError
    for a header that claims 745 GiB), so all of it counts.

    Parameters
    ----------
    remedy: how this kind of file is made or fetched again.
    error: `Refused` for a file of one recording, `InputError` for one that all of them need.

    Raises
    ------
    error: names the file, in one line. An error that is one of ours already goes through as it is.
    """
    try:
        yield
    except BrainLMError:
        raise
    except Exception as problem:
        raise error(f"{path}: {_in_words(problem)}", remedy) from problem


def _in_words(problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return "there is no such file"
    if isinstance(problem, KeyError):
        return f"damaged, or of another kind: it has no {problem.args[0] if problem.args else 'such part'}"
    return f"cannot be read ({reason_of(problem)})"


def reason_of(problem: Exception) -> str:
    """What a parser says, in one short line, without its advice to load what nobody should."""
    said = (problem.strerror if isinstance(problem, OSError) else None) or str(problem)
    if "allow_pickle" in said or "Python objects" in said:
        return "no array, or one of Python objects, which are never loaded"
    return " ".join(said.split())[:LONGEST] or type(problem).__name__
