"""The whole dataset: subjects one after another, images and truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from brainlm_data.errors import InputError
from brainlm_data.files.lock import beside
from brainlm_data.files.processes import processes
from brainlm_data.files.progress import Progress
from brainlm_data.simulate import fieldmaps, pictures, signals, write
from brainlm_data.simulate.anatomy import Head, template_tissues
from brainlm_data.simulate.plan import PICTURES, Plan
from brainlm_data.simulate.scanner import EpiHead, EpiRun, on_t1w, t1w_grid, t1w_image


def check_folder(plan: Plan) -> None:
    """Refuse to write into a folder that holds something.

    Raises
    ------
    InputError: `plan.out` is a file or is not empty.
    """
    if plan.out.exists() and (not plan.out.is_dir() or any(plan.out.iterdir())):
        raise InputError(f"simulate: {plan.out} exists and is not empty", "remove it or give another --out")


@contextmanager
def placed(plan: Plan) -> Iterator[Plan]:
    """The same plan for a folder beside `plan.out`, which gets that name at the end: a dataset is whole or not there.

    Raises
    ------
    InputError: as `check_folder`; another process writes there.
    """
    check_folder(plan)
    with beside(plan.out, "simulating") as scratch:
        made = replace(plan, out=scratch / "made")
        yield made
        if plan.out.exists():  # empty, perhaps the working directory
            for path in made.out.iterdir():
                os.replace(path, plan.out / path.name)
        else:
            os.replace(made.out, plan.out)


def atlas() -> tuple[Any, Any]:
    """The embedded atlas: label image and table, its rows sorted by index."""
    from brainlm_data.spaces.demo424 import embedded_atlas

    image, table = embedded_atlas()
    return image, table.sort_values("index").reset_index(drop=True)


def simulate(plan: Plan, quiet: bool = False, workers: int = 1) -> None:
    """Write a BIDS dataset with T1w and BOLD images and `truth/` into `plan.out`.

    `workers`: subjects at once, each in a process of its own (about 1 GB); the bytes are the same for any number.

    Raises
    ------
    InputError: the folder is not empty, or fewer than one worker.
    """
    if workers < 1:
        raise InputError(f"simulate: impossible --workers {workers}", "give 1 or more")
    check_folder(plan)
    people = signals.participants(plan)
    write.dataset(plan, people, atlas()[1])
    if plan.pictures:
        pictures.Stimuli.of(plan).save(plan.out / "stimuli")
    progress = Progress("simulate", sum(len(plan.recordings(label)) for label in plan.labels), quiet=quiet)
    if workers == 1:
        for person in people:
            _subject(plan, person, progress)
        return
    template_tissues()  # once, before the processes are forked
    with processes(min(workers, len(people))) as pool:
        jobs = [pool.submit(_subject, plan, person) for person in people]
        for job in as_completed(jobs):
            for recording in job.result():
                progress.step(more=recording)


def _subject(plan: Plan, person: dict[str, Any], progress: Progress | None = None) -> list[str]:
    """Write everything of one subject; the names of its recordings."""
    image, table = atlas()
    parcels = signals.Parcels.of(table)
    labels = np.asarray(image.dataobj)
    rows = np.zeros(int(labels.max()) + 1, np.int16)
    rows[parcels.labels] = np.arange(1, len(parcels.labels) + 1)
    label = person["participant_id"].removeprefix("sub-")
    head = Head.draw(plan, label, rows[labels], image.affine)
    shape, affine = t1w_grid(plan, label, head)
    if label not in plan.no_t1w:
        write.t1w(plan, label, *t1w_image(plan, label, head, shape, affine), affine)
    points = 1 if plan.t1w_mm < 1.5 else 2
    shares = []
    for tissue in range(3):  # grey matter, white matter, CSF
        fine = head.tissues[..., tissue].astype(np.float32)
        shares.append(on_t1w(head, fine, shape, affine, points) / 255)
    write.anatomy_truth(plan, label, head, np.stack(shares, axis=-1), affine)
    who = signals.brain(plan, parcels, label, person["age"])
    write.brain_truth(plan, label, parcels, who)
    stimuli = pictures.Stimuli.of(plan) if plan.pictures else None
    cortex = pictures.Cortex.draw(plan, label, head, parcels, stimuli) if stimuli else None
    if stimuli and cortex:
        write.cortex_truth(plan, label, cortex, stimuli)
    epi = EpiHead.of(plan, label, head, cortex.rows(head) if cortex else None)
    for image in fieldmaps.acquired(plan, label, head, epi.field):
        write.fieldmap(plan, label, image)
    times = np.arange(plan.volumes) * plan.tr_s
    recordings = plan.recordings(label)
    for recording, task, number in recordings:
        series = signals.neural(plan, parcels, who, recording, task, times)
        run_signals, events = series, write.block_rows(plan, task)
        if cortex:
            shown = pictures.trials(plan, label, (number or 1) - 1) if task == PICTURES else []
            run_signals = cortex.signals(series, shown, times)
            if stimuli and shown:
                events = stimuli.rows(shown)
        run = EpiRun.draw(plan, label, recording, epi, run_signals)

        def each(_: int) -> None:
            if progress:
                progress.add(1 / plan.volumes)

        write.bold(plan, label, run, run.images(each), task, events)
        write.run_truth(plan, label, run, parcels, who, task)
    return [recording for recording, _, _ in recordings]
