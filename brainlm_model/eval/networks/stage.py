"""Which functional network is a parcel in? Attention, embeddings, series, connectivity and latents, compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field

from brainlm_data import Facts, InputError, Progress, StageConfig
from brainlm_model.eval.networks import classify, scores
from brainlm_model.eval.networks.features import FEATURES, LABELS, Sources, possible, read_windows
from brainlm_model.eval.parcels import coordinates
from brainlm_model.eval.parcels import networks_of as names_of_networks
from brainlm_model.eval.pieces import Pieces
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, subject_draws
from brainlm_model.eval.task import Results, Split, Start, task

COLUMNS = (
    "protocol", "classifier", "method", "labels", "metric", "network", "value", "low", "high", "n_subjects",
    "n_recordings", "n_parcels", "label",
)  # fmt: skip
PROTOCOLS = ("within", "across")
REFERENCES = ["attention", "embedding"]  # what is compared with every other method
REASON = (
    "1,000 recordings of UK Biobank, 424 parcels (A424) of which 359 have a network, BrainLM "
    "trained on that cohort; k and distance of the k-NN are not stated; {ours}"
)
PUBLISHED = {"attention": 0.588, "vae": 0.494, "raw": 0.392, "gcn": 0.259}
Method = Literal[
    "attention", "embedding", "attention_untrained", "embedding_untrained", "connectivity", "raw", "series", "vae",
    "gcn", "position",
]  # fmt: skip


class Config(StageConfig):
    """Section `networks` of config.yaml. All methods see one window of the model's length a recording."""

    splits: list[Split] = Field(["test"], min_length=1, description="splits to score: subjects not trained on")
    recordings: int = Field(200, ge=1, description="at most this many, drawn by the seed")
    train_recordings: int = Field(
        40, ge=2, description="recordings of training subjects for VAE, GCN and classifiers across people"
    )
    methods: list[Method] = Field(list(get_args(Method)), min_length=1, description="features of a parcel")
    classifiers: list[Literal["knn", "logistic"]] = Field(
        ["knn", "logistic"], min_length=1, description="k and penalty are chosen on training parcels"
    )
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of recordings, held-out parcels, VAE, GCN and bootstrap")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")


def evaluate(start: Start, config: Config) -> Results:
    """Classify the parcels from every method's features, in both protocols.

    Raises
    ------
    InputError: the atlas names fewer than two networks; no recording.
    """
    store, model = start.store, start.model
    names, labels_P, few = networks_of(store)
    test = start.recordings(config.splits, config.recordings, config.seed)
    train = start.recordings(["train"], config.train_recordings, config.seed)
    sources = Sources(
        model.network, start.networks()["untrained"], read_windows(store, train, model),
        read_windows(store, test, model), coordinates(store), config.seed,
    )  # fmt: skip
    methods = possible(store, config.methods)
    confusions = _classify(sources, methods, config, labels_P, start.pieces)

    held_out = sources.test
    weights = subject_draws(held_out.subjects, config.bootstrap, config.seed)
    rows = []
    comparable = {}  # without shuffled labels and without the largest network
    for (protocol, classifier, method, labels), confusion in confusions.items():
        shared = {"protocol": protocol, "classifier": classifier, "method": method, "labels": labels,
                  "n_subjects": len(set(held_out.subjects)), "n_recordings": len(held_out.ids),
                  "label": LABELS.get(method, "largest network")}  # fmt: skip
        rows += scores.table(confusion, weights, names, shared)
        if labels == "true" and classifier != "majority":
            comparable[protocol, classifier, method] = confusion
    references = [name for name in REFERENCES if name in methods]
    compared = scores.comparisons(comparable, references, held_out.subjects, weights, config.seed)
    facts: Facts = {
        "Splits": config.splits,
        "Subjects": len(set(held_out.subjects)),
        "Recordings": len(held_out.ids),
        "TrainingRecordings": len(sources.train.ids),
        "Skipped": list(held_out.skipped.values()),
        "Networks": {name: int((labels_P == c).sum()) for c, name in enumerate(names)},
        "ParcelsWithoutNetwork": int((labels_P < 0).sum()),
        "NetworksOfFewParcels": few,
        "UnknownParcels": int((~held_out.known[:, labels_P >= 0]).sum()),
        "Window": model.config.window,
        "ModelKnowsCoordinates": bool(model.network.coordinates.any()),
        "Methods": {name: LABELS[name] for name in methods},
        "Classifiers": config.classifiers,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
    }
    arrays: dict[str, Any] = {"networks": np.array(names, dtype=str)}
    for key, confusion in confusions.items():
        arrays["/".join(key)] = confusion.sum(0)
    left_out = [name for name in config.methods if name not in methods]
    return Results(facts, rows, arrays, compared, _warnings(facts, left_out), _published(facts))


