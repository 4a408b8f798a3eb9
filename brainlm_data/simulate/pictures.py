"""A picture experiment: digits are shown, and each piece of visual cortex answers by a Gabor filter of its own.

The visual parcels are cut into cubes of CUBE_MM. Cube u answers picture p with

    z_up = standardized over pictures of  max(0, <g_u, p>),    g_u(x, y) = exp(-d^2 / 2 s^2) cos(2 pi d' / l + phase)

d the distance from the filter's centre, d' that along its direction, l its wave length, s = l / 2; centres of
neighbouring cubes are near each other (retinotopy), direction, phase and wave length are each cube's own. A trial adds
MEAN + GAIN z_up percent to the cube's signal, through the haemodynamic response, for SHOWN_S seconds.

One trial every EVERY_S seconds. Most pictures are shown once; in each run one trial in REPEATED_SHARE shows a picture
of a small set that is shown REPEATS times: those are for the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.simulate.anatomy import FINE_SHAPE, Head, smooth_field
from brainlm_data.simulate.kernels import trilinear
from brainlm_data.simulate.plan import Plan
from brainlm_data.simulate.signals import STEP_S, Parcels, response, sampled

SIZE = 28  # pixels of a picture
EVERY_S, SHOWN_S, REST_S = 6.0, 3.0, 12.0  # of a trial; rest at both ends of a run
REPEATED_SHARE, REPEATS = 4, 2
CUBE_MM = 4
MEAN, GAIN = 1.0, 2.0  # percent; the response of SHOWN_S reaches .4 of what it would reach in the long run
RETINOTOPY_MM = 10.0  # smoothness of the map of centres
WAVES = (0.5, 1.5)  # wave lengths; a picture is 2 wide
NETWORK = "Visual"
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Trial:
    """A picture that is shown: when (s), which one, and whether it is one of those that are shown again."""

    onset_s: float
    picture: int
    repeated: bool


@dataclass(frozen=True)
class Stimuli:
    """The pictures (n, SIZE, SIZE) uint8 of an experiment, and which digit each is; the first ones are repeated."""

    pixels: NDArray[np.uint8]
    digits: NDArray[np.int64]
    n_repeated: int

    @classmethod
    def of(cls, plan: Plan) -> Stimuli:
        """Those that a plan needs, the same for all subjects.

        Raises
        ------
        InputError: more pictures than there are.
        """
        from PIL import Image
        from sklearn.datasets import load_digits

        everything = load_digits()
        n_repeated, n_single = _counts(plan)
        count = n_repeated + n_single
        if count > len(everything.target):
            raise InputError(
                f"simulate: --pictures with {plan.runs} runs of {plan.volumes} volumes shows {count} pictures, there"
                f" are {len(everything.target)}",
                "fewer runs or volumes",
            )
        chosen = plan.rng("pictures").permutation(len(everything.target))[:count]
        pixels = []
        for small in everything.images[chosen]:  # 8 x 8, 0 to 16
            image = Image.fromarray(np.rint(small / 16 * 255).astype(np.uint8))
            pixels.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
        return cls(np.stack(pixels), everything.target[chosen].astype(np.int64), n_repeated)

    def names(self) -> list[str]:
        """Files below stimuli/."""
        return [f"digits/{number:04d}.png" for number in range(len(self.pixels))]

    def save(self, folder: Path) -> None:
        """Write them as PNG below stimuli/."""
        from PIL import Image

        (folder / "digits").mkdir(parents=True)
        for name, pixels in zip(self.names(), self.pixels, strict=True):
            Image.fromarray(pixels).save(folder / name)

    def rows(self, trials: list[Trial]) -> list[dict[str, Any]]:
        """Rows of an events.tsv."""
        names, rows = self.names(), []
        for trial in trials:
            rows.append(
                {
                    "onset": trial.onset_s,
                    "duration": SHOWN_S,
                    "trial_type": f"digit{self.digits[trial.picture]}",
                    "stim_file": names[trial.picture],
                    "stimulus_set": "repeated" if trial.repeated else "single",
                }
            )
        return rows


def per_run(plan: Plan) -> tuple[int, int]:
    """Trials of a run: of pictures that are repeated, and of others."""
    count = int((plan.volumes * plan.tr_s - 2 * REST_S) // EVERY_S)
    return count // REPEATED_SHARE, count - count // REPEATED_SHARE


def _counts(plan: Plan) -> tuple[int, int]:
    """Pictures that are repeated, and pictures that are shown once."""
    repeated, single = per_run(plan)
    return max(1, plan.runs * repeated // REPEATS), plan.runs * single


def trials(plan: Plan, label: str, run: int) -> list[Trial]:
    """What is shown in run number `run` (from 0) of a subject, who sees the pictures in an order of its own."""
    n_repeated, n_single = _counts(plan)
    repeated, single = per_run(plan)
    turns = plan.rng(label, "pictures, single").permutation(n_single) + n_repeated
    shown = [(int(p), False) for p in turns[run * single : (run + 1) * single]]
    first = run * repeated  # the small set goes round, REPEATS times in all runs together
    shown += [((first + k) % n_repeated, True) for k in range(repeated)]
    order = plan.rng(label, "pictures, order", run).permutation(len(shown))
    return [Trial(REST_S + EVERY_S * place, *shown[k]) for place, k in enumerate(order)]


@dataclass(frozen=True)
class Cortex:
    """The cubes of a subject's visual cortex.

    Attributes
    ----------
    unit: FINE_SHAPE, number of the cube + 1; 0 elsewhere. parcel: (u,) row of the atlas's table that a cube is of.
    centre: (u, 2) of its filter, a picture spans -1 to 1. direction, phase (rad), wave: (u,).
    answers: (u, pictures) z.
    """

    unit: NDArray[np.int32]
    parcel: NDArray[np.int64]
    centre: Array
    direction: Array
    phase: Array
    wave: Array
    answers: NDArray[np.float32]

    @classmethod
    def draw(cls, plan: Plan, label: str, head: Head, parcels: Parcels, stimuli: Stimuli) -> Cortex:
        """Cut a head's visual parcels into cubes, and give each its filter."""
        is_visual = np.array([name.startswith(NETWORK) for name in parcels.networks])
        visual = np.flatnonzero(is_visual[parcels.network])
        voxels = np.argwhere(np.isin(head.parcels, visual + 1))
        rows = head.parcels[tuple(voxels.T)].astype(np.int64) - 1
        # a cube is a place on a grid of CUBE_MM, and a parcel: one that is cut by a border makes two
        key = np.c_[voxels // CUBE_MM, rows]
        cubes, number = np.unique(key, axis=0, return_inverse=True)
        unit = np.zeros(FINE_SHAPE, np.int32)
        unit[tuple(voxels.T)] = number.ravel() + 1

        rng = plan.rng(label, "cortex")
        coarse = tuple(n // CUBE_MM + 2 for n in FINE_SHAPE)
        places = cubes[:, :3].astype(float) + 0.5
        maps = np.stack([smooth_field(rng, coarse, CUBE_MM, RETINOTOPY_MM) for _ in range(2)], axis=-1)
        centre = np.clip(0.5 * trilinear(maps.astype(np.float32), places), -0.9, 0.9)
        count = len(cubes)
        direction, phase = rng.uniform(0, np.pi, count), rng.uniform(0, 2 * np.pi, count)
        wave = np.exp(rng.uniform(np.log(WAVES[0]), np.log(WAVES[1]), count))
        answers = _answers(stimuli.pixels, centre, direction, phase, wave)
        return cls(unit, cubes[:, 3], centre, direction, phase, wave, answers)

    def rows(self, head: Head) -> NDArray[np.int16]:
        """FINE_SHAPE: which signal a voxel has, + 1: those of the parcels come first, then those of the cubes."""
        last = int(head.parcels.max())
        return np.where(self.unit > 0, self.unit + last, head.parcels).astype(np.int16)

    def signals(self, series: Array, shown: list[Trial], times: Array) -> Array:
        """Signals (T, parcels + cubes), percent, from those of the parcels (T, parcels).

        A cube has its parcel's signal, and its answers.
        """
        grid = np.arange(0, float(times[-1]) + 2 * STEP_S, STEP_S)
        courses = np.zeros((len(shown), len(grid)))
        for row, trial in enumerate(shown):
            on = (grid >= trial.onset_s) & (grid < trial.onset_s + SHOWN_S)
            courses[row] = np.convolve(on.astype(float), response(STEP_S))[: len(grid)]
        height = MEAN + GAIN * self.answers[:, [trial.picture for trial in shown]]
        evoked = sampled(courses, times).T @ height.T
        return np.concatenate([series, series[:, self.parcel] + evoked], axis=1)

    def save(self, path: Path, stimuli: Stimuli) -> None:
        """The truth."""
        np.savez_compressed(
            path, parcel=self.parcel, centre=self.centre, direction=self.direction, phase=self.phase, wave=self.wave,
            answers=self.answers, stimulus=np.array(stimuli.names()),
        )  # fmt: skip


def _answers(
    pixels: NDArray[np.uint8], centre: Array, direction: Array, phase: Array, wave: Array
) -> NDArray[np.float32]:
    """z (u, pictures) of the module's text."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    flat = pixels.reshape(len(pixels), -1) / 255
    answers = np.zeros((len(centre), len(pixels)), np.float32)
    for u in range(len(centre)):
        dx, dy = x - centre[u, 0], y - centre[u, 1]
        along = dx * np.cos(direction[u]) + dy * np.sin(direction[u])
        bell = np.exp(-(dx**2 + dy**2) / (2 * (wave[u] / 2) ** 2))
        answers[u] = flat @ (bell * np.cos(2 * np.pi * along / wave[u] + phase[u])).ravel()
    answers = np.maximum(answers, 0)
    spread = answers.std(1, keepdims=True)
    return np.divide(answers - answers.mean(1, keepdims=True), spread, out=np.zeros_like(answers), where=spread > 0)
