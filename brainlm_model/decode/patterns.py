"""Patterns from files that others publish: `.mat` of the digits, GOD (bdpy's `.h5`, `sbj_*.npz`), BOLD5000, volumes.

Each reader gives `Patterns`, z-scored by training trials, test repeats averaged. None loads pickled objects. `together`
joins those of several people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError, Patterns, averaged, patterns_of, read_pictures, reads, reads_arrays, resized

__all__ = ["Patterns", "from_bold5000", "from_god", "from_mat", "from_volumes", "together"]

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
TRAIN, TEST = 1, 2  # DataType of GOD; 3 is imagery
ROIS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")  # of BOLD5000
SIDES = ("LH", "RH")
DIGITS = ("", "6", "9")  # by label


def from_mat(path: str | Path) -> Patterns:
    """The handwritten sixes and nines of van Gerven et al. (2010): 90 + 10 trials, 3,092 voxels, 28 x 28 pictures.

    Raises
    ------
    InputError: no such file, or variables fmriTrn, fmriTest, labelTrn, labelTest, stimTrn, stimTest are not in it.
    """
    from scipy.io import loadmat

    path = Path(path)
    with reads(path, "digit69_28x28.mat of the digits dataset"):
        given = loadmat(path)
        values, labels, pixels = (
            np.concatenate([given[f"{name}Trn"], given[f"{name}Test"]]) for name in ("fmri", "label", "stim")
        )
        n_training, side = len(given["fmriTrn"]), int(np.sqrt(pixels.shape[1]))
        # MATLAB stores columns first: a row of pixels is the transposed picture
        pictures = pixels.reshape(-1, side, side).transpose(0, 2, 1).astype(np.uint8)
        categories = [DIGITS[int(label)] for label in labels.ravel()]
    names = np.array([f"{category}/{row:03d}" for row, category in enumerate(categories)])
    test = np.arange(len(values)) >= n_training
    with patterns_of(path):
        trials = averaged(values, names, categories, ["1"] * len(names), ["1"] * len(names), test)
        return _with_pictures(trials, pictures, names)


def from_god(path: str | Path, roi: str = "VC", pictures: str | Path | None = None, size: int = 64) -> Patterns:
    """One subject of Generic Object Decoding (Horikawa & Kamitani, 2017): 1,200 pictures once, 50 of other categories.

    Parameters
    ----------
    path: `Subject1.h5`, as bdpy reads it; or `sbj_1.npz`: arr_0 training trials, arr_1 test trials, arr_2 their means,
        arr_3 which training picture each trial showed, and a mask of voxels by the name of each region.
    roi: region: VC, V1, LOC, ...
    pictures: for `.h5` a folder of files named by ImageNet (n01518878_5958.JPEG), in it or below it (`training/`,
        `test/`); for `.npz` a file with `train_images` and `test_images`, (m, h, w, 3), 0-1 or 0-255. None: no
        pictures. size: pixels that they are reduced to.

    Raises
    ------
    InputError: no such file, region or picture; parts of the file are not there, or do not belong together.
    """
    path, roi = Path(path), roi.removeprefix("ROI_")
    if path.suffix == ".npz":
        return _god_npz(path, roi, None if pictures is None else Path(pictures), size)
    return _god_h5(path, roi, None if pictures is None else Path(pictures), size)


def _god_npz(path: Path, roi: str, pictures: Path | None, size: int) -> Patterns:
    with reads_arrays(path, "sbj_*.npz with arr_0 ... arr_3 and masks of regions") as file:
        regions = [name for name in file if not name.startswith("arr_")]
        if roi not in regions:
            raise InputError(f"{path}: no region {roi}", f"there are: {', '.join(regions)}")
        mask = np.asarray(file[roi], bool)
        if file[roi].dtype != bool and not np.isin(file[roi], (0, 1)).all():
            raise ValueError(f"{roi} is no mask: it has values other than 0 and 1")
        training, single, means = (file[name][..., mask] for name in ("arr_0", "arr_1", "arr_2"))
        shown = file["arr_3"].ravel()
    if len(shown) != len(training) or not len(means) or len(single) % len(means):
        raise InputError(
            f"{path}: {len(training)} training trials with {len(shown)} indices; {len(single)} test trials,"
            f" {len(means)} means of them",
            "arr_3 has one index for each row of arr_0; arr_1 has the same number of trials for each row of arr_2",
        )
    if (shown != shown.astype(np.int64)).any() or shown.min() < 0:
        raise InputError(f"{path}: arr_3 has values that are no numbers of pictures", "0 is the first training picture")
    shown = shown.astype(np.int64)
    names = np.array([*(f"train/{index:04d}" for index in shown), *(f"test/{row:04d}" for row in range(len(means)))])
    test = np.arange(len(names)) >= len(training)
    run, subject = np.where(test, "test", "train"), [path.stem.removeprefix("sbj_")] * len(names)
    with patterns_of(path):
        trials = averaged(np.concatenate([training, means]), names, [""] * len(names), run, subject, test)
    repeats = np.where(trials.split == "test", len(single) // len(means), 1)
    trials = replace(trials, repeats=repeats)
    if pictures is None:
        return trials
    with reads_arrays(pictures, "an .npz with train_images and test_images") as file:
        learnt, others = file["train_images"], file["test_images"]
        if shown.max() >= len(learnt) or len(others) != len(means):
            raise InputError(
                f"{pictures}: {len(learnt)} training and {len(others)} test pictures, {path.name} shows"
                f" {shown.max() + 1} and {len(means)}",
                "give the pictures of this dataset; its arr_3 counts from 0",
            )
        seen = [_as_bytes(learnt)[np.unique(shown)], _as_bytes(others)]
    small = [resized(picture, size) for one in seen for picture in one]
    labels = [*(f"train/{index:04d}" for index in np.unique(shown)), *names[test]]
    return _with_pictures(trials, np.stack(small), np.array(labels))


def _god_h5(path: Path, roi: str, folder: Path | None, size: int) -> Patterns:
    columns = _bdata(path)
    regions = sorted(name.removeprefix("ROI_") for name in columns.metadata if name.startswith("ROI_"))
    if roi not in regions:
        raise InputError(f"{path}: no region {roi}", f"there are: {', '.join(regions)}")
    chosen = columns.metadata[f"ROI_{roi}"] == 1
    kind, shown = columns.of("DataType"), columns.of("stimulus_id")
    seen = np.isin(kind, (TRAIN, TEST))
    values, kind, shown = columns.data[seen][:, chosen], kind[seen], shown[seen]
    # 1518878.005958 is picture 5958 of category n01518878
    stimulus = [f"n{int(number):08d}_{round(1e6 * (number % 1))}" for number in shown.tolist()]
    category = [name.split("_")[0] for name in stimulus]
    run = [f"{number:g}" for number in columns.of("Run")[seen]]
    subject = [re.sub(r"\D", "", path.stem) or path.stem] * len(stimulus)
    with patterns_of(path):
        trials = averaged(values, stimulus, category, run, subject, kind == TEST)
    if {"voxel_x", "voxel_y", "voxel_z"} <= columns.metadata.keys():
        places = [columns.metadata[f"voxel_{axis}"][chosen] for axis in "xyz"]  # mm: the grid is one of 1 mm
        trials = replace(trials, voxel_ijk=np.rint(np.stack(places, axis=1)).astype(np.int64))
    return trials if folder is None else _with_files(trials, [folder], size)


class _Bdata:
    """A file of bdpy: `data` (samples, columns), `metadata` by key, (columns,); NaN where a column has none."""

    def __init__(self, path: Path, data: NDArray[np.float64], metadata: dict[str, NDArray[np.float64]]) -> None:
        self.path, self.data, self.metadata = path, data, metadata

    def of(self, name: str) -> NDArray[np.float64]:
        """The values (samples,) of the column that metadata `name` marks with 1."""
        marked = np.flatnonzero(self.metadata.get(name, np.zeros(0)) == 1)
        if len(marked) != 1:
            raise InputError(f"{self.path}: {len(marked)} columns {name}, expected one", "a file of bdpy's dataset GOD")
        return self.data[:, marked[0]]


def _bdata(path: Path) -> _Bdata:
    """Read a bdpy file (groups `dataset` and `metadata`, of older files `dataSet` and `metaData`)."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: h5py reads it", "pip install 'brainlm-pipeline[decode]'") from error
    with reads(path, "Subject1.h5 of the GOD dataset"), h5py.File(path, "r") as file:
        parts = {name.lower(): file[name] for name in file}
        keys = [key.decode() if isinstance(key, bytes) else str(key) for key in parts["metadata"]["key"][()]]
        values = np.asarray(parts["metadata"]["value"][()], np.float64)
        data = np.asarray(parts["dataset"][()], np.float64)
        if values.shape != (len(keys), data.shape[1]):
            raise ValueError(f"metadata of shape {values.shape}, {len(keys)} keys for {data.shape[1]} columns")
    return _Bdata(path, data, dict(zip(keys, values, strict=True)))