def networks_of(store: Any) -> tuple[list[str], classify.Ints, list[str]]:
    """Names of the networks, each parcel's number (-1: none), and the networks too small to be held out in each fold.

    Raises InputError where fewer than two are named.
    """
    network_of, members = names_of_networks(store.parcels)
    names = [name for name in members if name != "unassigned"]
    if len(names) < 2:
        raise InputError(
            f"networks: the store's parcels name {len(names)} networks",
            "an atlas table with a column network: atlas.labels, or `brainlm-data import --atlas-labels`",
        )
    labels_P = np.full(len(network_of), -1)
    few = []
    for number, name in enumerate(names):
        labels_P[members[name]] = number
        if members[name].sum() < classify.FOLDS:
            few.append(name)
    return names, labels_P, few


def _classify(
    sources: Sources, methods: Sequence[str], config: Config, labels_P: classify.Ints, pieces: Pieces
) -> dict[tuple[str, str, str, str], classify.Ints]:
    """(protocol, classifier, method, labels) -> confusion; `labels`: true, or shuffled over the parcels (k-NN)."""
    train, test = sources.train, sources.test
    confusions: dict[tuple[str, str, str, str], classify.Ints] = {}

    def outcomes(x_train: Any, x_test: Any, classifier: str, labels: str) -> dict[str, classify.Ints]:
        """`protocol/classifier/labels` -> confusion."""
        arguments = (labels_P, classifier, config.seed, labels == "shuffled")
        within = classify.within(x_test, test.known, test.ids, *arguments)
        across = classify.across((x_train, train.known), (x_test, test.known), *arguments)
        return {
            f"within/{classifier}/{labels}": within.confusion,
            f"across/{classifier}/{labels}": across.confusion,
        }

    def of_method(method: str) -> dict[str, classify.Ints]:
        x_train, x_test = FEATURES[method](sources)
        done: dict[str, classify.Ints] = {}
        for classifier in config.classifiers:
            done |= outcomes(x_train, x_test, classifier, "true")
        return done | outcomes(x_train, x_test, config.classifiers[0], "shuffled")

    progress = Progress("networks", len(methods))
    for number, method in enumerate(methods):
        for key, confusion in pieces.get(method, partial(of_method, method)).items():
            protocol, classifier, labels = key.split("/")
            confusions[protocol, classifier, method, labels] = confusion
        progress.step(number + 1, method)
    # The largest network needs no features, but as many rows as there are parcels.
    nothing = [np.zeros((*windows.known.shape, 1), np.float32) for windows in (train, test)]
    for key, confusion in outcomes(nothing[0], nothing[1], "majority", "true").items():
        confusions[key.split("/")[0], "majority", "majority", "true"] = confusion
    return confusions


def _warnings(facts: Facts, left_out: Sequence[str]) -> list[str]:
    lines = [f"not classified: {reason}" for reason in facts["Skipped"]]
    if facts["Subjects"] < ENOUGH_SUBJECTS:
        lines.append(f"only {facts['Subjects']} subjects: intervals are too narrow, and no test can reach p < .05")
    if facts["ParcelsWithoutNetwork"]:
        lines.append(f"{facts['ParcelsWithoutNetwork']} parcels have no network and are left out")
    if facts["NetworksOfFewParcels"]:
        lines.append(f"networks of fewer than {classify.FOLDS} parcels: {', '.join(facts['NetworksOfFewParcels'])}")
    if facts["UnknownParcels"]:
        lines.append(f"{facts['UnknownParcels']} parcels are unknown in single recordings and left out there")
    if left_out:
        lines.append("the atlas has no coordinates: no method position")
    return lines


def _published(facts: Facts) -> list[dict[str, Any]]:
    ours = f"here {facts['Recordings']} recordings, {sum(facts['Networks'].values())} parcels with a network"
    entries = []
    for method, value in PUBLISHED.items():
        entries.append(
            {"source": "Ortega Caro et al., BrainLM, ICLR 2024", "protocol": "within", "classifier": "knn",
             "method": method, "value": value, "comparable": False, "reason": REASON.format(ours=ours)}
        )  # fmt: skip
    return entries


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return (
        f"The functional network (Yeo et al., 2011) of each parcel was predicted from {', '.join(facts['Methods'])} "
        f"by {' and '.join(facts['Classifiers'])} in {facts['Recordings']} recordings of {facts['Subjects']} subjects: "
        "with 80 % of the parcels of a recording for training and 20 % for testing (Ortega Caro et al., 2024), and "
        f"with parcels held out in all recordings and classifiers fitted on {facts['TrainingRecordings']} recordings "
        "of other subjects."
    )


STAGE = task(
    "networks",
    3,
    "Tell the functional network of each parcel from attention, series, connectivity, latents.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
