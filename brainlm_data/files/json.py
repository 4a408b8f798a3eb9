"""The one reader of JSON objects: sidecars, descriptions of datasets, cards, configurations of models.

What is there and cannot be read is an error that names the file, never the same as a file that is not there.
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

from brainlm_data.errors import BrainLMError, InputError
from brainlm_data.files.present import FETCH, POINTER, POINTERS, SMALL

REMEDY = "fix it: bids-validator helps"  # of what people and their tools have written
AGAIN = "run the stage that writes it again"  # of what this package has written
DIGITS = 300  # of a number that every program can read: the largest double has 309


def read_object(path: Path, error: type[BrainLMError] = InputError, remedy: str = REMEDY) -> dict[str, Any]:
    """The object in a JSON file, in UTF-8 with or without byte order mark.

    Parameters
    ----------
    error: what is raised: `Refused` for a file of one recording, `InputError` for one that all of them need.
    remedy: what to do where the content is at fault.

    Raises
    ------
    error: it cannot be read, is no JSON (NaN is none), no object, has a number beyond a double, or gives two values
        to one key.
    """
    try:
        if path.exists() and not path.is_file():
            raise error(f"{path}: not a file that can be read (a folder, a pipe or a socket)", remedy)
        text = path.read_text(encoding="utf-8-sig")
        if text[:SMALL].encode().startswith(POINTERS):
            raise error(f"{path}: {POINTER}", FETCH)
        content = json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_float, parse_int=_int
        )
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not in UTF-8 ({problem.reason} at byte {problem.start})", "save it as UTF-8") from problem
    except RecursionError as problem:
        raise error(f"{path}: not readable JSON (nested too deep)", remedy) from problem
    except FileNotFoundError as problem:
        raise (
            error(f"{path}: a link to a file that is not there", FETCH)
            if path.is_symlink()
            else error(f"{path}: there is no such file", remedy)
        ) from problem
    except OSError as problem:
        raise error(
            f"{path}: cannot be read ({problem.strerror})", f"check path and permissions; {remedy}"
        ) from problem
    except ValueError as problem:
        raise error(f"{path}: not readable JSON ({problem})", remedy) from problem
    if not isinstance(content, dict):
        raise error(
            f"{path}: a {type(content).__name__}, not a JSON object", f"its keys are between {{ and }}; {remedy}"
        )
    return content


def read_sidecar(path: Path, error: type[BrainLMError] = InputError) -> dict[str, Any]:
    """`read_object`, or nothing where there is no such file."""
    return read_object(path, error) if path.exists() or path.is_symlink() else {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key may stand there twice where it says the same twice."""
    content = dict[str, Any]()
    for key, value in pairs:
        if content.setdefault(key, value) != value:
            raise ValueError(f"two values of {key}")
    return content


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON, null is")


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _float(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is beyond the largest number")
    return value
