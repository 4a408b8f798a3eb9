"""Every failure is one line that names a path, or a place in the code, and a remedy."""

from __future__ import annotations

import argparse
import errno
import os
import pickle
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from brainlm_data import dispatch
from brainlm_data.errors import BrainLMError, InputError, in_words, one_line


def failing(call: Callable[[argparse.Namespace], None], out: Path, *words: str) -> int:
    """Exit status of a command that does this."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(call=call, out=out)
    return dispatch(parser, words)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EXDEV])
@pytest.mark.parametrize("file", [None, "named\nfile"])
def test_failures_of_the_system(
    number: int, file: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: argparse.Namespace) -> None:
        raise OSError(number, os.strerror(number), file)

    assert failing(fail, tmp_path) == 2
    error, remedy = capsys.readouterr().err.splitlines()
    assert error == f"error: {'named' + chr(92) + 'nfile' if file else tmp_path}: {os.strerror(number)}"
    assert remedy.startswith("  try: ")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("4096 requested and 0 written"), "disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk is full"),
        (OSError("cannot resize mmap"), "cannot resize mmap -> look at"),
        (MemoryError(), "out of memory -> "),
        (BrokenProcessPool("x"), "worker process was killed"),
        (InputError("a\nb", "c\rd"), r"a\nb -> c\rd"),
    ],
)
def test_failures_that_libraries_word(error: Exception, said: str, tmp_path: Path) -> None:
    line = str(in_words(error, tmp_path))
    assert said in line and "\n" not in line


def test_a_bug_is_one_line_that_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> None:
        one_line(None)  # type: ignore[arg-type]

    assert failing(fail, tmp_path) == 2
    error, remedy = capsys.readouterr().err.splitlines()
    assert error.startswith("error: unexpected TypeError: ") and "(at brainlm_data/errors.py:" in error
    assert "--debug" in remedy
    assert failing(fail, tmp_path, "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_control_characters_are_escaped_and_other_letters_stay() -> None:
    assert one_line("é漢 a\tb\x1b[31m\u2028") == r"é漢 a\tb\x1b[31m\u2028"
    assert BrainLMError("a\nb").message == r"a\nb"


def test_an_error_of_another_process_keeps_its_remedy() -> None:
    error = pickle.loads(pickle.dumps(InputError("x.tsv: cut", "copy it again")))
    assert (type(error), error.message, error.remedy) == (InputError, "x.tsv: cut", "copy it again")
