"""The method "finetuned": the whole model, or its head, learns the label of an outer fold's training people."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_model.eval.phenotype.learn import Outcome, Task, inner_score
from brainlm_model.eval.phenotype.people import People

if TYPE_CHECKING:
    from brainlm_model.trained.checkpoint import TrainedModel

# as many as every other method has (`traits.CANDIDATES`)
RATES = (3e-4, 1e-3, 3e-3)
SETTINGS: tuple[dict[str, Any], ...] = tuple({"train": t, "lr": r} for t in ("frozen", "full") for r in RATES)


class FoldStore:
    """A store whose recordings are split as a fold says, with the labels that are learnt; else the store itself."""

    def __init__(self, store: Any, task: Task, people: People) -> None:
        self._store = store
        _, validation = task.fold.within(0)
        split = np.full(len(task.target.rows), "train", dtype=object)
        split[validation] = "validation"
        split[task.fold.test] = "test"
        label, part = {}, {}
        for place, row in enumerate(task.target.rows):
            for name in people.recordings[row]:
                value = task.learnt[place]
                label[name] = f"class {int(value):06d}" if task.classes else value
                part[name] = split[place]
        ids = store.recordings["id"]  # all of them: the cache beside the store is of all
        self.recordings = store.recordings.assign(split=ids.map(part).fillna("unused"), phenotype=ids.map(label))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def finetuned(model: TrainedModel, store: Any, task: Task, people: People) -> Outcome:
    """Fine-tune once a setting; the one that is best on the first inner split predicts the fold's test people.

    Labels arrive transformed, so that the scale is the outer training fold's.
    """
    from brainlm_model.finetune.label import learn_label
    from brainlm_model.finetune.settings import Settings

    own = FoldStore(store, task, people)
    train, validation = task.fold.within(0)
    subjects = np.array(people.names)[task.target.rows]
    # What is predicted of a subject that the network cannot see: the classes' frequencies, or the mean label.
    if task.classes:
        base = np.bincount(task.learnt[train].astype(int), minlength=task.classes) / len(train)
    else:
        base = np.array([task.learnt[train].mean()])
    best: Outcome | None = None
    for setting in SETTINGS:
        settings = Settings(
            task="classification" if task.classes else "regression", column="phenotype", transform="z",
            epochs=task.epochs, patience=max(task.epochs // 5, 2), bootstrap=1, seed=task.seed, **setting,
        )  # fmt: skip
        copied = replace(model, network=copy.deepcopy(model.network))
        rows = learn_label(copied, own, settings).predictions
        inner = _by_subject(rows, subjects[validation].tolist(), base)
        score = inner_score(inner, task.learnt[validation], np.zeros(len(inner), np.intp), task.classes)
        if best is None or score > best.inner:
            best = Outcome(_by_subject(rows, subjects[task.fold.test].tolist(), base), score, dict(setting))
    assert best is not None
    return best


def _by_subject(rows: list[dict[str, Any]], subjects: list[str], base: np.ndarray) -> np.ndarray:
    """(subject, outputs): means over recordings; of classes probabilities relative to their frequencies `base`.

    A subject whose recordings have no window to look at gets `base`, the training people's mean.
    """
    by_subject: dict[str, list[list[float]]] = {}
    for row in rows:
        if len(base) > 1:
            values = [float(row[f"probability_class {k:06d}"]) for k in range(len(base))]
        else:
            values = [float(row["predicted"])]
        by_subject.setdefault(str(row["subject"]), []).append(values)
    outputs = []
    for subject in subjects:
        outputs.append(np.mean(by_subject.get(subject, [base]), axis=0))
    if len(base) > 1:
        return np.array(outputs) / base
    return np.array(outputs)
