"""Every method of predicting a label, with nested cross-validation: what there is, and how one is run in a fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_model.baselines.smoother import Nested, level_of, spread_of
from brainlm_model.baselines.traits import CANDIDATES, LEARNERS, Data
from brainlm_model.eval.phenotype.features import Courses, Matrices, Recorded, Rows
from brainlm_model.eval.phenotype.people import Fold, Target
from brainlm_model.eval.phenotype.scores import HeldOutPredictions, measure
from brainlm_model.eval.phenotype.section import PUBLISHED
from brainlm_model.trained.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float64]
Group = Literal["ours", "readout", "baseline", "trivial"]
MLP_COMPONENTS = 64  # principal components that the perceptron sees


@dataclass(frozen=True)
class Method:
    """A way of predicting: features (of `features.SPACES`, or "recordings"; a readout takes several) and a learner."""

    label: str
    group: Group
    features: tuple[str, ...]
    learner: str


COPIES = ("log", "log_band", "log_global")
METHODS: dict[str, Method] = {
    "cls_ridge": Method("CLS, ridge", "ours", ("cls",), "readout"),
    "cls_svm": Method("CLS, SVM", "ours", ("cls",), "svm"),
    "cls_knn": Method("CLS, k nearest neighbours", "ours", ("cls",), "knn"),
    "mean_ridge": Method("mean of tokens, ridge", "ours", ("mean",), "readout"),
    "mean_svm": Method("mean of tokens, SVM", "ours", ("mean",), "svm"),
    "mean_knn": Method("mean of tokens, k nearest neighbours", "ours", ("mean",), "knn"),
    "parcels_ridge": Method("tokens of each parcel, ridge", "ours", ("parcels",), "readout"),
    "parcels_svm": Method("tokens of each parcel, SVM", "ours", ("parcels",), "svm"),
    "parcels_knn": Method("tokens of each parcel, k nearest neighbours", "ours", ("parcels",), "knn"),
    "adapted_ridge": Method("adapted covariance, ridge", "ours", ("adapted",), "readout"),
    "attention_ridge": Method("attention between parcels, ridge", "ours", ("attention",), "readout"),
    "finetuned": Method("fine-tuned", "ours", ("recordings",), "finetune"),
    "readout": Method("readout: log connectivity, 3 copies", "readout", COPIES, "readout"),
    "readout_wide": Method(
        "readout: 3 copies and correlations", "readout", (*COPIES, "correlations", "correlations_global"), "readout"
    ),
    "log_ridge": Method("log connectivity, ridge", "readout", ("log",), "readout"),
    "correlations_ridge": Method("correlations, ridge", "baseline", ("correlations",), "readout"),
    "correlations_svm": Method("correlations, SVM", "baseline", ("correlations",), "svm"),
    "correlations_mlp": Method("correlations, PCA, perceptron", "baseline", ("correlations",), "mlp"),
    "tangent_ridge": Method("tangent space, ridge", "baseline", ("tangent",), "readout"),
    "coskewness_ridge": Method("co-skewness subspace, ridge", "baseline", ("coskewness",), "ridge"),
    "raw_svm": Method("recordings, SVM", "baseline", ("raw",), "svm"),
    "raw_mlp": Method("recordings, PCA, perceptron", "baseline", ("raw",), "mlp"),
    "lstm": Method("recordings, LSTM", "baseline", ("recordings",), "lstm"),
    "gcn": Method("recordings, graph network", "baseline", ("recordings",), "gcn"),
    "braingb": Method("correlations, BrainGB", "baseline", ("recordings",), "braingb"),
    "brain_transformer": Method(
        "correlations, Brain Network Transformer", "baseline", ("recordings",), "brain_transformer"
    ),
    "com_brain": Method("correlations, Com-BrainTF", "baseline", ("recordings",), "com_brain"),
    "ptgb": Method("correlations, PTGB", "baseline", ("recordings",), "ptgb"),
    "spdnet": Method("correlations, SPDNet", "baseline", ("recordings",), "spdnet"),
}
TRIVIAL = {"regression": "mean of training people", "classification": "all classes alike"}


@dataclass(frozen=True)
class Outcome:
    """What a method gave in an outer fold.

    Attributes
    ----------
    outputs: (test people, outputs), numbers after the label's transform or scores of classes.
    inner: score on inner validation people, higher is better: minus the squared error, or the area under the curve.
    chosen: setting that was best there.
    permuted: (test people, B, outputs) by fits to permuted labels, choice of the setting included; B is 0 where the
        method is too slow to be fitted again.
    """

    outputs: Array
    inner: float
    chosen: dict[str, Any] = field(default_factory=dict)
    permuted: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))


@dataclass(frozen=True)
class Task:
    """An outer fold of a column, as every method sees it.

    `learnt`: labels of all rows after the fold's transform. `orders`: (B, rows) permutations of them.
    """

    target: Target
    fold: Fold
    learnt: Array
    seed: int
    epochs: int
    spaces: Callable[[str], list[Array]]
    recorded: Recorded
    orders: NDArray[np.intp]

    @property
    def classes(self) -> int:
        """0 for numbers."""
        return len(self.target.classes)


def transform_of(target: Target, fold: Fold) -> Transform:
    """The label's transform, of the training people's labels."""
    if target.classes:
        return Transform("none")
    return Transform.fit(target.transform, target.labels[fold.train])  # type: ignore[arg-type]


def learner_of(name: str, task: Task) -> Outcome:
    """Run a method of `METHODS` (all but "finetuned") in a fold."""
    method = METHODS[name]
    if method.learner == "readout":
        return _readout([task.spaces(name)[0] for name in method.features], task)
    if method.learner in LEARNERS:
        return _classical(method.learner, task.spaces(method.features[0]), task)
    return _network(method, task)


def trivial(task: Task) -> Array:
    """(test people, outputs): the mean label; or the same for every class, as frequencies are when balanced."""
    if task.classes:
        output = np.full(task.classes, 1 / task.classes)
    else:
        output = np.full(1, task.learnt[task.fold.train].mean())
    return np.tile(output, (len(task.fold.test), 1))


def _level(outputs: Array, labels: Array, classes: int) -> Array:
    """(outputs,) to subtract so that no class is favoured: the mean of each score where all classes count the same.

    `outputs`, `labels`: of inner validation people. 0 for numbers.
    """
    if not classes:
        return np.zeros(1)
    return np.mean([outputs[labels == k].mean(0) for k in np.unique(labels)], axis=0)


def inner_score(outputs: Array, learnt: Array, part: NDArray[np.intp], classes: int) -> float:
    """Score of predictions on inner validation people; `part`: number of the inner split."""
    if not classes:
        return -float(((outputs[:, 0] - learnt) ** 2).mean())
    predictions = HeldOutPredictions(outputs, outputs, learnt, learnt, part, part)
    return float(np.nan_to_num(measure(predictions, np.ones((1, len(learnt))))["auroc"][0]))


def _standard(task: Task, people: NDArray[np.intp]) -> tuple[float, float]:
    """Mean and deviation that make numbers standard, as penalties and learning rates expect."""
    if task.classes:
        return 0.0, 1.0
    known = task.learnt[people]
    return float(known.mean()), float(known.std()) or 1.0


def _classical(learner: str, variants: Sequence[Array], task: Task) -> Outcome:
    """Choose among `CANDIDATES` settings, shared by the variants of the features, then fit on all training people."""
    fold, predict = task.fold, LEARNERS[learner].predict
    # of v variants of the features every v-th setting, so that all methods choose among as many
    settings = LEARNERS[learner].settings[:: max(len(variants), 1)]
    options = list(product(range(len(variants)), settings))
    assert len(options) == CANDIDATES

    def outputs(
        train: NDArray[np.intp], test: NDArray[np.intp], variant: int, chosen: Sequence[Mapping[str, Any]]
    ) -> list[Array]:
        """Outputs for people `test` under each of the chosen settings."""
        mean, spread = _standard(task, train)
        values = variants[variant]
        data = Data(values[train], (task.learnt[train] - mean) / spread, values[test], task.classes)
        return [output * spread + mean for output in predict(data, chosen)]

    inner: list[list[Array]] = [[] for _ in options]  # of each option, a validation part after another
    for number in range(len(fold.inner)):
        train, validation = fold.within(number)
        predicted: list[Array] = []
        for variant in range(len(variants)):
            predicted += outputs(train, validation, variant, settings)
        for parts, output in zip(inner, predicted, strict=True):
            parts.append(output)
    people = np.concatenate(fold.inner)
    part = np.repeat(np.arange(len(fold.inner)), [len(places) for places in fold.inner])
    scores = [inner_score(np.concatenate(parts), task.learnt[people], part, task.classes) for parts in inner]
    best = int(np.argmax(scores))
    variant, setting = options[best]
    level = _level(np.concatenate(inner[best]), task.learnt[people], task.classes)
    chosen = dict(setting)
    if len(variants) > 1:
        chosen["variant"] = variant
    return Outcome(outputs(fold.train, fold.test, variant, [setting])[0] - level, scores[best], chosen)


def _readout(blocks: Sequence[Array], task: Task) -> Outcome:
    """Mean of one ridge regression a block of features, each with a strength of its own, as `baselines.readout` has it.

    The labels' permutations go through the same fits: of all of them only matrix products are needed.
    """
    fold, outputs = task.fold, max(task.classes, 1)
    splits = [fold.within(number) for number in range(len(fold.inner))]
    validation = np.concatenate(fold.inner)
    part = np.repeat(np.arange(len(fold.inner)), [len(places) for places in fold.inner])
    labels_NY = _indicators(task.learnt, task.classes)
    permuted_NY = _indicators(task.learnt[task.orders.T], task.classes)
    predicted, inner, strengths = np.zeros((len(fold.test), outputs)), np.zeros((len(validation), outputs)), []
    permuted = np.zeros((len(fold.test), permuted_NY.shape[1]))
    for values in blocks:
        nested = Nested(values @ values.T, fold.train, fold.test, splits)
        best, inner_vY = nested.choose(labels_NY, outputs)
        own = nested.predict(labels_NY, best)
        if task.classes:  # scores of several fits have no common scale; within a fold a level changes no permuted score
            level, spread = level_of(inner_vY, labels_NY[validation]), spread_of(inner_vY)
            own, inner_vY = (own - level) / spread, (inner_vY - level) / spread
        predicted, inner = predicted + own / len(blocks), inner + inner_vY / len(blocks)
        strengths.append(nested.strengths[int(best[0])])
        if len(task.orders):
            best, inner_vY = nested.choose(permuted_NY, outputs)
            spread = spread_of(inner_vY) if task.classes else np.ones(permuted_NY.shape[1])
            permuted += nested.predict(permuted_NY, best) / spread / len(blocks)
    score = inner_score(inner, task.learnt[validation], part, task.classes)
    chosen = {"strength": strengths[0] if len(strengths) == 1 else strengths}
    return Outcome(predicted, score, chosen, permuted.reshape(len(fold.test), len(task.orders), outputs))


def _indicators(learnt: Array, classes: int) -> Array:
    """(N, Y): the labels (N,) or (N, B) themselves; of classes 1 where a person is of one, a label's side by side."""
    if not classes:
        return learnt.reshape(len(learnt), -1)
    return (learnt[..., None] == np.arange(classes)).astype(np.float64).reshape(len(learnt), -1)


