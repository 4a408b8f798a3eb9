"""Fieldmaps of a dataset: they are not used, so the recordings that they are meant for must say so.

BIDS names the runs of a fieldmap in two ways (Magnetic Resonance Imaging, "Fieldmap data"): its JSON has `IntendedFor`
(paths relative to the subject's folder, or BIDS URIs), or `B0FieldIdentifier`, which the run's `B0FieldSource` names.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def _texts(value: Any) -> list[str]:
    """A string or a list of strings, as BIDS allows both; anything else is nothing."""
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]


def _below_root(target: str, subject: str) -> str:
    """An entry of IntendedFor as a path below the dataset's root, without .gz."""
    path = target.removeprefix("bids::").removeprefix("./").lstrip("/").removesuffix(".gz")
    return path if path.startswith(f"{subject}/") else f"{subject}/{path}"


def stated(meta: Mapping[str, Any]) -> tuple[Facts, list[str]]:
    """For the sidecar of a recording: `FieldmapsNotUsed` (BIDS URIs) and a warning; both empty where there is none.

    `meta` is the recording's, with `fieldmaps` where stage and engine leave distortion as it is (`Stage.told`).
    """
    files = meta.get("fieldmaps", ())
    return ({"FieldmapsNotUsed": [f"bids:raw:{path}" for path in files]}, [WARNING]) if files else ({}, [])
