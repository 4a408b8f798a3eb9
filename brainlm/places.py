"""Where the workflow lies: beside the packages in a checkout, inside this package once it is installed from a wheel."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path

from brainlm_data.errors import InputError

DISTRIBUTION = "brainlm-pipeline"


@cache
def workflow() -> Path:
    """The folder that has the Snakefile, and `config/`, `profiles/` and `workflow/` beside it.

    Raises
    ------
    InputError: there is none.
    """
    here = Path(__file__).parent
    for folder in (here / "pipeline", here.parent):  # a wheel (setup.py copies it there), a checkout
        if (folder / "Snakefile").is_file():
            return folder
    raise InputError(
        f"{here}: the Snakefile is not there", "install the package again: pip install --force-reinstall ."
    )


def version() -> str:
    """The version of the installed package."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def ready_made(folder: str, name: str) -> Path | None:
    """`demo` of `config/`, `slurm` of `profiles/`: the path of what this package brings; None where it has none."""
    for path in (workflow() / folder / name, workflow() / folder / f"{name}.yaml"):
        if path.exists():
            return path
    return None


def names(folder: str) -> list[str]:
    """What there is in `config/` or `profiles/`, by name."""
    return sorted(path.stem for path in (workflow() / folder).iterdir() if not path.name.startswith("."))
