"""Scripts as pages: a `py:percent` script (cells that begin with `# %%`) as Markdown, as a notebook, and run.

`python docs/scripts.py docs/gallery/*.py` runs scripts and writes, beside each, its pictures and what its cells print.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

CELL, TEXT = "# %%", "# %% [markdown]"


def cells(script: str) -> list[tuple[str, str]]:
    """("text" or "code", content) of each cell; text without its leading `# `."""
    found: list[tuple[str, str]] = []
    for block in ("\n" + script).split("\n" + CELL)[1:]:
        head, _, body = block.partition("\n")
        body = body.strip("\n")
        if head.strip() == TEXT.removeprefix(CELL).strip():
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
            found.append(("text", "\n".join(lines)))
        elif body:
            found.append(("code", body))
    return found


def page(script: Path) -> str:
    """The script as Markdown: text, code, and below each cell of code what it printed when it was last run."""
    printed = _printed(script)
    blocks = []
    for kind, content in cells(script.read_text()):
        if kind == "text":
            blocks.append(content)
            continue
        blocks.append(f"```python\n{content}\n```")
        output = next(printed, "")
        if output:
            blocks.append(f"```text\n{output}\n```")
    name = script.stem
    # HTML, because these two are files of the site, not pages
    blocks.append(
        f'This page <a href="{name}.ipynb" download>as a notebook</a>, <a href="{name}.py" download>as a script</a>.'
    )
    return "\n\n".join(blocks) + "\n"


def _printed(script: Path) -> Any:
    """What each cell of code printed, in order."""
    file = script.with_suffix(".txt")
    if not file.exists():
        return iter(())
    blocks = ("\n" + file.read_text()).split("\n" + CELL + "\n")[1:]
    return iter([block.strip("\n") for block in blocks])


def notebook(script: Path) -> str:
    """The script as a Jupyter notebook (format 4.5), without outputs."""
    made = []
    for number, (kind, content) in enumerate(cells(script.read_text())):
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "source": content.splitlines(keepends=True)}
        if kind == "text":
            made.append({"cell_type": "markdown", **cell})
        else:
            made.append({"cell_type": "code", "execution_count": None, "outputs": [], **cell})
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def run(script: Path, folder: Path) -> str:
    """Run all cells of code with `folder` as working directory; returns what each printed, as `_printed` reads it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    with chdir(folder):
        for kind, content in cells(script.read_text()):
            if kind == "code":
                output = io.StringIO()
                with redirect_stdout(output):
                    exec(compile(content, str(script), "exec"), names)
                text = output.getvalue().strip("\n")
                printed.append(f"{CELL}\n{text}\n")
    return "".join(printed)


def main(scripts: list[Path]) -> None:
    """Run scripts and keep, beside each, its pictures and what it printed."""
    import shutil
    import tempfile

    # No screen; and one thread per library, as in the tests: the problems are small.
    os.environ.update(MPLBACKEND="Agg", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    for script in scripts:
        with tempfile.TemporaryDirectory() as folder:
            printed = run(script.resolve(), Path(folder))
            script.with_suffix(".txt").write_text(printed)
            for picture in sorted(Path(folder).glob("*.png")):
                shutil.copy(picture, script.parent)
                print(script.parent / picture.name)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