def from_bold5000(
    folder: str | Path, subject: str = "CSI1", rois: Sequence[str] = ROIS, pictures: bool = True, size: int = 64
) -> Patterns:
    """One subject of BOLD5000 (Chang et al., 2019), from the betas of its regions.

    Below `folder` are `BOLD5000_GLMsingle_ROI_betas/py/<subject>_*<LH or RH><roi>.npy`, (trials, voxels), and
    `BOLD5000_Stimuli` with `Stimuli_Presentation_Lists/<subject>/<session>/*.txt` (a name for each trial, sessions and
    runs in the order of their names), `Scene_Stimuli/repeated_stimuli_113_list.txt`, which are the test stimuli, and
    `Scene_Stimuli/Presented_Stimuli/<COCO, ImageNet, Scene>/`.

    Parameters
    ----------
    rois: regions, each with the voxels of both sides. pictures: False leaves them out. size: pixels that they are
        reduced to.

    Raises
    ------
    InputError: a region, a side of it, a list or a picture is not there; lists and betas have not the same number of
        trials; no test stimulus was shown.
    """
    folder, rois = Path(folder), [rois] if isinstance(rois, str) else list(rois)
    betas, stimuli = folder / "BOLD5000_GLMsingle_ROI_betas" / "py", folder / "BOLD5000_Stimuli"
    stimulus, run = _presented(stimuli / "Stimuli_Presentation_Lists" / subject)
    values = np.concatenate([part for roi in rois for part in _region(betas, subject, roi, len(stimulus))], axis=1)
    repeated = stimuli / "Scene_Stimuli" / "repeated_stimuli_113_list.txt"
    with reads(repeated, "BOLD5000_Stimuli as published"):
        tests = set(repeated.read_text(encoding="utf-8").split())
    test = np.array([name in tests for name in stimulus])
    if not test.any():
        raise InputError(f"{repeated}: {subject} saw none of its {len(tests)} stimuli", "BOLD5000_Stimuli as published")
    category = [name.split("_")[0] if re.match(r"n\d{8}_", name) else _scene(name) for name in stimulus]
    with patterns_of(betas):
        trials = averaged(values, stimulus, category, run, [subject] * len(stimulus), test)
    if not pictures:
        return trials
    shown = stimuli / "Scene_Stimuli" / "Presented_Stimuli"
    return _with_files(trials, [shown / name for name in ("COCO", "ImageNet", "Scene")], size)


