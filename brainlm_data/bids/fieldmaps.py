"""Fieldmaps of a dataset: they are not used, so the recordings that they are meant for must say so.

BIDS names the runs of a fieldmap in two ways (Magnetic Resonance Imaging, "Fieldmap data"): its JSON has `IntendedFor`
(paths relative to the subject's folder, or BIDS URIs), or `B0FieldIdentifier`, which the run's `B0FieldSource` names.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from brainlm_data.stage import Facts

WARNING = "a fieldmap is intended for this run; susceptibility distortion correction is not done"


def intended(bold: str, images: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The images that are fieldmaps of a run, sorted.

    Parameters
    ----------
    bold: path of the run below the dataset's root.
    images: metadata of this run and of the subject's images that may be fieldmaps, by path below the root.
    """
    wanted = set(_texts(images[bold].get("B0FieldSource")))
    found = []
    for path, metadata in images.items():
        subject = bold.split("/", 1)[0]
        named = {_below_root(target, subject) for target in _texts(metadata.get("IntendedFor"))}
        shared = wanted & set(_texts(metadata.get("B0FieldIdentifier")))
        if path != bold and (bold.removesuffix(".gz") in named or shared):
            found.append(path)
    return sorted(found)


def names_nothing(fieldmap: str, metadata: Mapping[str, Any], files: Container[str]) -> list[str]:
    """Entries of a fieldmap's `IntendedFor` that are no image of its subject, sorted; a value that is no text, too.

    Parameters
    ----------
    fieldmap: its path below the root. files: paths of the subject's files.
    """
    value, subject = metadata.get("IntendedFor"), fieldmap.split("/", 1)[0]
    absent = [] if value is None or value == [] or _texts(value) else [repr(value)]
    for target in _texts(value):
        path = _below_root(target, subject)
        if path not in files and f"{path}.gz" not in files:
            absent.append(target)
    return sorted(absent)


def _texts(value: Any) -> list[str]:
    """A string or a list of strings, as BIDS allows both; anything else is nothing."""
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]


def _below_root(target: str, subject: str) -> str:
    """An entry of IntendedFor as a path below the dataset's root, without .gz."""
    path = target.replace("\\", "/").removeprefix("bids::").removeprefix("./").lstrip("/").removesuffix(".gz")
    return path if path.startswith(f"{subject}/") else f"{subject}/{path}"


def stated(meta: Mapping[str, Any]) -> tuple[Facts, list[str]]:
    """For the sidecar of a recording: `FieldmapsNotUsed` (BIDS URIs) and a warning; both empty where there is none.

    `meta` is the recording's, with `fieldmaps` where stage and engine leave distortion as it is (`Stage.told`).
    """
    files = meta.get("fieldmaps", ())
    return ({"FieldmapsNotUsed": [f"bids:raw:{path}" for path in files]}, [WARNING]) if files else ({}, [])
