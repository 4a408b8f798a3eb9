"""In which template space an atlas is, as far as that is known before its file is read."""

from __future__ import annotations

from pathlib import Path

from brainlm_data.spaces.a424 import A424_SPACE
from brainlm_data.spaces.demo424 import SPACE as DEMO424_SPACE

BUNDLED = "MNI152NLin2009aSym"  # the template that nilearn brings

# the end of the remedy where the published files cannot be had
STAND_IN = "to try things out without a download: atlas.name: demo424, a geometric stand-in (brainlm: --atlas demo424)"


def space_of_atlas(name: str, path: Path | None, space: str | None) -> str | None:
    """The space of an atlas by its name, else as stated; None where nobody says it.

    `path`, `space`: of an atlas that is a file (`atlas.path`, `atlas.space`).
    """
    if name == "A424":
        return A424_SPACE
    if name == "demo424" and path is None:
        return DEMO424_SPACE
    return space
