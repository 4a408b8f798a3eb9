"""A BIDS dataset whose truth is known: `brainlm-data simulate`.

    plan       the numbers that a person chooses, checked
    anatomy    heads: a warped template with tissues of its own          kernels   compiled loops
    signals    neural parcel series in networks, changing with age
    movement   head motion and head position                            noise     everything else that varies
    field      the magnetic field, and the distortion of EPI       fieldmaps what is acquired to measure it
    pictures   what is shown, and what visual cortex makes of it
    scanner    the two images of a head: T1w and EPI run
    write      BIDS files and truth                                      parcels   series only, for hundreds of subjects

Nothing here is used by a stage, and nothing of a stage's interpolation or registration is used here.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `simulate` and its call."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the dataset")
    parser.add_argument("--subjects", type=int, required=True, metavar="N")
    parser.add_argument("--volumes", type=int, default=150, metavar="T", help="per run (default %(default)s)")
    parser.add_argument("--tr", type=float, default=2.0, metavar="S", help="repetition time, s (default %(default)s)")
    parser.add_argument("--shape", type=_three, default=(64, 76, 52), metavar="X,Y,Z", help="EPI grid (64,76,52)")
    parser.add_argument("--voxel-mm", type=float, default=3.0, metavar="V", help="EPI voxel size (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="same seed, same bytes (default %(default)s)")
    parser.add_argument("--tasks", type=_names, default=("rest",), metavar="A,B", help="rest, or any name: blocks")
    parser.add_argument("--runs", type=int, default=1, help="runs of each task (default %(default)s)")
    parser.add_argument("--no-t1w", nargs="+", default=[], metavar="SUBJ", help="subjects without a T1w")
    parser.add_argument("--t1w-mm", type=float, default=1.0, help="voxel size of the T1w (default %(default)s)")
    parser.add_argument("--motion-mm", type=float, default=0.2, help="typical mean displacement (default %(default)s)")
    parser.add_argument("--noise", type=float, default=1.0, help="thermal noise, %% of grey matter (default 1)")
    parser.add_argument("--physio", type=float, default=1.0, help="factor on all other noise; 0: none (default 1)")
    parser.add_argument("--non-steady", type=int, default=0, metavar="N", help="volumes before the steady state")
    parser.add_argument("--distortion-mm", type=float, default=0.0, help="largest EPI shift near the sinuses")
    parser.add_argument(
        "--fieldmaps", nargs="+", default=["none"], metavar="KIND", help="none, epi, phasediff, phases, fieldmap"
    )
    parser.add_argument("--control", action="store_true", help="plant nothing: no networks, no age, no task")
    parser.add_argument("--pictures", action="store_true", help="a task `pictures`, which shows digits")
    parser.add_argument("--parcels-only", action="store_true", help="parcel series at 1 Hz instead of images")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="subjects at once (default 1; 1 GB each)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(call=_simulate)


def _three(text: str) -> tuple[int, int, int]:
    values = [int(v) for v in text.split(",")]
    if len(values) != 3:
        raise ValueError(text)
    return (values[0], values[1], values[2])


def _names(text: str) -> tuple[str, ...]:
    return tuple(t for t in text.split(",") if t)


def _simulate(arguments: argparse.Namespace) -> None:
    from brainlm_data.errors import InputError
    from brainlm_data.simulate.plan import PICTURES, Plan

    a = arguments
    if a.pictures and a.parcels_only:
        raise InputError("simulate: --pictures with --parcels-only: parcels see no pictures", "leave one of them out")
    tasks = a.tasks if not a.pictures or PICTURES in a.tasks else (*a.tasks, PICTURES)
    plan = Plan(
        a.out, a.subjects, a.volumes, a.tr, a.shape, a.voxel_mm, a.seed, tasks, a.runs,
        tuple(s.removeprefix("sub-") for s in a.no_t1w), a.t1w_mm, a.motion_mm, a.noise, a.physio, a.non_steady,
        a.distortion_mm, a.control, tuple(kind for kind in a.fieldmaps if kind != "none"), a.pictures,
    )  # fmt: skip
    from brainlm_data.simulate.cohort import placed, simulate

    with placed(plan) as made:
        if a.parcels_only:
            from brainlm_data.simulate.parcels import simulate_parcels

            simulate_parcels(made, a.quiet)
        else:
            simulate(made, a.quiet, a.workers)
