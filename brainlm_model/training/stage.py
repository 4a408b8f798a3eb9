"""Train a masked autoencoder on the store: the stage and its files; `training/` has the recipe and the loop."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from brainlm_data import Artifact, Card, Facts, Files, Need, Stage, write_sums
from brainlm_model.training.recipe import Config

if TYPE_CHECKING:
    from brainlm_model.models.card import ModelCard


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Train; write weights, config, scaler, card and log. Step checkpoints are in `outputs.meta["workdir"]`."""
    from brainlm_model.trained.checkpoint import config_json, save_weights
    from brainlm_model.training import state
    from brainlm_model.training.journal import COLUMNS
    from brainlm_model.training.machine import use_threads
    from brainlm_model.training.worker import launch, make_trainer

    data = Card.read(inputs["card_data"])  # a store that is too old is refused before hours of training
    use_threads(config.threads)
    workdir = Path(outputs.meta["workdir"]) if "workdir" in outputs.meta else None
    if config.processes > 1:
        launch(inputs["store"], config, STAGE.version, workdir)
    trainer = make_trainer(inputs["store"], config, STAGE.version)
    log = trainer.fit(workdir)  # after several processes there is nothing left to do

    scores = [row["validation_r2"] for row in log if row["validation_r2"] != ""]
    facts: Facts = {
        "Model": config.model,
        "Parameters": sum(p.numel() for p in trainer.network.parameters()),
        "Prior": trainer.network.config.prior,
        "Optimizer": {"adamw": "AdamW", "adam": "Adam"}[config.optimizer],
        "Window": config.window,
        "Patch": config.patch,
        "MaskRatios": config.ratios,
        "Masking": config.masking,
        "Steps": log[-1]["step"],
        "BatchSize": trainer.batch,
        "LearningRate": config.lr,
        "WeightDecay": config.weight_decay,
        "Seed": config.seed,
        "ParcelsWithCoordinates": int(trainer.network.coordinates.any(dim=1).sum()),
        "Device": trainer.device.type,
        "TrainingRecordings": len(trainer.train),
        "TrainingSubjects": len(set(trainer.train.subjects)),
        "FurtherStores": [{"Path": str(more.path), "Weight": more.weight} for more in config.stores],
        "SkippedRecordings": [
            reason for data in (trainer.train, trainer.validation) if data for reason in data.skipped.values()
        ],
        "Selected": config.select if scores else "last",
        "ValidationR2": float(max(scores) if config.select == "best" else scores[-1]) if scores else None,
        "ValidationR2BeforeTraining": float(scores[0]) if scores else None,
    }
    if trainer.past:
        facts["ChangedOnTheWay"] = trainer.past
    save_weights(trainer.network, outputs["model"])
    outputs["model_config"].write_text(config_json(trainer.network, facts), encoding="utf-8")
    shutil.copyfile(inputs["scaler"], outputs["model_scaler"])
    card(config.name, facts, data).save(outputs["model_card_data"], outputs["model_card"])
    with outputs["train_log"].open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(log)
    written = [outputs[name] for name in outputs if name != "model_checksums"]
    write_sums(outputs["model_checksums"], {file.name: file for file in written})
    if workdir:
        (workdir / state.WRITTEN).touch()  # from now on another run may take the checkpoint's place
    return facts


def card(name: str, facts: Facts, data: Card) -> ModelCard:
    """The model's card: how it was trained, and the card of its data, which travels with it."""
    from brainlm_model.models.card import ModelCard, ModelPart

    return ModelCard(model=ModelPart(name=name, title=name, made=describe(facts), facts=facts), data=data)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    ratios = ", ".join(f"{ratio:g}" for ratio in facts["MaskRatios"])
    cited = {"AdamW": "Loshchilov & Hutter, 2019", "Adam": "Kingma & Ba, 2015"}
    optimizer = f"{facts['Optimizer']}, {cited[facts['Optimizer']]}"
    gaussian = ""
    if facts["Prior"] != "zero":
        kind = {"gaussian": "conditional Gaussian", "spacetime": "joint Gaussian over parcels and time"}[facts["Prior"]]
        gaussian = (
            f" The network predicted the residual of a {kind} whose covariance was estimated on training subjects and "
            "adapted to each window by expectation-maximisation (Little & Rubin, 2019)."
        )
    places = ""
    if facts.get("ParcelsWithCoordinates") == 0:  # models of before do not say
        places = " No parcel had coordinates: the network knows parcels by their number alone."
    changed = ""
    if "ChangedOnTheWay" in facts:
        changed = f" Settings were changed while training: {'; '.join(facts['ChangedOnTheWay'])}."
    return (
        f"A masked autoencoder after BrainLM (Ortega Caro et al., 2024; architecture '{facts['Model']}', "
        f"{facts['Parameters']:,} parameters) was trained on windows of {facts['Window']} steps in patches of "
        f"{facts['Patch']} from {facts['TrainingRecordings']} recordings of {facts['TrainingSubjects']} subjects, with "
        f"{facts['Masking']} masking of {ratios} of the tokens, for {facts['Steps']} steps of {facts['BatchSize']} "
        f"windows ({optimizer}; learning rate {facts['LearningRate']:g}).{gaussian}{places}{changed}"
    )


def watches(config: Config) -> dict[str, Path]:
    """The files beside each further store, which are read with it."""
    beside = ("recordings.parquet", "scaler.npz")
    return {
        f"stores[{number}].path ({name})": store.path.parent / name
        for number, store in enumerate(config.stores)
        for name in beside
    }


ARTIFACTS = {
    "model": Artifact("cohort", "models/{model}/model.safetensors", "weights of the trained model"),
    "model_config": Artifact("cohort", "models/{model}/config.json", "architecture of the trained model"),
    "model_scaler": Artifact("cohort", "models/{model}/scaler.npz", "the scaler that the model was trained with"),
    "model_card_data": Artifact("cohort", "models/{model}/card.json", "how the model and its data were made"),
    "model_card": Artifact("cohort", "models/{model}/card.md", "how the model was trained, in words"),
    "train_log": Artifact(
        "cohort", "models/{model}/log.csv", "one row per step: loss, learning rate, seconds; validation R2"
    ),
    "model_checksums": Artifact("cohort", "models/{model}/SHA256SUMS", "sha256 of the model's files"),
}

STAGE = Stage(
    name="train",
    version=11,
    level="cohort",
    summary="Train a masked autoencoder (BrainLM) on the store's training subjects.",
    Config=Config,
    inputs=("store", "recordings", "scaler", "card_data"),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    fills="model",
    run=run,
    describe=describe,
    watches=watches,
    need=Need(8000, start=24 * 3600),  # not known beforehand: a killed job goes on from its checkpoint
)
