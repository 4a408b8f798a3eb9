"""Predict the columns of a cohort: every method in every fold, finished folds kept, then scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Progress, atomic, reads_arrays
from brainlm_model.baselines.traits import CANDIDATES
from brainlm_model.eval.phenotype import learn
from brainlm_model.eval.phenotype.features import Recorded, embed, record, space
from brainlm_model.eval.phenotype.finetuned import finetuned
from brainlm_model.eval.phenotype.people import UNSEEN, Fold, People, Target, folds_of, people_of
from brainlm_model.eval.phenotype.scores import HeldOutPredictions, draws_of, orders_of, p_of_permutations, report
from brainlm_model.eval.phenotype.section import BEST, ON_RECORDINGS, PUBLISHED, READOUT, REFERENCE, TANGENT, Config

if TYPE_CHECKING:
    from brainlm_model.trained.checkpoint import TrainedModel

Array = NDArray[np.float64]
MOST_KEPT = 1 << 30  # bytes of features that are kept between columns


@dataclass(frozen=True)
class ColumnResults:
    """Rows of the table, comparisons and facts of a column; and who was predicted, what is true, and what was said.

    `held`: method -> outputs (subject, 1 or class), with "subject", "truth" and "fold" beside them. `part`: which of
    several results of the column: "transfer", a split of the store, or "" for the main one.
    """

    rows: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    facts: dict[str, Any]
    held: dict[str, NDArray[Any]]
    part: str


class Cohort:
    """Features of a cohort, and every method's predictions of a column.

    Attributes
    ----------
    people: subjects with a recording that the model can embed. left_out: recordings that it cannot, and why.
    absent: methods whose features the model does not have.
    """

    candidates = CANDIDATES

    def __init__(
        self, store: Any, model: TrainedModel, config: Config, people: People, workdir: Path | None, key: str
    ) -> None:
        self.store, self.model, self.config, self.workdir, self.key = store, model, config, workdir, key
        embedded, self.left_out = embed(model, store, workdir, key[:16])
        wanted = [name for ids in people.recordings for name in ids if name in embedded]
        people = people_of(store.recordings, wanted, config.subjects)
        self.recorded, measured, unmeasured = record(store, people.recordings, embedded)
        self.left_out = [*self.left_out, *unmeasured]
        self.people = people_of(store.recordings, measured, config.subjects)
        requested: set[str] = {*config.methods} or set(learn.METHODS) - set(PUBLISHED)
        requested -= {"finetuned"}
        if config.finetune:
            requested.add("finetuned")
        if config.confounds:
            requested -= set(ON_RECORDINGS)
        self.absent = []
        for name in ("adapted", "attention"):
            if not getattr(self.recorded, name).shape[1] and f"{name}_ridge" in requested:
                self.absent.append(f"{name}_ridge")
        self.methods = [name for name in learn.METHODS if name in requested and name not in self.absent]
        self._spaces: dict[str, list[Array]] = {}
        self._size = 0  # bytes of `_spaces`

    @property
    def labels(self) -> dict[str, str]:
        """Methods as figures and tables call them."""
        return {name: learn.METHODS[name].label for name in self.methods}

    def column(self, target: Target, validation: str, transfer: bool = False) -> list[ColumnResults]:
        """Predict a column by every method, and score it: once, or each unseen split of the store by itself.

        `validation`: what the folds are, in words. `transfer`: they are those of the split by TR or scanner, for which
        ridge regressions are enough.
        """
        config = self.config
        folds = folds_of(target, self.people, config.folds, config.inner, config.seed)
        recorded = self.recorded.take(target.rows)
        methods = [name for name in self.methods if not transfer or learn.METHODS[name].learner in ("readout", "ridge")]
        progress = Progress(f"phenotype: {target.name}, {validation}", max(len(folds) * len(methods), 1))
        outputs: dict[str, list[Array]] = {name: [] for name in [*methods, BEST, "trivial"]}
        permuted: dict[str, list[Array]] = {name: [] for name in methods}
        chosen: dict[str, list[Any]] = {name: [] for name in [*methods, BEST]}
        learnt, transforms = np.full((len(folds), len(target.rows)), np.nan), []
        ranked = [name for name in methods if learn.METHODS[name].group == "ours" and name != "finetuned"]
        sites = np.zeros(len(target.rows), np.intp)
        if target.sites is not None:
            sites = np.unique(target.sites, return_inverse=True)[1]
        # of fits to permuted labels nothing is used where not everybody is predicted
        orders = orders_of(sites, 0 if target.splits is not None else config.permutations, config.seed)
        for number, fold in enumerate(folds):
            transform = learn.transform_of(target, fold)
            transforms.append(transform)
            learnt[number] = transform.apply(target.labels)
            spaces = self._of_fold(recorded, target, fold)
            task = learn.Task(target, fold, learnt[number], config.seed, config.epochs, spaces, recorded, orders)
            outcomes = {}
            for place, name in enumerate(methods):
                outcomes[name] = self._piece(name, task)
                outputs[name].append(outcomes[name].outputs)
                permuted[name].append(outcomes[name].permuted)
                chosen[name].append(outcomes[name].chosen)
                progress.step(number * len(methods) + place + 1)
            outputs["trivial"].append(learn.trivial(task))
            # a fine-tuned model is judged on one inner split, the others on all: only these can be ranked
            if ranked:
                best = max(ranked, key=lambda name: outcomes[name].inner)
                outputs[BEST].append(outcomes[best].outputs)
                chosen[BEST].append(best)
        results = []
        for part, tested in _parts(target, folds):
            scored = [replace(fold, test=fold.test[seen]) for fold, seen in zip(folds, tested, strict=True)]
            held: dict[str, HeldOutPredictions] = {}
            for name, predicted in outputs.items():
                if predicted:
                    own = [values[seen] for values, seen in zip(predicted, tested, strict=True)]
                    held[name] = self._held(own, target, scored, learnt, transforms, sites)
            p_values = self._p_values(target, scored, held, permuted, orders)
            words = f"{validation}, {part}" if part else validation
            facts = {"Validation": words, "Transfer": transfer}
            results.append(
                self._results(target, scored, held, chosen, p_values, facts, "transfer" if transfer else part)
            )
        return results

    def _p_values(
        self,
        target: Target,
        folds: list[Fold],
        held: dict[str, HeldOutPredictions],
        permuted: dict[str, list[Array]],
        orders: NDArray[np.intp],
    ) -> dict[str, float]:
        """p of permutations of labels within sites, by fits to them; within folds as well where there are none."""
        people = np.concatenate([fold.test for fold in folds])
        tested = np.sort(people)
        p_values = {}
        for name, predictions in held.items():
            refitted = None
            if name in permuted and permuted[name][0].size:
                refitted = np.concatenate(permuted[name])[np.argsort(people)]
            if refitted is not None and len(tested) == len(target.rows):
                p_values[name] = p_of_permutations(predictions, target.task, orders, refitted)
            else:
                within = orders_of(predictions.strata, self.config.permutations, self.config.seed)
                p_values[name] = p_of_permutations(predictions, target.task, within)
        return p_values

    def _results(
        self,
        target: Target,
        folds: list[Fold],
        held: dict[str, HeldOutPredictions],
        chosen: dict[str, list[Any]],
        p_values: dict[str, float],
        split: dict[str, Any],
        part: str,
    ) -> ColumnResults:
        """Scores of the methods' held-out predictions. `chosen`: the setting of each method in each fold."""
        config = self.config
        references = [name for name in (BEST, REFERENCE, TANGENT) if name in held]
        scores, comparisons = report(held, target.task, references, config.bootstrap, p_values, config.seed)
        shared = {"column": target.name, "task": target.task, "validation": split["Validation"]}
        rows = []
        for row in scores:
            rows.append({**shared, **row, **self._words(row["method"], target.task), "n_folds": len(folds)})
        tested = np.sort(np.concatenate([fold.test for fold in folds]))
        subjects_of = {}
        for number, label in enumerate(target.classes):
            subjects_of[label] = int((target.labels == number).sum())
        facts = {
            "Column": target.name, "Task": target.task, "Transform": target.transform, **split,
            "Within": "sites" if target.sites is not None else "folds", "Subjects": len(tested),
            "Readout": READOUT[target.task], "Draws": draws_of(config.bootstrap, len(held)),
            "Classes": subjects_of or None,
            "LeftOut": target.left_out, "Folds": {fold.name: len(fold.test) for fold in folds}, "Chosen": chosen,
        }  # fmt: skip
        first = next(iter(held.values()))
        subjects = np.array([self.people.names[i] for i in target.rows[tested]])
        arrays: dict[str, NDArray[Any]] = {"subject": subjects, "truth": first.truth, "fold": first.folds}
        for name, predictions in held.items():
            arrays[name] = predictions.outputs
        return ColumnResults(rows, [{**shared, **row} for row in comparisons], facts, arrays, part)

    def _words(self, name: str, task: str) -> dict[str, str]:
        if name == BEST:
            return {"label": "best of ours in inner folds", "group": "ours"}
        if name == "trivial":
            return {"label": learn.TRIVIAL[task], "group": "trivial"}
        return {"label": learn.METHODS[name].label, "group": learn.METHODS[name].group}

    def _of_fold(self, recorded: Recorded, target: Target, fold: Fold) -> Callable[[str], list[Array]]:
        """Features by name, fitted when they are first asked for.

        Those of this fold are kept; and for columns of the same people and fold as much as `MOST_KEPT` holds.
        """
        own: dict[str, list[Array]] = {}
        confounds = b"" if target.confounds is None else target.confounds.tobytes()
        key = hashlib.sha256(target.rows.tobytes() + b"/" + fold.train.tobytes() + b"/" + confounds).hexdigest()

        def get(name: str) -> list[Array]:
            if name in own:
                return own[name]
            kept = self._spaces.get(f"{name}/{key}")
            own[name] = space(name, recorded, fold.train, target.confounds) if kept is None else kept
            if kept is None and self._size < MOST_KEPT:
                self._spaces[f"{name}/{key}"] = own[name]
                self._size += sum(values.nbytes for values in own[name])
            return own[name]

        return get

    def _piece(self, name: str, task: learn.Task) -> learn.Outcome:
        """A method in a fold, from the work folder where it is finished."""
        if self.workdir is None:
            return self._run(name, task)
        target, fold = task.target, task.fold
        names = [self.people.names[i] for i in target.rows]
        depends_on = [self.key, name, names, task.learnt.tolist(), target.classes, self.config.epochs, task.seed,
                      fold.test.tolist(), [part.tolist() for part in fold.inner], self.config.confounds,
                      hashlib.sha256(task.orders.tobytes()).hexdigest()]  # fmt: skip
        file = self.workdir / f"{hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:24]}.npz"
        if file.is_file():
            with reads_arrays(file, "delete it: it is computed again") as kept:
                return learn.Outcome(
                    kept["outputs"], float(kept["inner"]), json.loads(str(kept["chosen"])), kept["permuted"]
                )
        outcome = self._run(name, task)
        with atomic(file) as part, part.open("wb") as stream:
            np.savez(
                stream, outputs=outcome.outputs, inner=outcome.inner, chosen=json.dumps(outcome.chosen),
                permuted=outcome.permuted,
            )  # fmt: skip
        return outcome

    def _run(self, name: str, task: learn.Task) -> learn.Outcome:
        if name == "finetuned":
            return finetuned(self.model, self.store, task, self.people)
        return learn.learner_of(name, task)

    @staticmethod
    def _held(
        parts: list[Array],
        target: Target,
        folds: list[Fold],
        learnt: Array,
        transforms: list[Any],
        sites: NDArray[np.intp],
    ) -> HeldOutPredictions:
        """Predictions of all folds in the order of the target's rows. Subjects that no fold tests do not occur."""
        people = np.concatenate([fold.test for fold in folds])
        order = np.argsort(people)
        number = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])[order]
        after = np.concatenate(parts)[order]
        own = after  # of classes nothing was transformed
        if not target.classes:
            inverted = [transform.invert(part) for transform, part in zip(transforms, parts, strict=True)]
            own = np.concatenate(inverted)[order]
        people = people[order]
        strata = np.unique(np.stack([number, sites[people]]), axis=1, return_inverse=True)[1].reshape(-1)
        return HeldOutPredictions(own, after, target.labels[people], learnt[number, people], number, strata)


def _parts(target: Target, folds: list[Fold]) -> list[tuple[str, list[Any]]]:
    """What is scored by itself: a name, and which of each fold's test people belong to it."""
    if target.splits is None:
        return [("", [slice(None)] * len(folds))]
    parts = []
    for name in UNSEEN:
        tested = [target.splits[fold.test] == name for fold in folds]
        if any(seen.any() for seen in tested):
            parts.append((name, tested))
    return parts
