"""Which images are the fieldmaps of a run, and what stage `distortion` is told of them.

BIDS names the runs of a fieldmap in two ways (Magnetic Resonance Imaging, "Fieldmap data"): its JSON has `IntendedFor`
(paths relative to the subject's folder, or BIDS URIs), or `B0FieldIdentifier`, which the run's `B0FieldSource` names.
Nothing else makes an image a fieldmap, as in fMRIPrep: neither its folder nor its time.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from brainlm_data.bids.names import Name, parse, same_run

ENCODING = ("PhaseEncodingDirection", "PhaseEncodingAxis", "TotalReadoutTime", "EffectiveEchoSpacing", "ReconMatrixPE")
KEYS = (*ENCODING, "EchoTime", "EchoTime1", "EchoTime2", "Units")  # of a fieldmap's metadata, what is kept
DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")
UNITS = {"hz": "Hz", "rad/s": "rad/s", "t": "T", "tesla": "T"}
NO_MAGNITUDE = "no magnitude image beside it (*_magnitude1)"
READOUT_S = (1e-3, 1.0)  # outside of this it is another unit; echo planar readouts take 10 to 150 ms
ECHO_S = (5e-4, 0.2)  # of two echoes that measure a field

Metadata = Mapping[str, Any]


@dataclass(frozen=True)
class Image:
    """An image that may be a part of a fieldmap: name, metadata, and why it cannot be used ("": it can)."""

    name: Name
    metadata: Metadata
    problem: str = ""

    @property
    def direction(self) -> Any:
        """PhaseEncodingDirection: one of DIRECTIONS, where nothing is wrong with it."""
        return self.metadata.get("PhaseEncodingDirection")


@dataclass
class Found:
    """What the fieldmaps of a run are.

    Attributes
    ----------
    sources: what a field can be computed from, the best first; each a dict of JSON values:
        `{"kind": "epi", "images": [path, ...], "metadata": [dict, ...]}`: phase encoding along both directions of an
        axis, or all of one direction, which is opposed to the run's;
        `{"kind": "phasediff", "phase": path, "magnitude": path, "metadata": dict}` (EchoTime1, EchoTime2);
        `{"kind": "phases", "phase": [path, path], "magnitude": path, "metadata": [dict, dict]}` (EchoTime);
        `{"kind": "fieldmap", "field": path, "magnitude": path or None, "metadata": dict}` (Units: Hz, rad/s or T).
    left: path of an image that is meant for the run, but cannot be used -> why.
    """

    sources: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def files_of(source: Mapping[str, Any]) -> list[str]:
    """The images of a source, by their paths below the dataset's root."""
    values = [source.get(role) for role in ("images", "phase", "field", "magnitude")]
    return [path for value in values for path in _texts(value)]


def intended(bold: str, metadata: Metadata, images: Mapping[str, Image]) -> list[str]:
    """The images that are meant for a run, sorted.

    Images with an identifier that the run names: those of its own session, where the other ones have it too.

    Parameters
    ----------
    bold, metadata: the run, by its path below the dataset's root.
    images: the subject's images that may be fieldmaps, by path below the root.
    """
    subject, wanted = bold.split("/", 1)[0], set(_texts(metadata.get("B0FieldSource")))
    named, identified = list[str](), list[str]()
    for path, image in images.items():
        targets = {_below_root(target, subject) for target in _texts(image.metadata.get("IntendedFor"))}
        if path == bold:
            continue
        if image.name.datatype == "fmap" and _names(bold, targets):
            named.append(path)
        elif wanted & _identifiers(image):
            identified.append(path)
    near = [path for path in identified if _session(path) == _session(bold)]
    return sorted([*named, *(near or identified)])


def _names(bold: str, targets: set[str]) -> bool:
    """Whether one of these paths is a run, or an echo or another variant of it."""
    if bold.removesuffix(".gz") in targets:
        return True
    for target in targets:
        if any(key in path for key in ("_echo-", "_rec-", "_part-") for path in (target, bold)):
            name = parse(target)
            if name.suffix == "bold" and same_run(name) == same_run(parse(bold)):
                return True
    return False


