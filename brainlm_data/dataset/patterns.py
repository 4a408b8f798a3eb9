"""Patterns of voxels, one for each time that a picture was seen, with the pictures: what decoders learn from.

What is fitted is fitted on training rows alone, and a stimulus is in one split in every run: no decoder has seen a test
picture, nor any brain's answer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.files.arrays import reads_arrays

Floats = NDArray[np.float32]
Texts = NDArray[np.str_]
Pixels = NDArray[np.uint8]

TRAIN, TEST = SPLITS = ("train", "test")
WHOSE = "patterns:"  # begins messages in whose place a file's name may come
FLAT = 1e-6  # a voxel whose SD is below this share of the largest one's does not change


def _no_texts() -> Texts:
    return np.empty(0, np.str_)


@dataclass(frozen=True)
class Patterns:
    """Rows are trials of training stimuli, and means over the trials of test stimuli; columns are voxels.

    Attributes
    ----------
    patterns: (n, V) z-scores, by mean and SD of the subject's training rows.
    stimulus, category, split, run, subject: (n,) names. split: train or test. category: "" where it is not known;
        run: of a mean over several runs, all of them, joined by a blank.
    repeats: (n,) trials that a row is the mean of.
    voxel_ijk, affine: (V, 3) places on a grid, and (4, 4) its map to mm; (0, 3) where a file does not say.
    pictures, names: (m, h, w) grey or (m, h, w, 3) uint8, and which stimulus each one is; m = 0 where none are at hand.
    windows: (w, V) z-scores in the runs between and during trials, for a decoder that learns from fMRI alone.

    Raises
    ------
    InputError: lengths or names that do not belong together; a stimulus in both splits; numbers that are not finite.
    """

    patterns: Floats
    stimulus: Texts
    category: Texts
    split: Texts
    run: Texts
    subject: Texts
    repeats: NDArray[np.int64]
    voxel_ijk: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64))
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    pictures: Pixels = field(default_factory=lambda: np.empty((0, 0, 0), np.uint8))
    names: Texts = field(default_factory=_no_texts)
    windows: Floats | None = None

    def __post_init__(self) -> None:
        if self.windows is None:
            object.__setattr__(self, "windows", np.empty((0, self.n_voxels), np.float32))
        if problem := self._problem():
            raise InputError(f"{WHOSE} {problem}", "make them again (stage trials), or correct the file")

    def __len__(self) -> int:
        return len(self.patterns)

    @property
    def n_voxels(self) -> int:
        """Number of columns."""
        return int(self.patterns.shape[1])

    def _problem(self) -> str:
        """What is wrong with the arrays, or ""."""
        if self.patterns.ndim != 2 or self.patterns.dtype != np.float32 or not self.patterns.size:
            return f"{self.patterns.dtype} of shape {self.patterns.shape}, not (trials, voxels) float32"
        for name in ("stimulus", "category", "split", "run", "subject", "repeats"):
            if getattr(self, name).shape != (len(self),):
                return f"{name} has shape {getattr(self, name).shape}, there are {len(self)} rows"
        if len(self.voxel_ijk) not in (0, self.n_voxels) or self.affine.shape != (4, 4):
            return f"places of {len(self.voxel_ijk)} voxels, there are {self.n_voxels}"
        if self.windows is None or self.windows.ndim != 2 or self.windows.shape[1] != self.n_voxels:
            return f"windows are not of the {self.n_voxels} voxels"
        if not (np.isfinite(self.patterns).all() and np.isfinite(self.windows).all()):
            return "numbers that are not finite"
        if unknown := set(self.split.tolist()) - set(SPLITS):
            return f"split {sorted(unknown)[0]!r} is neither train nor test"
        both = set(self.of(TRAIN).stimulus.tolist()) & set(self.of(TEST).stimulus.tolist()) if self._mixed else ()
        if both:
            return f"stimulus {sorted(both)[0]} is in train and in test"
        if len(self.names) != len(self.pictures) or self.pictures.dtype != np.uint8:
            return f"{len(self.pictures)} pictures ({self.pictures.dtype}) for {len(self.names)} names"
        missing = sorted(set(self.stimulus.tolist()) - set(self.names.tolist()))
        return f"no picture of stimulus {missing[0]}" if len(self.names) and missing else ""

    @property
    def _mixed(self) -> bool:
        return len(set(self.split.tolist())) > 1

    def rows(self, chosen: NDArray[Any]) -> Patterns:
        """Those rows (a mask, or numbers), with all pictures and windows."""
        names = ("patterns", "stimulus", "category", "split", "run", "subject", "repeats")
        part = object.__new__(type(self))  # what was checked as a whole stays right in part
        for one in fields(self):
            value = getattr(self, one.name)
            object.__setattr__(part, one.name, value[chosen] if one.name in names else value)
        return part

    def of(self, split: str) -> Patterns:
        """The rows of one split."""
        return self.rows(self.split == split)

    def seen(self) -> Pixels:
        """The picture of each row, (n, h, w) or (n, h, w, 3). Raises InputError where there are no pictures."""
        if not len(self.names):
            raise InputError(
                "patterns: there are no pictures in it, categories alone",
                "put them below stimuli/ under the names that events.tsv has (trials.stimulus), or name their folder",
            )
        place = {name: row for row, name in enumerate(self.names.tolist())}
        return self.pictures[[place[name] for name in self.stimulus.tolist()]]

    def split_as(self, test: NDArray[np.bool_]) -> Patterns:
        """The same rows with another split (n,), z-scored by its training rows; for folds of a cross-validation.

        Raises
        ------
        InputError: no training row is left, or a stimulus is in both.
        """
        split = np.where(test, TEST, TRAIN)
        values = standardised(self.patterns, ~test, self.subject)
        return replace(self, patterns=values, split=split)

    def save(self, path: Path) -> None:
        """Write as .npz, without pickled objects."""
        np.savez_compressed(path, **{one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Patterns:
        """Read what `save` wrote. Raises InputError where it is damaged or of another kind."""
        path = Path(path)
        with reads_arrays(path, "stage trials makes it") as arrays:
            given = {one.name: arrays[one.name] for one in fields(cls)}
        with patterns_of(path):
            return cls(**given)


@contextmanager
def patterns_of(path: Path) -> Iterator[None]:
    """Around what makes `Patterns` of a file: an error about them names it."""
    try:
        yield
    except InputError as error:
        if not error.message.startswith(WHOSE):
            raise
        raise InputError(error.message.replace(WHOSE, f"{path}:", 1), error.remedy) from error


def standardised(values: NDArray[np.floating], training: NDArray[np.bool_], subject: Texts) -> Floats:
    """(n, V) less the mean and over the SD of each voxel in a subject's training rows; 0 where it does not change.

    Raises
    ------
    InputError: a subject has fewer than two training rows; there is no voxel; numbers that are not finite.
    """
    if not values.shape[1]:
        raise InputError(f"{WHOSE} no voxel", "another region or mask")
    if not (finite := np.isfinite(values).all(0)).all():
        raise InputError(
            f"{WHOSE} numbers that are not finite, in {(~finite).sum()} of {len(finite)} voxels",
            "leave these voxels out of the region, or these trials out of the file",
        )
    out = np.zeros(values.shape, np.float32)
    for one in np.unique(subject):
        own = subject == one
        known = values[own & training].astype(np.float64)
        if len(known) < 2:
            raise InputError(
                f"{WHOSE} subject {one} has {len(known)} training trials, two are needed for their mean and SD",
                "more runs of it, or fewer stimuli for the test",
            )
        mean, sd = known.mean(0), known.std(0)
        changes = sd > FLAT * sd.max()
        out[own] = np.divide(values[own] - mean, sd, out=np.zeros((own.sum(), len(sd))), where=changes)
    return out


def averaged(
    values: NDArray[np.floating],
    stimulus: Sequence[str] | Texts,
    category: Sequence[str] | Texts,
    run: Sequence[str] | Texts,
    subject: Sequence[str] | Texts,
    test: NDArray[np.bool_],
) -> Patterns:
    """Patterns of single trials (n, V): trials of a test stimulus are averaged for each subject, all is z-scored.

    Parameters
    ----------
    test: (n,) which trials are of test stimuli. The others, all of them, are training rows as they are.
    """
    stimulus, category, run, subject = (np.asarray(one, np.str_) for one in (stimulus, category, run, subject))
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(values)):
        key = (subject[row], TEST, stimulus[row]) if test[row] else (subject[row], TRAIN, str(row))
        groups.setdefault(key, []).append(row)
    first = np.array([rows[0] for rows in groups.values()])
    split = np.array([key[1] for key in groups])
    means = np.stack([values[rows].mean(0, dtype=np.float64) for rows in groups.values()])
    return Patterns(
        patterns=standardised(means, split == TRAIN, subject[first]),
        stimulus=stimulus[first],
        category=category[first],
        split=split,
        run=np.array([" ".join(dict.fromkeys(run[rows].tolist())) for rows in groups.values()]),
        subject=subject[first],
        repeats=np.array([len(rows) for rows in groups.values()], np.int64),
    )
