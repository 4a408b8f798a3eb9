"""The latent space: pictures with a number beside each, and identification of people, beside plain connectivity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from brainlm_data import Facts, InputError, StageConfig
from brainlm_model.eval.latent import identify, tables
from brainlm_model.eval.latent.features import SPACES, Vectors, filled, measure, standardised
from brainlm_model.eval.latent.separate import Variable, variable
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, Array
from brainlm_model.eval.task import Results, Split, Start, task

DEFAULT = re.compile(r"(?i)^((age|sex|gender)($|_).*|site|task|mean_fd_mm)$")
PUBLISHED: list[dict[str, Any]] = [
    {
        "source": "Ortega Caro et al., BrainLM, ICLR 2024",
        "what": "UMAP of CLS embeddings, coloured by clinical variables",
        "value": None,
        "comparable": False,
        "reason": "the paper shows pictures, without numbers, chance or a baseline",
    },
    {
        "source": "Finn et al., 2015, doi:10.1038/nn.4135",
        "what": "identification rate of whole-brain connectivity, rest 1 to rest 2",
        "value": 0.935,
        "comparable": False,
        "reason": "126 people of HCP, 268 parcels, two days, 15 minutes a scan",
    },
]


class Config(StageConfig):
    """Section `latent` of config.yaml."""

    splits: list[Split] = Field(["test"], min_length=1, description="splits to score: subjects not trained on")
    recordings: int = Field(200, ge=4, description="at most this many, drawn by the seed")
    train_recordings: int = Field(
        40, ge=2, description="recordings of training subjects, which standardise the features"
    )
    columns: list[str] = Field(
        [], description="variables; []: those of age, sex, site, task, mean_fd_mm that there are"
    )
    neighbours: int = Field(10, ge=1, description="k of the k-NN that says whether a space separates a variable")
    umap_neighbours: int = Field(15, ge=2, description="n_neighbors of UMAP")
    pairs: Literal["auto", "retest", "tasks", "halves"] = Field(
        "auto",
        description="pairs to identify people by: the same task twice, two tasks, or halves; auto: the first available",
    )
    permutations: int = Field(1000, ge=100, description="permutations of subjects: what chance gives")
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of recordings, UMAP, permutations and bootstrap")
    threads: int = Field(2, ge=1, description="CPU threads of the networks")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")


def evaluate(start: Start, config: Config) -> Results:
    """Embed, measure what each space separates, identify people, draw.

    Raises
    ------
    InputError: no recording, or fewer than four that can be embedded.
    """
    table = start.recordings(config.splits, config.recordings, config.seed)
    columns = config.columns or sorted((str(c) for c in table if DEFAULT.match(str(c))), key=str.lower)
    pairs = identify.pairs_of(table, config.pairs)
    training = start.recordings(["train"], config.train_recordings, config.seed)["id"].tolist()
    networks = {"": start.model, "_untrained": replace(start.model, network=start.networks()["untrained"])}
    vectors = partial(measure, start.store, networks=networks, pieces=start.pieces)

    # a part is a recording and None, or one of its halves (0, 1), which `_similarities` may ask for
    kept, embedded = vectors([(name, None) for name in table["id"]], name="recordings")
    if len(kept) < 4:
        raise InputError(
            f"latent: {len(kept)} recordings can be embedded, not 4",
            next(iter(embedded.skipped.values()), "other splits"),
        )
    table = table.set_index("id").loc[[name for name, _ in kept]].reset_index()
    _, trained_on = vectors([(name, None) for name in training], name="training")
    if not trained_on.values:
        raise InputError("latent: no training recording can be embedded", next(iter(trained_on.skipped.values())))
    variables, left_out = _variables(table, columns)
    spaces, pictures = _spaces(embedded.values, trained_on.values, config)
    subjects = table["subject"].astype(str).tolist()
    rows, compared = tables.separation(spaces, variables, subjects, config)
    matrices, who = _similarities(pairs, vectors, embedded, kept, training, trained_on)
    if matrices:
        more, against = tables.identification(matrices, who, config)
        rows, compared = rows + more, compared + against

    facts: Facts = {
        "Splits": config.splits,
        "Subjects": len(set(subjects)),
        "Recordings": len(table),
        "TrainingRecordings": len(next(iter(trained_on.values.values()))),
        "Skipped": list(embedded.skipped.values()),
        "Columns": {v.name: v.levels or "number" for v in variables},
        "ColumnsLeftOut": left_out,
        "RecordingsLeftOut": {v.name: v.left_out for v in variables},
        "UnknownPairsOfParcels": int(np.isnan(embedded.values["connectivity"]).sum()),
        "Pairs": pairs.what if matrices and pairs else None,
        "PairedSubjects": len(who),
        "Neighbours": config.neighbours,
        "Permutations": config.permutations,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
    }
    arrays = {
        "ids": np.array(table["id"].tolist(), dtype=str), "subjects": np.array(subjects),
        "paired": np.array(who, dtype=str),
        **_drawn(variables, pictures, matrices),
    }  # fmt: skip
    return Results(facts, rows, arrays, compared, _warnings(facts), PUBLISHED)


def _drawn(
    variables: Sequence[Variable], pictures: Mapping[str, Array], matrices: Mapping[str, Array]
) -> dict[str, Any]:
    """What figures need: points (R, 2), similarities (S, S), and the rows that have a variable with their values."""
    arrays: dict[str, Any] = {"columns": np.array([v.name for v in variables], dtype=str)}
    for name, xy in pictures.items():
        arrays[f"xy/{name}"] = xy
    for name, matrix in matrices.items():
        arrays[f"similarity/{name}"] = matrix.astype(np.float32)
    for v in variables:
        arrays |= {f"rows/{v.name}": v.rows, f"values/{v.name}": v.values, f"levels/{v.name}": np.array(v.levels)}
    return arrays


def _variables(table: Any, columns: Sequence[str]) -> tuple[list[Variable], list[str]]:
    """The columns that can be used, and why others cannot."""
    variables, left_out = [], []
    for column in columns:
        usable = variable(table, column)
        if isinstance(usable, Variable):
            variables.append(usable)
        else:  # the reason
            left_out.append(usable)
    return variables, left_out


def _scaled(name: str, values: Mapping[str, Array], training: Mapping[str, Array]) -> Array:
    """Vectors ready for distances. Correlations have one scale already; dimensions of an embedding have none."""
    scale = filled if name == "connectivity" else standardised
    return scale(values[name], training[name])


def _spaces(
    values: Mapping[str, Array], training: Mapping[str, Array], config: Config
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every space (R, F); and the two-dimensional ones, the pictures. No label is used."""
    spaces, pictures = {}, {}
    for name, (vectors, make) in SPACES.items():
        scaled = _scaled(vectors, values, training)
        if make is None:
            spaces[name] = scaled
        else:
            spaces[name] = pictures[name] = make(scaled, config.umap_neighbours, config.seed)
    return spaces, pictures