def found(bold: str, run: Metadata, paths: Sequence[str], images: Mapping[str, Image]) -> Found:
    """What a run's fieldmaps are, of the images that are meant for it.

    Parameters
    ----------
    bold, run: the run and its metadata. paths: as `intended` gives them.
    images: the subject's, by path below the root: magnitudes need not say what they are meant for.
    """
    result = Found()
    encoded = list[str]()
    for path in paths:
        suffix = images[path].name.suffix
        if images[path].problem:
            result.left[path] = images[path].problem
        elif suffix in ("epi", "bold", "sbref"):
            direction = images[path].direction
            if direction in DIRECTIONS:
                encoded.append(path)
            else:
                stated = "no" if direction is None else f"{direction!r:.40} as"
                result.left[path] = f"its JSON has {stated} PhaseEncodingDirection"
        elif suffix in ("phasediff", "phase1", "fieldmap"):
            source, problem = _MEASURED[suffix](path, images)
            if problem:
                result.left[path] = problem
            else:
                result.sources.append({**source, "metadata": _kept(source["metadata"])})
        elif suffix not in ("phase2", "magnitude", "magnitude1", "magnitude2"):  # these go with another image
            result.left[path] = f"*_{suffix} is no fieldmap of distortion"
    wanted = set(_texts(run.get("B0FieldSource")))
    for group in _groups(encoded, images, wanted):
        if problem := _one_way(group, run.get("PhaseEncodingDirection"), images):
            result.left |= dict.fromkeys(group, problem)
        else:
            result.sources.append({
                "kind": "epi", "images": group, "metadata": [_kept(images[path].metadata) for path in group],
            })  # fmt: skip
    used = {path for source in result.sources for path in files_of(source)}
    stems = {_stem(path) for path in [*used, *result.left]}
    for path in paths:
        if path not in used and path not in result.left and _stem(path) not in stems:
            result.left[path] = f"*_{images[path].name.suffix} without the image that it belongs to"
    result.sources.sort(key=lambda source: _order(source, bold))
    return result


def _order(source: Mapping[str, Any], bold: str) -> tuple[Any, ...]:
    """Sorts sources: the run's own session, opposed echo planar images, phases, a single direction come first."""
    files = files_of(source)
    kinds = ("epi", "phasediff", "phases", "fieldmap")
    is_one_way = source["kind"] == "epi" and len({m["PhaseEncodingDirection"] for m in source["metadata"]}) == 1
    return _session(files[0]) != _session(bold), is_one_way, kinds.index(source["kind"]), files[0]


# -- echo planar images ---------------------------------------------------------------------------------------------