def _region(betas: Path, subject: str, roi: str, count: int) -> list[NDArray[Any]]:
    """Betas (count, voxels) of the left and of the right part of a region."""
    parts = []
    for side in SIDES:
        files = sorted(betas.glob(f"{subject}_*_{side}{roi}.npy"))
        if len(files) != 1:
            raise InputError(
                f"{betas}: {len(files)} files {subject}_*_{side}{roi}.npy, expected one",
                f"both sides of each region; as published they are {', '.join(ROIS)}",
            )
        with reads(files[0], "betas (trials, voxels) as published"):
            part = np.load(files[0], allow_pickle=False)
            if part.ndim != 2:
                raise ValueError(f"shape {part.shape}, not (trials, voxels)")
        if len(part) != count:
            raise InputError(
                f"{files[0]}: {len(part)} trials, the presentation lists of {subject} have {count}",
                "betas of all sessions, and the lists of all of them",
            )
        parts.append(part)
    return parts


def _presented(folder: Path) -> tuple[list[str], list[str]]:
    """Stimulus and run (session/list) of each trial."""
    stimulus: list[str] = []
    run: list[str] = []
    for file in sorted(folder.glob("*/*.txt")):
        with reads(file, "BOLD5000_Stimuli as published"):
            names = [name.removeprefix("rep_") for name in file.read_text(encoding="utf-8").split()]
        stimulus += names
        run += [f"{file.parent.name}/{file.stem}"] * len(names)
    if not stimulus:
        raise InputError(f"{folder}: no presentation list in its sessions", "BOLD5000_Stimuli as published")
    return stimulus, run


def _scene(name: str) -> str:
    """`airplanecabin1.jpg` is of category airplanecabin; pictures of COCO have several, and get none."""
    return "" if name.startswith("COCO") else re.sub(r"\d*\.\w+$", "", name)


