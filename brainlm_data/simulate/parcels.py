"""Parcel series without images: hundreds of subjects in seconds, to test training and evaluation.

The same neural signals as in the images, at 1 Hz in grand-mean units (1 percent is 100), with white measurement noise
made at the TR. No filter was applied: the band starts at 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainlm_data.files.progress import Progress
from brainlm_data.files.reads import reads
from brainlm_data.files.sums import SUMS
from brainlm_data.reading.events import Condition, write_events
from brainlm_data.simulate import movement, signals
from brainlm_data.simulate.cohort import atlas, check_folder
from brainlm_data.simulate.plan import Plan
from brainlm_data.simulate.write import block_rows
from brainlm_data.stage import Sentence

RATE_HZ = 1.0
NOISE = 0.3  # SD of a parcel's measurement noise a percent of thermal noise a voxel, percent
UNITS = 100.0  # grand mean 10000: one percent
SHARES = (0.1, 0.1)  # validation, test


def simulate_parcels(plan: Plan, quiet: bool = False) -> None:
    """Write series/*.npy, recordings.tsv, atlas.tsv, store.zarr, recordings.parquet, scaler.npz, card.json, card.md.

    And events.tsv (docs/stages/events.md), where there is a task.

    Raises
    ------
    InputError: the folder is not empty.
    """
    import pandas as pd

    from brainlm_data.dataset.card import Card
    from brainlm_data.dataset.fit_scaler import fit_scaler
    from brainlm_data.dataset.splits import split_subjects
    from brainlm_data.dataset.store import open_store, write_store, write_sums_of

    check_folder(plan)
    _, table = atlas()
    parcels = signals.Parcels.of(table)
    folder = plan.out / "series"
    folder.mkdir(parents=True)
    steps = int(np.floor((plan.volumes - 1) * plan.tr_s * RATE_HZ + 1e-9)) + 1
    splits = split_subjects(plan.labels, *SHARES, seed=0)
    progress = Progress("simulate", plan.subjects, quiet=quiet)
    rows: list[dict[str, Any]] = []
    events: list[Condition] = []
    for person in signals.participants(plan):
        label = person["participant_id"].removeprefix("sub-")
        who = signals.brain(plan, parcels, label, person["age"])
        for recording, task, run in plan.recordings(label):
            np.save(folder / f"{recording}.npy", series(plan, parcels, who, recording, task, steps))
            for block in block_rows(plan, task):
                events.append(Condition(recording, block["onset"], block["duration"], block["trial_type"]))
            moved = np.abs(np.diff(movement.traces(plan, label, recording), axis=0)) @ [
                1,
                1,
                1,
                *[movement.RADIUS_MM] * 3,
            ]
            rows.append(
                {"id": recording, "subject": label, "session": None, "task": task, "run": run and str(run),
                 "tr_s": plan.tr_s, "n_volumes": plan.volumes, "n_steps": steps, "rate_hz": RATE_HZ,
                 "band_low_hz": 0.0, "band_high_hz": min(0.5 / plan.tr_s, RATE_HZ / 2), "units": "grand mean 10000",
                 "mean_fd_mm": float(moved.mean()) if len(moved) else 0.0, "mean_dvars": np.nan,
                 "median_tsnr": np.nan, "coverage_min": 1.0, "coverage_mean": 1.0, "status": "done", "reason": "",
                 "split": splits[label], "age": person["age"], "sex": person["sex"]}
            )  # fmt: skip
        progress.step(more=f"sub-{label}")
    recordings = pd.DataFrame(rows)
    recordings[["id", "subject", "session", "task", "run", "tr_s", "age", "sex"]].to_csv(
        plan.out / "recordings.tsv", sep="\t", index=False, na_rep="n/a"
    )
    table.to_csv(plan.out / "atlas.tsv", sep="\t", index=False)
    if events:
        write_events(events, plan.out / "events.tsv")
    attributes = {
        "rate_hz": RATE_HZ, "units": "grand mean 10000", "atlas": "demo424", "n_parcels": len(table),
        "simulated": True,
    }  # fmt: skip
    made = Sentence("Series of {people} people were simulated (seed {seed}), not filtered.",
                    people=plan.subjects, seed=plan.seed)  # fmt: skip
    card = Card.describe(recordings, {**attributes, "parcels": table}, [{"simulate": made}] * len(recordings))
    attributes |= {"card": card.markdown(), "card_data": card.content()}

    def spooled(row: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        file = folder / f"{rows[row]['id']}.npy"
        with reads(file, "simulate again"):
            return np.load(file)

    starts = write_store(plan.out / "store.zarr", spooled, recordings, table, attributes)
    recordings.assign(start=starts).to_parquet(plan.out / "recordings.parquet", index=False)
    training = recordings.loc[recordings["split"] == "train", "id"].tolist()
    fit_scaler(open_store(plan.out / "store.zarr"), training).save(plan.out / "scaler.npz")
    config = {"seed": 0, "external": {}}
    card.with_tables(recordings, config).save(plan.out / "card.json", plan.out / "card.md")
    tables = [plan.out / name for name in ("recordings.parquet", "scaler.npz", "card.json", "card.md")]
    write_sums_of(plan.out / SUMS, plan.out / "store.zarr", tables)


def series(
    plan: Plan, parcels: signals.Parcels, who: signals.Brain, recording: str, task: str, steps: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One recording's series (steps, parcels) at RATE_HZ."""
    times = np.arange(steps) / RATE_HZ
    neural = signals.neural(plan, parcels, who, recording, task, times)
    white = plan.rng(recording, "measurement").standard_normal((len(parcels.labels), plan.volumes))
    noise = NOISE * plan.noise * signals.sampled(white, times, plan.tr_s).T
    return np.asarray(UNITS * (neural + noise), dtype=np.float32)