def published_network(
    name: str, correlations_NPP: Tensor, communities: Sequence[str], outputs: int
) -> Callable[..., nn.Module]:
    """The network of `PUBLISHED`, made by (**shape).

    `correlations_NPP`: of the training people, without labels. `communities`: the network of each parcel.
    """
    from brainlm_model.baselines.brain_transformer import BrainTransformer
    from brainlm_model.baselines.braingb import BrainGB
    from brainlm_model.baselines.com_brain import ComBrain
    from brainlm_model.baselines.ptgb import pretrained
    from brainlm_model.baselines.spdnet import SpdNet

    parcels = correlations_NPP.shape[-1]
    networks: dict[str, Callable[..., nn.Module]] = {
        "braingb": partial(BrainGB, parcels, outputs),
        "brain_transformer": partial(BrainTransformer, parcels, outputs),
        "com_brain": partial(ComBrain, parcels, outputs, communities),
        "ptgb": partial(pretrained, correlations_NPP, outputs),
        "spdnet": partial(SpdNet, parcels, outputs),
    }
    return networks[name]


def _network(method: Method, task: Task) -> Outcome:
    """Choose among `CANDIDATES` networks on the first inner split, which also stops them; no fit on all people."""
    from brainlm_model.baselines import small_networks as nets

    train, stop = task.fold.within(0)  # people `stop` choose the epoch and the setting; test people play no part
    mean, spread = _standard(task, train)
    target = (task.learnt - mean) / spread
    outputs, parcels = max(task.classes, 1), task.recorded.variance.shape[1]
    source: nets.Source
    build: Callable[..., nn.Module]
    if method.learner == "mlp":
        values = task.spaces(method.features[0])[0][:, :MLP_COMPONENTS]
        source = Rows(values, train)
        build = partial(nets.Perceptron, values.shape[1], outputs)
    elif method.learner == "lstm":
        source = Courses(task.recorded, train, graphs=False)
        build = partial(nets.Lstm, parcels, outputs)
    elif method.learner in PUBLISHED:
        source = people = Matrices(task.recorded, train)
        build = published_network(method.learner, people.correlations_NPP[train], task.recorded.networks, outputs)
    else:
        source = courses = Courses(task.recorded, train, graphs=True)
        build = partial(nets.Gcn, courses.steps, parcels, outputs)
    fit = nets.Fit(target, task.classes, train, stop, task.epochs, max(task.epochs // 5, 2), task.seed)
    best: Outcome | None = None
    for setting in nets.SETTINGS[method.learner]:
        shape = {key: value for key, value in setting.items() if key not in ("lr", "weight_decay")}
        network = nets.fit(partial(build, **shape), source, fit, setting)
        inner: Array = nets.predict(network, source, stop).astype(np.float64) * spread + mean
        score = inner_score(inner, task.learnt[stop], np.zeros(len(stop), np.intp), task.classes)
        if best is None or score > best.inner:
            predicted: Array = nets.predict(network, source, task.fold.test).astype(np.float64) * spread + mean
            best = Outcome(predicted - _level(inner, task.learnt[stop], task.classes), score, dict(setting))
    assert best is not None
    return best
