"""Stage `scmbm`: masked modelling of voxel patterns, from training rows alone unless a key says otherwise."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from brainlm_data import Artifact, Facts, Files, InputError, Need, Patterns, Stage, StageConfig, write_sums
from brainlm_model.training.machine import use_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brainlm_model.decode.learn import Row
    from brainlm_model.decode.scmbm import SCMBM

COLUMNS = ("network", "step", "loss", "lr")
SPLITS = ("train", "test")


class Config(StageConfig):
    """Section `scmbm` of config.yaml."""

    size: str = Field("scmbm-tiny", description="scmbm-tiny, scmbm-small or scmbm-1024 (docs/decode.md)")
    width: int | None = Field(None, ge=2, description="width of a token; here and below, null: as in the named size")
    mlp_ratio: float | None = Field(None, gt=0, description="width of the feed-forward layers over that of the tokens")
    compat: bool = Field(False, description="pad whole patches by one more patch, as the public code does")
    checkpoint: Path | None = Field(None, description="a public checkpoint to start from; it brings its own size")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of masked tokens")
    sparsify: float = Field(0.2, ge=0, lt=1, description="share of voxels that are set to zero, drawn for each pattern")
    steps: int = Field(150, ge=1, description="gradient steps on windows and patterns of training runs")
    batch_size: int = Field(32, ge=1, description="patterns per step")
    lr: float = Field(3e-3, gt=0, description="highest learning rate; published: 2.5e-4")
    own_steps: int = Field(0, ge=0, description="further steps on the patterns alone, at a fifth of the learning rate")
    transductive: bool = Field(
        False, description="own_steps see test patterns, too (not their pictures), as published; said in every table"
    )
    seed: int = Field(0, ge=0, description="seed of weights, masks and order")
    threads: int = Field(1, ge=1, description="threads of torch")


def learnt(patterns: Patterns, config: Config, workdir: Path | None = None) -> tuple[SCMBM, list[Row]]:
    """The network after its training, and a row for each step."""
    from brainlm_model.decode import scmbm_files
    from brainlm_model.decode.learn import Recipe
    from brainlm_model.decode.scmbm import sized
    from brainlm_model.decode.second_stage import as_input, pretrain, untrained

    assert patterns.windows is not None  # it is empty where there are none
    train = patterns.of("train").patterns
    size = sized(config.size, width=config.width, mlp_ratio=config.mlp_ratio)
    if config.checkpoint is not None:
        size = scmbm_files.size_in(config.checkpoint, size)
    x_NV = as_input(np.concatenate([patterns.windows, train]), size, config.compat)
    if config.checkpoint is None:
        network = untrained(size, x_NV, config.seed)
    else:
        tokens = x_NV.shape[1] // size.patch
        network = scmbm_files.read_public(config.checkpoint, size.heads, size.decoder_heads, tokens)
    keys = [config.model_dump(mode="json", exclude={"threads"}), digest(x_NV.numpy())]
    recipe = Recipe(config.steps, config.batch_size, config.lr, clip=0.8)
    rows = pretrain(network, x_NV, config.mask_ratio, config.sparsify, recipe, config.seed, (workdir, keys))
    log = [{"network": "scmbm", **row} for row in rows]
    if config.own_steps:
        own = as_input(patterns.patterns if config.transductive else train, size, config.compat)
        recipe = Recipe(config.own_steps, config.batch_size, config.lr / 5, clip=0.8)
        folder = None if workdir is None else workdir / "own"
        rows = pretrain(network, own, config.mask_ratio, config.sparsify, recipe, config.seed + 1, (folder, keys))
        log += [{"network": "own", **row} for row in rows]
    return network, log


def read(path: Path) -> Patterns:
    """Patterns to learn from and to be tested on. Raises InputError where one of both is missing."""
    patterns = Patterns.load(path)
    for split in SPLITS:
        if not len(patterns.of(split)):
            raise InputError(f"{path}: no row of split {split}", "a decoder needs both (stage trials)")
    return patterns


def digest(array: NDArray[Any]) -> str:
    """A short name of what an array holds: a checkpoint of other data is not used."""
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Train; write weights under the public names, config, log and checksums."""
    from brainlm_model.decode import scmbm_files

    use_threads(config.threads)
    patterns = read(inputs["trials"])
    network, log = learnt(patterns, config, workdir_of(outputs))
    assert patterns.windows is not None
    last = [row["loss"] for row in log[-max(len(log) // 10, 1) :]]
    facts: Facts = {
        "Size": config.size,
        "Parameters": sum(parameter.numel() for parameter in network.parameters()),
        "Voxels": patterns.n_voxels,
        "Tokens": network.tokens,
        "Windows": len(patterns.windows),
        "TrainingPatterns": len(patterns.of("train")),
        "MaskRatio": config.mask_ratio,
        "Steps": config.steps,
        "OwnSteps": config.own_steps,
        "Transductive": bool(config.transductive and config.own_steps),
        "LastLoss": float(np.mean(last)),
    }
    scmbm_files.save(network, outputs["scmbm_model"], outputs["scmbm_config"], {"training": facts})
    write_log(outputs["scmbm_log"], log)
    write_sums(outputs["scmbm_checksums"], {p.name: p for n, p in outputs.items() if n != "scmbm_checksums"})
    return facts


def workdir_of(outputs: Files) -> Path | None:
    """Folder for what a killed run goes on from."""
    return Path(outputs.meta["workdir"]) if "workdir" in outputs.meta else None


def write_log(path: Path, log: list[Row]) -> None:
    """One line for each step of each network."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(log)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    seen = f"{facts['TrainingPatterns']} training patterns and {facts['Windows']} windows of {facts['Voxels']} voxels"
    more = " Test patterns, without their pictures, were part of a second step." if facts["Transductive"] else ""
    return (
        f"Voxel patterns were modelled by SC-MBM (Chen et al., 2023; {facts['Size']}, {facts['Parameters']:,} "
        f"parameters): {facts['MaskRatio']:.0%} of the tokens were masked, for {facts['Steps']} steps on {seen}.{more}"
    )


ARTIFACTS = {
    "scmbm_model": Artifact("cohort", "decoder/scmbm/model.safetensors", "weights of SC-MBM, by their public names"),
    "scmbm_config": Artifact("cohort", "decoder/scmbm/config.json", "size of SC-MBM, and how it was trained"),
    "scmbm_log": Artifact("cohort", "decoder/scmbm/log.csv", "one row per step: loss, learning rate"),
    "scmbm_checksums": Artifact("cohort", "decoder/scmbm/SHA256SUMS", "sha256 of these files"),
}

STAGE = Stage(
    name="scmbm",
    version=1,
    level="cohort",
    summary="Learn patterns of visual cortex by masked modelling (SC-MBM), for decoding.",
    Config=Config,
    inputs=("trials",),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(4000, start=3600),
    run=run,
    describe=describe,
)
