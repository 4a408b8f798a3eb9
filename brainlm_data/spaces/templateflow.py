"""Templates that TemplateFlow (Ciric et al., 2022) has put on this machine, as fMRIPrep uses them: none is fetched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TISSUES = ("GM", "WM", "CSF")
RESOLUTIONS = ("res-02_", "res-01_", "")  # 2 mm first: the grid of the atlases


@dataclass(frozen=True)
class Template:
    """Files of one template on one grid. `brain`: its mask, or T1w without skull. `tissues`: GM, WM, CSF or none."""

    t1w: Path
    brain: Path
    tissues: tuple[Path, ...]


def home(folder: Path | None = None) -> Path:
    """The folder given, else TEMPLATEFLOW_HOME, else TemplateFlow's own default below the user's cache folder."""
    if folder is not None:
        return folder
    named, cache = os.environ.get("TEMPLATEFLOW_HOME"), os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    if cache:
        return Path(cache) / "templateflow"
    return Path.home() / ".cache" / "templateflow"


def find(name: str, folder: Path | None = None) -> Template | None:
    """The template's files, or None where they are not there.

    TemplateFlow lists what it could fetch as empty files (or links to nothing): those do not count.
    """
    root = home(folder) / f"tpl-{name}"
    for resolution in RESOLUTIONS:

        def there(ending: str, stem: str = f"tpl-{name}_{resolution}") -> Path | None:
            path = root / f"{stem}{ending}.nii.gz"
            return path if path.is_file() and path.stat().st_size else None

        t1w, brain = there("T1w"), there("desc-brain_mask") or there("desc-brain_T1w")
        if t1w and brain:
            maps = [there(f"label-{tissue}_probseg") for tissue in TISSUES]
            tissues = tuple(path for path in maps if path is not None)
            return Template(t1w, brain, tissues if len(tissues) == len(TISSUES) else ())
    return None


def how(name: str) -> str:
    """What to type so that `find` finds a template."""
    call = f"get('{name}', resolution=2, suffix=['T1w', 'mask', 'probseg'])"
    return f'python -c "from templateflow.api import get; {call}"'
