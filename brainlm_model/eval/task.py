"""The frame of the paper's tasks: a task computes its `Results`; what comes before and after is the same for all.

A task is a package of `brainlm_model.eval` with `stage.py` (section, `evaluate`, `describe`, `STAGE`) and `words.py`
(its sentences), and a module of `brainlm_model.figures` of the same name (its figure); `tasks.py` lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainlm_data import Artifact, Facts, Files, InputError, Need, Stage, StageConfig
from brainlm_model.eval.pieces import Pieces, source_key
from brainlm_model.eval.writing import headline, write_csv, write_figure, write_json
from brainlm_model.training.machine import use_threads

if TYPE_CHECKING:
    import pandas as pd

    from brainlm_model.models.network import Network
    from brainlm_model.trained.checkpoint import TrainedModel

Split = Literal["test", "validation", "external"]


@dataclass(frozen=True)
class Start:
    """What every task begins with.

    Attributes
    ----------
    inputs: the stage's input files. store: the open store. model: the trained model, on the device of the section.
    workdir: for what a killed run leaves behind; None: nothing is kept. pieces: finished parts, in that folder.
    """

    inputs: Files
    store: Any
    model: TrainedModel
    workdir: Path | None
    pieces: Pieces

    def recordings(self, splits: Sequence[str], most: int, seed: int) -> pd.DataFrame:
        """See `chosen`."""
        return chosen(self.store, splits, most, seed)

    def networks(self) -> dict[str, Network]:
        """The trained network as "model", and as "untrained" the same before its first optimiser step."""
        from brainlm_model.eval.masked.scoring import untrained

        return {"model": self.model.network, "untrained": untrained(self.model).network}


@dataclass(frozen=True)
class Results:
    """What a task found, before it is written.

    Attributes
    ----------
    facts: for the sidecars, the methods sentence and the JSON. rows: of the table, whose columns `task` is given.
    arrays: for the figure. comparisons, warnings, published: parts of the JSON. more: further ones; a key "Results"
        replaces the rows there.
    """

    facts: Facts
    rows: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, Any]
    comparisons: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    published: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any] = field(default_factory=dict)


def task(
    name: str,
    version: int,
    summary: str,
    config: type[StageConfig],
    columns: Sequence[str],
    evaluate: Callable[[Start, Any], Results],
    describe: Callable[[Facts], str],
    more: Sequence[str] = (),
) -> Stage:
    """A stage of the form that all tasks have: a store, a model (and `more`) in; JSON, CSV, arrays and a figure out."""

    def run(inputs: Files, outputs: Files, section: Any) -> Facts:
        from brainlm_data import compare_store, open_store
        from brainlm_model.trained.load import load

        use_threads(section.threads)
        workdir = outputs.meta.get("workdir")
        store, model = open_store(inputs["store"]), load(inputs["model"].parent, section.device)
        compare_store(store.attrs, model.card.data, str(store.path))
        start = Start(
            inputs,
            store,
            model,
            None if workdir is None else Path(workdir),
            Pieces(workdir, source_key(inputs, name, version, section)),
        )
        results = evaluate(start, section)
        write(outputs, name, columns, results)
        start.pieces.clear()
        return results.facts

    artifacts = {
        f"{name}_json": Artifact("cohort", f"metrics/{name}.json", "results, comparisons, warnings"),
        f"{name}_csv": Artifact("cohort", f"metrics/{name}.csv", "the results as a table"),
        f"{name}_arrays": Artifact("cohort", f"metrics/{name}.npz", "what the figure needs beside the table"),
        f"{name}_svg": Artifact("cohort", f"figures/{name}.svg", "the figure"),
        f"{name}_png": Artifact("cohort", f"figures/{name}.png", "the figure"),
    }
    return Stage(
        name=name,
        version=version,
        level="cohort",
        summary=summary,
        Config=config,
        inputs=("store", "recordings", "scaler", "model", "model_config", "model_scaler", *more),
        outputs=tuple(artifacts),
        artifacts=artifacts,
        need=Need(8000, start=24 * 3600),
        run=run,
        describe=describe,
    )


def write(outputs: Files, name: str, columns: Sequence[str], results: Results) -> None:
    """The files of a task: JSON with the sentences of its `words`, table, arrays, and the figure drawn from both."""
    content = {
        "Results": results.rows,
        **results.facts,
        "Comparisons": results.comparisons,
        **results.more,
        "Warnings": results.warnings,
        "Published": results.published,
    }
    write_json(outputs[f"{name}_json"], {"Summary": headline(name, content), **content})
    write_csv(outputs[f"{name}_csv"], columns, results.rows)
    np.savez_compressed(outputs[f"{name}_arrays"], **results.arrays)
    write_figure(outputs, name)


def chosen(store: Any, splits: Sequence[str], most: int, seed: int) -> pd.DataFrame:
    """Recordings with status done of these splits, at most `most`: drawn by the seed, in the order of the table.

    Raises
    ------
    InputError: there is none.
    """
    table = store.recordings
    of_splits = table[(table["status"] == "done") & table["split"].isin(list(splits))].reset_index(drop=True)
    if of_splits.empty:
        counts = ", ".join(f"{name} {n}" for name, n in table["split"].value_counts().items())
        raise InputError(
            f"store: no recording in split {' or '.join(splits)} (of {len(table)}: {counts or 'none in any split'})",
            "more subjects, or other splits: collate.test, collate.external",
        )
    # the first ones of one permutation: a larger `most` keeps those that a smaller one has drawn
    drawn = np.random.default_rng(seed).permutation(len(of_splits))[:most]
    return of_splits.iloc[np.sort(drawn)].reset_index(drop=True)