def _similarities(
    pairs: identify.Pairs | None,
    vectors: Any,
    embedded: Vectors,
    kept: Sequence[Any],
    training: Sequence[str],
    trained_on: Vectors,
) -> tuple[dict[str, Array], list[str]]:
    """Method -> (S, S) similarities of first and second parts, and the subjects; nothing where nobody has two.

    Features are standardised by training recordings (in halves: by halves of them), connectivity also taken as it is.
    """
    if pairs is None:
        return {}, []
    if pairs.mode == "halves":
        kept, embedded = vectors([*pairs.first, *pairs.second], name="halves")
        _, trained_on = vectors([(name, 0) for name in training], name="halves of training")
    row_of = {part: row for row, part in enumerate(kept)}
    subjects, first, second = [], [], []  # a pair counts only if both of its parts could be embedded
    for subject, a, b in zip(pairs.subjects, pairs.first, pairs.second, strict=True):
        if a in row_of and b in row_of:
            subjects.append(subject)
            first.append(row_of[a])
            second.append(row_of[b])
    if len(subjects) < 2 or not trained_on.values:
        return {}, []
    matrices = {}
    for method in tables.METHODS:
        if method == "connectivity_standardised":
            scaled = standardised(embedded.values["connectivity"], trained_on.values["connectivity"])
        else:
            scaled = _scaled(method, embedded.values, trained_on.values)
        matrices[method] = identify.similarity(scaled[first], scaled[second])
    return matrices, subjects


def _warnings(facts: Facts) -> list[str]:
    lines = [f"not embedded: {reason}" for reason in facts["Skipped"]]
    lines += [f"not looked at: {reason}" for reason in facts["ColumnsLeftOut"]]
    if facts["Subjects"] < ENOUGH_SUBJECTS:
        lines.append(f"only {facts['Subjects']} subjects: intervals over so few people are too narrow")
    for name, count in facts["RecordingsLeftOut"].items():
        if count:
            lines.append(f"{name}: {count} recordings without a value or of a rare level")
    if facts["UnknownPairsOfParcels"]:
        lines.append(f"{facts['UnknownPairsOfParcels']} correlations are unknown: means of training recordings instead")
    if facts["Pairs"] is None:
        lines.append("nobody is identified: no two subjects with two recordings, or two halves that can be embedded")
    elif facts["Pairs"] == identify.WORDS["halves"]:
        lines.append(f"identification is of {facts['Pairs']}")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    text = (
        f"CLS embeddings of {facts['Recordings']} recordings of {facts['Subjects']} subjects were shown by UMAP "
        "(McInnes et al., 2018) and principal components; whether they separate "
        f"{', '.join(facts['Columns']) or 'any variable'} was measured by {facts['Neighbours']} nearest neighbours of "
        f"other subjects against {facts['Permutations']} permutations, beside connectivity"
    )
    if facts["Pairs"] is None:
        return text + "."
    return text + (
        f"; {facts['PairedSubjects']} people were identified (Finn et al., 2015) from "
        f"{facts['Pairs'].partition(':')[0]}."
    )


STAGE = task(
    "latent",
    2,
    "Show the space of embeddings, measure what it separates, identify people from it.",
    Config,
    tables.COLUMNS,
    evaluate,
    describe,
)