def _groups(paths: Sequence[str], images: Mapping[str, Image], wanted: set[str]) -> list[list[str]]:
    """Images that were acquired to be compared: of one identifier, else of one name but for its direction.

    What then has one direction alone is put together, by session: `dir-AP_run-1` with `dir-PA_run-2`.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for path in paths:
        name = images[path].name
        shared = sorted(wanted & _identifiers(images[path]))
        entities = sorted((key, label) for key, label in name.entities.items() if key != "dir")
        key = ("id", shared[0]) if shared else ("name", name.suffix, *entities)
        groups.setdefault(key, []).append(path)
    whole, single = list[list[str]](), dict[str, list[str]]()
    for group in groups.values():
        if _opposed(images[path].direction for path in group):
            whole.append(group)
        else:
            single.setdefault(_session(group[0]), []).extend(group)
    return [*whole, *single.values()]


def _opposed(directions: Iterable[str]) -> bool:
    """Whether an axis occurs in both directions."""
    seen = set(directions)
    return any(direction.endswith("-") and direction[0] in seen for direction in seen)


def _one_way(group: Sequence[str], of_run: Any, images: Mapping[str, Image]) -> str:
    """Why images without an opposed pair among them are of no use; "" where they are.

    One direction is enough where it is opposed to the run's, whose own reference is then the other image.
    """
    directions = sorted({images[path].direction for path in group})
    if _opposed(directions) or of_run not in DIRECTIONS or _opposed([*directions, of_run]):
        return ""
    return f"no image with the opposite phase encoding: {', '.join(directions)} here, {of_run} of the run"


# -- phase images and fields ----------------------------------------------------------------------------------------


def _phasediff(path: str, images: Mapping[str, Image]) -> tuple[dict[str, Any], str]:
    """The source of a phase difference, and why it is none. Echo times are its own, else those of its magnitudes."""
    first, second = (_beside(path, suffix, images) for suffix in ("magnitude1", "magnitude2"))
    magnitude = first or second or _beside(path, "magnitude", images)
    metadata = dict(images[path].metadata)
    for key, image in (("EchoTime1", first), ("EchoTime2", second)):
        if key not in metadata and image and "EchoTime" in images[image].metadata:
            metadata[key] = images[image].metadata["EchoTime"]
    problem = "" if magnitude else NO_MAGNITUDE
    problem = problem or _echoes("EchoTime1 and EchoTime2", metadata.get("EchoTime1"), metadata.get("EchoTime2"))
    return {"kind": "phasediff", "phase": path, "magnitude": magnitude, "metadata": metadata}, problem


def _phases(path: str, images: Mapping[str, Image]) -> tuple[dict[str, Any], str]:
    """The source of two phase images, named by the first, and why it is none."""
    other = _beside(path, "phase2", images)
    magnitude = _beside(path, "magnitude1", images) or _beside(path, "magnitude2", images)
    if not other:
        return {}, "no second phase image beside it (*_phase2)"
    both = []
    for phase, suffix in ((path, "magnitude1"), (other, "magnitude2")):
        beside = _beside(path, suffix, images)
        both.append({**(images[beside].metadata if beside else {}), **images[phase].metadata})
    problem = "" if magnitude else NO_MAGNITUDE
    problem = problem or _echoes("EchoTime of *_phase1 and *_phase2", *(metadata.get("EchoTime") for metadata in both))
    return {"kind": "phases", "phase": [path, other], "magnitude": magnitude, "metadata": both}, problem


def _field(path: str, images: Mapping[str, Image]) -> tuple[dict[str, Any], str]:
    """The source of a measured field, and why it is none."""
    units = images[path].metadata.get("Units")
    known = UNITS.get(units.lower() if isinstance(units, str) else "")
    metadata = {**images[path].metadata, "Units": known}
    magnitude = _beside(path, "magnitude", images) or _beside(path, "magnitude1", images)
    problem = "" if known else f"Units in its JSON: {units!r:.40}, neither Hz, rad/s nor T"
    return {"kind": "fieldmap", "field": path, "magnitude": magnitude, "metadata": metadata}, problem


_MEASURED = {"phasediff": _phasediff, "phase1": _phases, "fieldmap": _field}


def _beside(path: str, suffix: str, images: Mapping[str, Image]) -> str | None:
    """The image with the same name but for the suffix, where it can be used."""
    candidates = (f"{_stem(path)}_{suffix}{extension}" for extension in (".nii.gz", ".nii"))
    return next((path for path in candidates if path in images and not images[path].problem), None)


def _echoes(what: str, first: Any, second: Any) -> str:
    """Why two values are not the times of two echoes, s; "" where they are."""
    if first is None or second is None:
        return f"{what} are not in its JSON"
    if not _is_number(first) or not _is_number(second) or first == second:
        return f"{what}, {first!r:.20} and {second!r:.20}, are not two times"
    if not all(ECHO_S[0] <= time <= ECHO_S[1] for time in (first, second)):
        unit = " (are they milliseconds?)" if all(ECHO_S[0] <= t / 1000 <= ECHO_S[1] for t in (first, second)) else ""
        return f"{what}, {first:g} and {second:g}, are no echo times in seconds{unit}"
    return ""


# -- readout --------------------------------------------------------------------------------------------------------


def readout_s(metadata: Metadata, shape: Sequence[int]) -> float | None:
    """TotalReadoutTime (s) of an echo planar image, from the first to the last line of k-space; None: not known.

    As stated, else EffectiveEchoSpacing times the number of lines that were reconstructed, less one: ReconMatrixPE, or
    the size of the image (`shape`, x, y, z, ...) along PhaseEncodingDirection.

    Raises
    ------
    ValueError: what is stated is no time in seconds; in words.
    """
    direction: Any = metadata.get("PhaseEncodingDirection")
    lines: Any = metadata.get("ReconMatrixPE")
    if not _is_number(lines) and direction in DIRECTIONS:
        lines = shape["ijk".index(direction[0])]
    name = "TotalReadoutTime" if "TotalReadoutTime" in metadata else "EffectiveEchoSpacing"
    time: Any = metadata.get(name)
    if name not in metadata or (name == "EffectiveEchoSpacing" and not _is_number(lines)):
        return None
    if name == "EffectiveEchoSpacing" and _is_number(time):
        time *= lines - 1
    if not _is_number(time):
        raise ValueError(f"{name} {metadata[name]!r:.40} is no time in seconds (no number)")
    if not READOUT_S[0] <= time <= READOUT_S[1]:
        unit = " (is it milliseconds?)" if READOUT_S[0] <= time / 1000 <= READOUT_S[1] else ""
        raise ValueError(f"{name} {metadata[name]:g} makes a readout of {time:g} s, which is none{unit}")
    return float(time)


# -- what is meant for what -----------------------------------------------------------------------------------------


def names_nothing(fieldmap: str, metadata: Metadata, files: Container[str]) -> list[str]:
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


def unknown_sources(metadata: Metadata, images: Iterable[Image]) -> list[str]:
    """Entries of a run's `B0FieldSource` that are the identifier of no image, sorted."""
    wanted = set(_texts(metadata.get("B0FieldSource")))
    return sorted(wanted.difference(*map(_identifiers, images))) if wanted else []


def _kept(metadata: Any) -> Any:
    """Of metadata, or of a list of them, what a stage needs."""
    if isinstance(metadata, list):
        return [_kept(each) for each in metadata]
    return {key: metadata[key] for key in KEYS if key in metadata}


def _texts(value: Any) -> list[str]:
    """A string or a list of strings, as BIDS allows both; anything else is nothing."""
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]


def _identifiers(image: Image) -> set[str]:
    return set(_texts(image.metadata.get("B0FieldIdentifier")))


def _below_root(target: str, subject: str) -> str:
    """An entry of IntendedFor as a path below the dataset's root, without .gz."""
    path = target.replace("\\", "/").removeprefix("bids::").removeprefix("./").lstrip("/").removesuffix(".gz")
    return path if path.startswith(f"{subject}/") else f"{subject}/{path}"


def _session(path: str) -> str:
    """The folder of an image's session; of the subject where there are none."""
    return path.rsplit("/", 2)[0]


def _stem(path: str) -> str:
    """An image's path without its suffix."""
    return path.rsplit("_", 1)[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
