"""Masked reconstruction by model size, training mask ratio and amount of data, beside every baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from brainlm_data import Facts, InputError, Progress
from brainlm_model.baselines import LABELS as BASELINES
from brainlm_model.eval.masked import scoring
from brainlm_model.eval.parcels import coordinates
from brainlm_model.eval.published import MASKED_R2, TRAINED_ON
from brainlm_model.eval.scaling.runs import Bench, Run, baseline, grid
from brainlm_model.eval.scaling.section import Config
from brainlm_model.eval.statistics import masked_r2
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, subject_draws
from brainlm_model.eval.task import Results, Start, task

if TYPE_CHECKING:
    from brainlm_model.eval.masked.scoring import Scores

COLUMNS = (
    "split", "method", "model", "training_ratio", "share", "seed", "training_subjects", "parameters", "steps",
    "mask_ratio", "metric", "value", "low", "high", "n_subjects", "n_recordings", "label",
)  # fmt: skip
MAP_RATIO = 0.75  # of the brain map: the tested ratio next to it
REASON = (
    "other people, scanner, parcels, scaling and frequency band, on all of which masked R2 depends; the paper does not "
    "say what a covariance reaches on its data"
)


def evaluate(start: Start, config: Config) -> Results:
    """Train every model on every share with every training ratio; score all on the same windows and masks.

    Finished trainings are kept in the work folder; a killed one goes on from its last step checkpoint.

    Raises
    ------
    InputError: no recording to test on; a share with no recording.
    """
    store, pieces = start.store, start.pieces
    there = set(store.recordings.loc[store.recordings["status"] == "done", "split"])
    splits = [name for name in dict.fromkeys(config.splits) if name in there]
    if not splits:
        raise InputError(
            f"scaling: no recording in split {' or '.join(config.splits)}",
            "more subjects, or collate.test, collate.external",
        )
    bench = Bench(store, start.inputs["store"], config, splits, start.model)
    runs = grid(config)
    shares = [(share, seed) for share, seed in dict.fromkeys((r.share, r.seed) for r in runs) if share < 1]
    progress = Progress("scaling", 1 + len(shares) + len(runs))
    done: dict[Any, dict[str, Any]] = {"checkpoint": pieces.get("checkpoint", bench.checkpoint)}
    progress.step(1, "checkpoint")
    for share, seed in shares:
        name = f"baselines_share-{share:g}_seed-{seed}"
        done[name] = pieces.get(name, lambda share=share, seed=seed: bench.baselines(share, seed))  # type: ignore[misc]
        progress.step(len(done), name)
    for one in runs:
        folder = None if pieces.folder is None else pieces.folder / f"{one.name}.training"
        done[one] = pieces.get(one.name, lambda one=one, folder=folder: bench.trained(one, folder))  # type: ignore[misc]
        progress.step(len(done), one.name)

    rows, compared = [], []
    for split in splits:
        scores = bench.scores(split, done)
        rows += [{**row, "split": split} for row in _rows(scores, runs, done, config)]
        compared += [{"split": split, **row} for row in _comparisons(scores, runs, config)]
    facts: Facts = {
        "Splits": splits,
        "Subjects": {split: len(set(bench.held[split].subjects)) for split in splits},
        "Recordings": {split: len(bench.held[split]) for split in splits},
        "Skipped": [reason for split in splits for reason in bench.held[split].skipped.values()],
        "Models": {name: int(next(done[r] for r in runs if r.model == name)["parameters"]) for name in config.models},
        "TrainingRatios": config.training_ratios,
        "TrainingSubjects": {
            f"{s:g}": int(next(done[r] for r in runs if r.share == s)["subjects"]) for s in config.shares
        },
        "Steps": config.steps,
        "BatchSize": config.batch_size,
        "LearningRate": config.lr,
        "Seeds": config.seeds,
        "MaskRatios": config.mask_ratios,
        "Window": start.model.config.window,
        "Patch": start.model.config.patch,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        "CpuMinutes": {r.name: round(float(done[r]["cpu_minutes"]), 2) for r in runs},
    }
    ratio = min(config.mask_ratios, key=lambda r: abs(r - MAP_RATIO))
    of_parcels = {name: done["checkpoint"][f"{splits[0]}/{ratio:g}/{name}"].sum(0) for name in ("model", "gaussian")}
    arrays = {
        "coordinates": coordinates(store),
        "parcel": store.parcels["name"].astype(str).to_numpy(dtype=str),
        "map_ratio": ratio,
        "map_split": splits[0],
        "r2_model": masked_r2.r2(of_parcels["model"]),
        "r2_gaussian": masked_r2.r2(of_parcels["gaussian"]),
    }
    return Results(facts, rows, arrays, compared, _warnings(facts), _published())


def _rows(scores: Scores, runs: Sequence[Run], done: dict[Any, dict[str, Any]], config: Config) -> list[dict[str, Any]]:
    """The table: what was trained here, the checkpoint, and baselines fitted on the same people as each training."""
    by_name = {r.name: r for r in runs}
    everybody = int(done["checkpoint"]["subjects"])
    table = []
    for row in scoring.table(scores, config.bootstrap, config.seed):
        name, *part = row["method"].split("@")
        about: dict[str, Any]
        if name in by_name:
            one, facts = by_name[name], done[by_name[name]]
            about = {"method": "trained", "label": one.label, "model": one.model, "training_ratio": one.ratio_text,
                     "share": one.share, "seed": one.seed, "training_subjects": int(facts["subjects"]),
                     "parameters": int(facts["parameters"]), "steps": int(facts["steps"])}  # fmt: skip
        elif part:
            share, seed = float(part[0]), int(part[1])
            count = int(next(done[r]["subjects"] for r in runs if (r.share, r.seed) == (share, seed)))
            about = {"method": name, "label": LABELS[name], "share": share, "seed": seed, "training_subjects": count}
        else:
            about = {"method": name, "label": LABELS[name], "share": 1.0, "training_subjects": everybody}
        table.append({**dict.fromkeys(COLUMNS), **{k: v for k, v in row.items() if k in COLUMNS}, **about})
    return table


LABELS = {
    "model": "the run's own checkpoint",
    "untrained": "the checkpoint, untrained",
    **BASELINES,
}


def _comparisons(scores: Scores, runs: Sequence[Run], config: Config) -> list[dict[str, Any]]:
    """Flat R2, paired over subjects: each training against its baselines, more data, a larger model, another ratio."""
    weights = subject_draws(scores.subjects, config.bootstrap, config.seed)
    pairs: list[tuple[str, str, str]] = []
    for one in runs:
        pairs += [
            ("baseline", one.name, baseline(name, one.share, one.seed)) for name in ("gaussian", *config.baselines)
        ]
        for other in runs:
            if (step := one.step_from(other, config)) is not None:
                pairs.append((step, one.name, other.name))
    pairs += [("baseline", "model", name) for name in ("untrained", "gaussian", *config.baselines)]
    rows = []
    for kind, first, second in pairs:
        for ratio in config.mask_ratios:
            condition = scoring.Condition("random", ratio)
            comparison = masked_r2.compare(
                scores.sums[first, condition], scores.sums[second, condition], scores.subjects, weights
            )  # fmt: skip
            rows.append(
                {"kind": kind, "method": first, "against": second, "mask_ratio": ratio,
                 "difference": comparison.difference.value, "low": comparison.difference.low,
                 "high": comparison.difference.high,
                 "verdict": comparison.verdict, "n_subjects": comparison.subjects, "firm": comparison.firm}
            )  # fmt: skip
    return rows


def _published() -> list[dict[str, Any]]:
    return [
        {"source": "Ortega Caro et al., BrainLM, preprint v1",
         "cohort": cohort if cohort == TRAINED_ON else f"{cohort}, not trained on", "training_ratio": ratio,
         "share": share, "mask_ratio": tested, "metric": "r2_flat", "value": value, "comparable": False,
         "reason": REASON}
        for (cohort, ratio, share), cells in MASKED_R2.items() for tested, value in cells.items()
    ]  # fmt: skip


def _warnings(facts: Facts) -> list[str]:
    lines = [f"not scored: {reason}" for reason in facts["Skipped"]]
    for split, count in facts["Subjects"].items():
        if count < ENOUGH_SUBJECTS:
            lines.append(f"only {count} subjects in split {split}: intervals are too narrow, no test can reach p < .05")
    if len(facts["Seeds"]) < 3:
        lines.append("fewer than three seeds: differences between trainings may be those of a seed")
    lines.append("intervals and verdicts are of one training each, over subjects, and not corrected for their number")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    ratios = ", ".join(str(ratio) for ratio in facts["TrainingRatios"])
    return (
        f"{' and '.join(facts['Models'])} were trained for {facts['Steps']} steps with mask ratios {ratios} on "
        f"{' and '.join(map(str, facts['TrainingSubjects'].values()))} subjects, and scored by masked R2 (unclipped) "
        f"at {', '.join(f'{r:g}' for r in facts['MaskRatios'])} beside baselines fitted on the same subjects, with "
        f"{facts['Bootstrap']} bootstrap draws of subjects (Efron & Tibshirani, 1993)."
    )


STAGE = task(
    "scaling",
    1,
    "Masked reconstruction by model size, training mask ratio and amount of data.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
