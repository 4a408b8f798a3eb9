"""What to simulate: the numbers that a person chooses, checked."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainlm_data.errors import InputError

FIELDMAPS = ("epi", "phasediff", "phases", "fieldmap")
ECHO_SPACING_S = 0.00032  # EffectiveEchoSpacing: .64 ms, and every other line acquired
AGES = (20.0, 80.0)  # years, uniform
LEAST_S = 90.0  # of a run with pictures
PICTURES = "pictures"  # the task in which pictures are shown


@dataclass(frozen=True)
class Plan:
    """A cohort to simulate.

    Attributes
    ----------
    shape, voxel_mm: EPI grid. tr_s: seconds. volumes: per run. t1w_mm: voxel size of the T1w.
    tasks: `rest` is rest, any other name a block design. runs: of each task.
    no_t1w: subject labels (without sub-) that get no T1w.
    motion_mm: typical mean framewise displacement; each subject has its own around it.
    noise: thermal noise, SD in percent of the grey-matter signal.
    physio: factor on all structured noise (physiological, drift, spin history, spikes); 0 is none.
    control: nothing is planted: no networks, no age, no task, nothing of a subject's own in the neural signal.
    non_steady: first volumes before the steady state. distortion_mm: largest EPI shift along y near the sinuses.
    fieldmaps: kinds of fieldmaps of each subject (FIELDMAPS).
    pictures: in the task of that name, pictures are shown (`simulate.pictures`); it is one of `tasks`.

    Raises
    ------
    InputError: a value that no dataset can have.
    """

    out: Path
    subjects: int
    volumes: int
    tr_s: float
    shape: tuple[int, int, int]
    voxel_mm: float
    seed: int
    tasks: tuple[str, ...] = ("rest",)
    runs: int = 1
    no_t1w: tuple[str, ...] = ()
    t1w_mm: float = 1.0
    motion_mm: float = 0.2
    noise: float = 1.0
    physio: float = 1.0
    non_steady: int = 0
    distortion_mm: float = 0.0
    control: bool = False
    fieldmaps: tuple[str, ...] = ()
    pictures: bool = False

    def __post_init__(self) -> None:
        extent = [n * self.voxel_mm for n in self.shape]
        checks = (
            (1 <= self.subjects <= 1_000_000, f"--subjects {self.subjects}", "give 1 to 1000000"),
            (1 <= self.volumes <= 100_000, f"--volumes {self.volumes}", "give 1 to 100000"),
            (0.05 <= self.tr_s <= 20, f"--tr {self.tr_s:g}", "give the repetition time in seconds, 0.05 to 20"),
            (0.5 <= self.voxel_mm <= 12, f"--voxel-mm {self.voxel_mm:g}", "give a voxel size of 0.5 to 12 mm"),
            (min(self.shape) >= 4, f"--shape {_text(self.shape)}", "give X,Y,Z of 4 voxels or more"),
            (self.voxel_mm < 0.5 or all(e >= 100 for e in extent),
             f"--shape {_text(self.shape)} at {self.voxel_mm:g} mm is {_text([round(e) for e in extent])} mm,"
             " too small for a head", "a brain is about 145 x 180 x 155 mm: cover at least 100 mm on each axis"),
            (all(e <= 400 for e in extent), f"--shape {_text(self.shape)} at {self.voxel_mm:g} mm", "at most 400 mm"),
            (self.seed >= 0, f"--seed {self.seed}", "give 0 or more"),
            (1 <= self.runs <= 1000, f"--runs {self.runs}", "give 1 to 1000"),
            (0.8 <= self.t1w_mm <= 4, f"--t1w-mm {self.t1w_mm:g}", "give 0.8 to 4 mm"),
            (0 <= self.motion_mm <= 5, f"--motion-mm {self.motion_mm:g}", "give a mean displacement of 0 to 5 mm"),
            (0 <= self.noise <= 50, f"--noise {self.noise:g}", "give 0 to 50 percent"),
            (0 <= self.physio <= 10, f"--physio {self.physio:g}", "give a factor of 0 to 10"),
            (0 <= self.non_steady <= self.volumes, f"--non-steady {self.non_steady}", "give 0 to --volumes"),
            (0 <= self.distortion_mm <= 20, f"--distortion-mm {self.distortion_mm:g}", "give 0 to 20 mm"),
            (set(self.fieldmaps) <= set(FIELDMAPS), f"--fieldmaps {' '.join(self.fieldmaps)}",
             f"give some of {', '.join(FIELDMAPS)}, or none"),
            (bool(self.tasks) and len(set(self.tasks)) == len(self.tasks), f"--tasks {','.join(self.tasks)}",
             "name each task once"),
            (not self.pictures or PICTURES in self.tasks, f"--tasks {','.join(self.tasks)} with --pictures",
             f"{PICTURES} is one of them"),
            (not self.pictures or self.volumes * self.tr_s >= LEAST_S,
             f"--pictures with runs of {self.volumes * self.tr_s:g} s", f"runs of {LEAST_S:g} s or more"),
            (not (self.pictures and self.control), "--pictures with --control", "leave one of them out"),
        )  # fmt: skip
        for good, what, remedy in checks:
            if not good:
                raise InputError(f"simulate: impossible {what}", remedy)
        for task in self.tasks:
            if not re.fullmatch("[A-Za-z0-9]+", task):
                raise InputError(f"simulate: --tasks has {task!r}, no BIDS label", "letters and digits only")
        if unknown := sorted(set(self.no_t1w) - set(self.labels)):
            raise InputError(
                f"simulate: --no-t1w {' '.join(unknown)}: no such subject",
                f"subjects are {self.labels[0]} to {self.labels[-1]}",
            )

    @property
    def readout_s(self) -> float:
        """TotalReadoutTime of EPI: from its first line to the last one."""
        return ECHO_SPACING_S * (self.shape[1] - 1)

    @property
    def labels(self) -> list[str]:
        """Subject labels: 01, 02, ... (three digits from 100 on)."""
        width = max(2, len(str(self.subjects)))
        return [f"{i:0{width}d}" for i in range(1, self.subjects + 1)]

    def recordings(self, label: str) -> list[tuple[str, str, int | None]]:
        """(id, task, run) of one subject; no run entity where each task has one run."""
        recordings: list[tuple[str, str, int | None]] = []
        for task in self.tasks:
            name = f"sub-{label}_task-{task}"
            if self.runs == 1:
                recordings.append((name, task, None))
                continue
            for run in range(1, self.runs + 1):
                recordings.append((f"{name}_run-{run}", task, run))
        return recordings

    def rng(self, *names: object) -> np.random.Generator:
        """A generator that depends on the seed and on names only: adding a subject changes no other."""
        return np.random.default_rng([self.seed, *(zlib.crc32(str(n).encode()) for n in names)])

    def driven(self, task: str, count: int) -> tuple[int, ...]:
        """The networks (of `count`, by number) that a task drives: none at rest, else two, others for each task."""
        if task == "rest" or count < 2 or self.control or (self.pictures and task == PICTURES):
            return ()
        order = [t for t in self.tasks if t != "rest"].index(task)
        return tuple(sorted({(count - 1 - 2 * order) % count, (count - 2 - 2 * order) % count}))


def _text(numbers: Iterable[int]) -> str:
    return ",".join(str(n) for n in numbers)