def from_volumes(
    image: str | Path,
    mask: str | Path,
    attributes: str | Path,
    test_runs: Sequence[str] = (),
    rest: str = "rest",
) -> Patterns:
    """A pattern for each volume of a 4-D image whose conditions are listed: categories or states without pictures.

    Each run loses its mean and its linear trend, by itself. Volumes at rest are no patterns; those of training runs are
    among the windows.

    Parameters
    ----------
    mask: image on the same grid; voxels above 0. attributes: a line for each volume, its condition and its run.
    test_runs: none takes the last run of the file.

    Raises
    ------
    InputError: the files do not belong together, or there is no such run.
    """
    import nibabel as nib

    image, mask, attributes = Path(image), Path(mask), Path(attributes)
    with reads(attributes, "a line for each volume: condition, blank, run"):
        lines = [line.split() for line in attributes.read_text(encoding="utf-8").splitlines() if line.strip()]
        condition, run = (np.array([line[column] for line in lines], np.str_) for column in (0, 1))
    with reads(mask, "an image on the grid of the volumes"):
        inside = np.asarray(nib.load(mask).dataobj) > 0  # type: ignore[attr-defined]
    with reads(image, "a 4-D image"):
        loaded: Any = nib.load(image)
        if loaded.shape != (*inside.shape, len(condition)):
            raise InputError(
                f"{image}: {loaded.shape}, its mask {inside.shape}, and {attributes.name} has {len(condition)} lines",
                "give the mask and the list of this image",
            )
        series = np.asarray(loaded.dataobj)[inside].T.astype(np.float64)
    test = np.isin(run, list(test_runs) or [run[-1]])
    if missing := sorted(set(test_runs) - set(run.tolist())):
        raise InputError(f"{attributes}: no run {missing[0]}", f"there are: {', '.join(dict.fromkeys(run.tolist()))}")
    for one in np.unique(run):
        series[run == one] = _without_trend(series[run == one])
    seen = condition != rest
    stimulus = [f"{name}/{where}/{row}" for row, (name, where) in enumerate(zip(condition, run, strict=True))]
    people = ["1"] * int(seen.sum())
    with patterns_of(image):
        trials = averaged(series[seen], np.array(stimulus)[seen], condition[seen], run[seen], people, test[seen])
    windows = series[~test]
    spread = windows.std(0)
    windows = np.divide(windows - windows.mean(0), spread, out=np.zeros_like(windows), where=spread > 0)
    places = np.argwhere(inside).astype(np.int64)
    return replace(trials, voxel_ijk=places, affine=loaded.affine, windows=windows.astype(np.float32))


def _without_trend(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, V) without mean and straight line."""
    design = np.stack([np.ones(len(series)), np.arange(len(series))], axis=1)
    return np.asarray(series - design @ np.linalg.lstsq(design, series, rcond=None)[0])


def _as_bytes(pictures: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures (m, h, w[, 3]) of 0-1 or of 0-255, by the brightest of all, as uint8. Raises ValueError for others."""
    if pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] != 3):
        raise ValueError(f"pictures of shape {pictures.shape}, not (pictures, height, width, 3)")
    if pictures.dtype == np.uint8:
        return pictures
    low, high = pictures.min(), pictures.max()
    if not (low >= 0 and high <= 255):  # NaN neither
        raise ValueError(f"brightness from {low:g} to {high:g}, not 0 to 1 or 0 to 255")
    scale = 255 if high <= 1 else 1
    return np.rint(pictures * scale).astype(np.uint8)


def _with_files(trials: Patterns, folders: Sequence[Path], size: int) -> Patterns:
    """With the pictures of all stimuli, from files of their names, with or without an ending, in or below folders."""
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in ENDINGS:
                files |= {file.name: file, file.stem: file}
    names = np.unique(trials.stimulus)
    if missing := [name for name in names.tolist() if name not in files]:
        where = str(folders[0]) if len(folders) == 1 else f"{folders[0].parent}, {', '.join(f.name for f in folders)}"
        raise InputError(
            f"{where}: no picture of {missing[0]} ({len(missing)} of {len(names)} are missing)",
            "the folder of all of them",
        )
    return _with_pictures(trials, read_pictures([files[name] for name in names.tolist()], size), names)


def _with_pictures(trials: Patterns, pictures: NDArray[np.uint8], names: NDArray[np.str_]) -> Patterns:
    return replace(trials, pictures=pictures, names=names)


def together(parts: Sequence[Patterns]) -> Patterns:
    """Patterns of several people in one: shorter ones are wrapped to the longest, as published.

    A voxel number is another place in each person then: `voxel_ijk` is empty.

    Raises
    ------
    InputError: the same person twice; a stimulus that is for the test in one of them and training in another; pictures
        of other sizes, or in some of them alone.
    """
    from brainlm_model.decode.scmbm import wrapped

    people = [name for part in parts for name in np.unique(part.subject).tolist()]
    if twice := sorted({name for name in people if people.count(name) > 1}):
        raise InputError(f"patterns: subject {twice[0]} is in two of them", "give each one once")
    shapes = sorted({str(part.pictures.shape[1:]) for part in parts})
    if len(shapes) > 1:
        raise InputError(f"patterns: pictures of shapes {' and '.join(shapes)}", "read all with the same `size`")
    longest = max(part.n_voxels for part in parts)
    names, first = np.unique(np.concatenate([part.names for part in parts]), return_index=True)
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("stimulus", "category", "split", "run", "subject", "repeats")
    }
    return Patterns(
        patterns=np.concatenate([wrapped(part.patterns, longest) for part in parts]),
        windows=np.concatenate([wrapped(part.windows, longest) for part in parts if part.windows is not None]),
        names=names,
        pictures=np.concatenate([part.pictures for part in parts])[first],
        **joined,
    )
