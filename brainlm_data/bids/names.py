"""What the name and the place of a file in a raw BIDS dataset say, and what is wrong with them.

`sub-<label>/[ses-<label>/]<datatype>/sub-<label>[_ses-<label>][_<key>-<label>...]_<suffix><extension>`; sidecars may
lie further up, and have fewer keys (BIDS specification, "File names").
"""

from __future__ import annotations

import re
from typing import NamedTuple

IMAGES = (".nii", ".nii.gz")
LABEL = re.compile(r"[A-Za-z0-9+]+")
DERIVED = ("space", "desc", "res", "den", "seg", "label", "from", "to", "mode", "hemi", "atlas", "stat", "thresh")
RULE = "labels are letters and digits: rename it"


class Name(NamedTuple):
    """A path below the dataset's root, in parts.

    Attributes
    ----------
    entities: labels by key (sub, ses, task, ...), of the file's name. suffix, extension: `bold`, `.nii.gz`.
    folders: the folders of the path. datatype: the last one where the place is right (func, anat, ...), else "".
    fault: why the name cannot be read, "" where it can.
    """

    entities: dict[str, str]
    suffix: str
    extension: str
    folders: tuple[str, ...]
    datatype: str
    fault: str


def parse(path: str) -> Name:
    """The parts of a path below the dataset's root."""
    *folders, file = path.split("/")
    stem, dot, extension = file.partition(".")
    *pairs, suffix = stem.split("_")
    entities, fault = dict[str, str](), ""
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not key.isalnum() or not dash or not LABEL.fullmatch(label):
            fault = fault or f"{pair!r} in its name is no key-label pair ({RULE})"
        elif key in entities:
            fault = fault or f"its name has two labels of {key} ({RULE})"
        else:
            entities[key] = label
    if not re.fullmatch("[A-Za-z0-9]+", suffix):
        fault = fault or f"{suffix!r} in its name is no suffix (letters and digits: rename it)"
    sessions = [folder for folder in folders[1:-1] if folder.startswith("ses-")]
    in_place = len(folders) == 2 + len(sessions) and len(sessions) < 2
    return Name(entities, suffix, dot + extension, tuple(folders), folders[-1] if in_place else "", fault)


def misplaced(name: Name, datatype: str) -> str:
    """Why a file with this name must not lie there; "" where name and folders agree."""
    if name.datatype != datatype:
        return f"not in sub-*/[ses-*/]{datatype}/"
    if next(iter(name.entities), "") != "sub":
        return "its name does not begin with sub-"
    for key, folder in (("sub", name.folders[0]), ("ses", name.folders[1] if len(name.folders) == 3 else None)):
        label = name.entities.get(key)
        if (None if label is None else f"{key}-{label}") != folder:
            said = "names no " + key if label is None else f"says {key}-{label}"
            return f"its name {said}, it lies in {'/'.join(name.folders)}/"
    return ""


def index(value: str | None) -> str | None:
    """A BIDS index without leading zeros: `01` -> `1`."""
    return str(int(value)) if value is not None and value.isdecimal() else value


def same_run(name: Name) -> tuple[tuple[str, str | None], ...]:
    """What images of one run share: all entities but those that tell variants of it apart (echo, rec, part)."""
    kept = {key: label for key, label in name.entities.items() if key not in ("echo", "rec", "part")}
    return tuple(sorted({**kept, "run": index(kept.get("run"))}.items()))


def not_raw(name: Name) -> str:
    """Why an image is none that a scanner made; "" where nothing says so."""
    derived = [f"{key}-{name.entities[key]}" for key in DERIVED if key in name.entities]
    if derived:
        return f"{', '.join(derived)}: processed already, not raw (input.kind is for such images)"
    part = name.entities.get("part", "mag")
    if part != "mag":
        return "phase image" if part == "phase" else f"part-{part}: not the magnitude"
    if "chunk" in name.entities:
        return f"chunk-{name.entities['chunk']}: a part of the brain alone"
    return ""
