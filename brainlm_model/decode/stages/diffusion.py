"""Stage `diffusion`: autoencoder, UNet, and painters that learn to paint what a pattern says, with their controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data import Artifact, Facts, Files, InputError, Need, Patterns, Stage, StageConfig, reads, write_sums
from brainlm_model.decode.stages.scmbm import digest, read, workdir_of, write_log
from brainlm_model.training.machine import use_threads

if TYPE_CHECKING:
    from brainlm_model.decode.autoencoder import Autoencoder
    from brainlm_model.decode.diffusion import Painter
    from brainlm_model.decode.learn import Row
    from brainlm_model.decode.pca import PCA
    from brainlm_model.decode.scmbm import SCMBM

Array = NDArray[np.float64]
# with SC-MBM; from an untrained encoder; principal components in its place; with SC-MBM, each pattern beside another
# one's picture
PAINTERS = ("decoded", "no_pretraining", "pca", "shuffled")


class Config(StageConfig):
    """Section `diffusion` of config.yaml."""

    base: Path | None = Field(
        None, description="diffusers folder with unet/ and vae/ (or vqvae/); null: tiny ones, learnt from the pictures"
    )
    autoencoder_steps: int = Field(200, ge=1, description="steps of the tiny autoencoder")
    unet_steps: int = Field(100, ge=1, description="steps of the tiny UNet on pictures alone, before any pattern")
    steps: int = Field(160, ge=1, description="steps of the second stage")
    batch_size: int = Field(16, ge=1, description="pictures per step")
    lr: float = Field(5e-3, gt=0, description="highest learning rate; published: 5.3e-5")
    noise: float = Field(0.5, ge=0, description="SD of noise that is added to z-scores while learning; published: 0")
    guess: float = Field(
        1.0, ge=0, description="weight of a straight guess of the latents beside the loss; published: 0"
    )
    train: Literal["all", "conditions"] = Field(
        "all", description="what of the UNet learns from patterns; conditions: cross-attention, its norms, the vector"
    )
    seed: int = Field(0, ge=0, description="seed of weights, noise and order")
    threads: int = Field(1, ge=1, description="threads of torch")


@dataclass(frozen=True, eq=False)
class Painted:
    """What the stage makes.

    Attributes
    ----------
    painters: for each of `PAINTERS`.
    partner: for each training row the row whose picture it had for `shuffled`.
    """

    autoencoder: Autoencoder
    painters: Mapping[str, Painter]
    partner: NDArray[np.int64]


def learnt(
    patterns: Patterns,
    encoder: SCMBM,
    compat: bool,
    config: Config,
    workdir: Path | None = None,
    painters: Sequence[str] = PAINTERS,
) -> tuple[Painted, list[Row]]:
    """Everything from training rows alone, and a row for each step. `painters`: those of `PAINTERS` that are made."""
    import torch

    from brainlm_model.decode import autoencoder as ae
    from brainlm_model.decode import pca
    from brainlm_model.decode.diffusion import Painter, given_unet, noise_schedule, tiny_unet
    from brainlm_model.decode.learn import Recipe
    from brainlm_model.decode.second_stage import as_input, learn_pictures, learn_to_paint, painter_from, untrained

    train = patterns.of("train")
    pictures = train.seen() / 255
    if len(pictures) and np.ptp(pictures, axis=0).max() == 0:
        raise InputError("trials: all training pictures are the same", "there is nothing to decode: check stimuli/")
    x_NV = as_input(train.patterns, encoder.size, compat)
    # what a checkpoint depends on: another encoder is another training, too
    encoder_weights = torch.cat([value.flatten().float() for value in encoder.state_dict().values()])
    data = (x_NV.numpy(), train.seen(), encoder_weights.numpy())
    keys = [config.model_dump(mode="json", exclude={"threads"}), *(digest(array) for array in data)]
    kept = (workdir, keys)
    log: list[Row] = []
    recipe = Recipe(config.steps, config.batch_size, config.lr)
    schedule = noise_schedule(config.base)
    if config.base is None:
        recipe_ae = Recipe(config.autoencoder_steps, config.batch_size, 5e-3)
        autoencoder, rows = ae.learnt(pictures, recipe_ae, config.seed, workdir=workdir, run=keys)
        log += [{"network": "autoencoder", **row} for row in rows]
    else:
        autoencoder = ae.given(config.base, pictures)
    z_N = torch.from_numpy(autoencoder.encoded(pictures)).float()
    latent = tuple(z_N.shape[1:])
    torch.manual_seed(config.seed)
    unet = tiny_unet(latent) if config.base is None else given_unet(config.base / "unet", latent)
    base = Painter(encoder, unet, schedule, latent)
    if config.base is None:
        recipe_unet = Recipe(config.unet_steps, config.batch_size, config.lr)
        rows = learn_pictures(base, z_N, recipe_unet, config.seed, kept)
        log += [{"network": "unet", **row} for row in rows]
    encoders: dict[str, SCMBM | PCA] = {
        "no_pretraining": untrained(encoder.size, x_NV, config.seed),
        "pca": pca.fitted(encoder.size, x_NV),
    }
    partner = deranged(train.stimulus, config.seed)
    made = {}
    for name in painters:
        torch.manual_seed(config.seed)
        made[name] = painter_from(base, encoders.get(name, encoder))
        rows = learn_to_paint(
            name, made[name], x_NV, z_N[partner] if name == "shuffled" else z_N, recipe, config.seed,
            noise=config.noise, guess=config.guess, everything=config.train == "all", kept=kept,
        )  # fmt: skip
        log += [{"network": name, **row} for row in rows]
    return Painted(autoencoder, made, partner), log


def deranged(stimulus: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    """For each row the row whose picture it gets, in a random order in which no stimulus keeps its own.

    Raises
    ------
    InputError: more than half of the rows are of one stimulus.
    """
    names, number, count = np.unique(stimulus, return_inverse=True, return_counts=True)
    # With the rows of a stimulus side by side, a shift by the size of the largest group moves every row to another
    # stimulus. Stimuli come in an order that is drawn: in that of their names, neighbours may be of one category, and
    # the control would learn the category.
    order = np.argsort(np.random.default_rng(seed).permutation(len(names))[number], kind="stable")
    largest = int(count.max())
    if 2 * largest > len(stimulus):
        raise InputError(f"trials: {largest} of {len(stimulus)} training patterns are of one stimulus", "more stimuli")
    partner = np.empty(len(stimulus), np.int64)
    partner[order] = np.roll(order, largest)
    return partner


def settings(network: Any) -> dict[str, Any]:
    """A diffusers network's configuration, without the folder that it came from and the set of its defaults."""
    return {key: value for key, value in network.config.items() if key not in ("_name_or_path", "_use_default_values")}


def save(painted: Painted, outputs: Mapping[str, Path], about: Mapping[str, Any]) -> None:
    """Weights of each network, and config.json with what `load` needs."""
    from safetensors.torch import save_file

    from brainlm_model.decode.diffusion import SCHEDULE_KEYS

    first = painted.painters[PAINTERS[0]]
    made = painted.autoencoder
    content = {
        "format": 1,
        "autoencoder": {
            "kind": type(made.network).__name__, "config": settings(made.network), "shape": made.shape,
            "multiple": made.multiple, "square": made.square, "shift": made.shift, "scale": made.scale,
        },
        "unet": settings(first.unet),
        "schedule": {key: first.scheduler.config[key] for key in SCHEDULE_KEYS},
        "encoder": {"size": asdict(first.encoder.size), "tokens": first.encoder.tokens},
        "components": painted.painters["pca"].encoder.width,
        "latent": first.latent,
        "partner": painted.partner.tolist(),
        **about,
    }  # fmt: skip
    text = json.dumps(content, indent=2, sort_keys=True, default=list)
    outputs["diffusion_config"].write_text(text + "\n", encoding="utf-8")
    networks = {"autoencoder": made.network, **painted.painters}
    for name, network in networks.items():
        tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, outputs[f"diffusion_{name}"], {"format": "pt"})


def load(inputs: Mapping[str, Path]) -> Painted:
    """What `save` wrote. Raises InputError where a file is damaged."""
    from brainlm_model.decode.autoencoder import KINDS, Autoencoder
    from brainlm_model.decode.diffusion import Painter
    from brainlm_model.decode.extra import needed
    from brainlm_model.decode.pca import PCA
    from brainlm_model.decode.scmbm import SCMBM, Size
    from brainlm_model.models.weights import load_into

    remedy = "`--forcerun diffusion` makes it again"
    diffusers = needed("diffusers")
    with reads(inputs["diffusion_config"], remedy):
        content = json.loads(inputs["diffusion_config"].read_text(encoding="utf-8"))
        given = content["autoencoder"]
        if given["kind"] not in KINDS:
            raise ValueError(f"an autoencoder of kind {given['kind']}")
        network = getattr(diffusers, given["kind"]).from_config(given["config"])
        autoencoder = Autoencoder(
            network, given["shape"], given["multiple"], given["square"], given["shift"], given["scale"]
        )
        size, tokens = Size(**content["encoder"]["size"]), content["encoder"]["tokens"]
        latent = tuple(content["latent"])
        schedule = diffusers.DDPMScheduler(**content["schedule"])
        partner = np.array(content["partner"], np.int64)
        painters = {}
        for name in PAINTERS:
            unet = diffusers.UNet2DConditionModel.from_config(content["unet"])
            own = PCA(size, tokens * size.patch, content["components"]) if name == "pca" else SCMBM(size, tokens)
            painters[name] = Painter(own, unet, schedule, latent).eval()
    load_into(network, inputs["diffusion_autoencoder"], remedy)
    for name, painter in painters.items():
        load_into(painter, inputs[f"diffusion_{name}"], remedy)
    return Painted(autoencoder, painters, partner)


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Train; write weights, config, log and checksums."""
    from brainlm_model.decode import scmbm_files
    from brainlm_model.decode.scmbm import padded_length

    use_threads(config.threads)
    patterns = read(inputs["trials"])
    encoder = scmbm_files.load(inputs["scmbm_model"], inputs["scmbm_config"])
    patch = encoder.size.patch
    compat = encoder.tokens * patch != padded_length(patterns.n_voxels, patch)
    painted, log = learnt(patterns, encoder, compat, config, workdir_of(outputs))
    with reads(inputs["scmbm_config"]):
        before = json.loads(inputs["scmbm_config"].read_text(encoding="utf-8"))["training"]
    train = patterns.of("train")
    facts: Facts = {
        "Base": "tiny" if config.base is None else config.base.name,
        "Parameters": sum(parameter.numel() for parameter in painted.painters["decoded"].parameters()),
        "Latent": list(painted.painters["decoded"].latent),
        "TrainingPatterns": len(train),
        "TrainingStimuli": len(np.unique(train.stimulus)),
        "Steps": config.steps,
        "Trained": config.train,
        "Noise": config.noise,
        "Guess": config.guess,
        "Transductive": before["Transductive"],
    }
    save(painted, outputs, {"compat": compat, "training": facts})
    write_log(outputs["diffusion_log"], log)
    write_sums(outputs["diffusion_checksums"], {p.name: p for n, p in outputs.items() if n != "diffusion_checksums"})
    return facts


def describe(facts: Facts) -> str:
    """Methods sentence."""
    base = "tiny networks learnt from the training pictures" if facts["Base"] == "tiny" else f"the base {facts['Base']}"
    return (
        f"A latent diffusion model with two conditions (MinD-Vis, Chen et al., 2023; diffusers; {base}) learnt in "
        f"{facts['Steps']} steps to paint {facts['TrainingStimuli']} pictures from {facts['TrainingPatterns']} "
        "patterns."
    )


ARTIFACTS = {
    "diffusion_autoencoder": Artifact(
        "cohort", "decoder/diffusion/autoencoder.safetensors", "weights between pictures and latents"
    ),
    **{
        f"diffusion_{name}": Artifact("cohort", f"decoder/diffusion/{name}.safetensors", f"weights: {name}")
        for name in PAINTERS
    },
    "diffusion_config": Artifact("cohort", "decoder/diffusion/config.json", "shapes of these networks, their training"),
    "diffusion_log": Artifact("cohort", "decoder/diffusion/log.csv", "one row per step: network, loss, learning rate"),
    "diffusion_checksums": Artifact("cohort", "decoder/diffusion/SHA256SUMS", "sha256 of these files"),
}

STAGE = Stage(
    name="diffusion",
    version=3,
    level="cohort",
    summary="Learn to paint what was seen: latent diffusion with two conditions, and its controls.",
    Config=Config,
    inputs=("trials", "scmbm_model", "scmbm_config"),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(8000, start=4 * 3600),
    run=run,
    describe=describe,
)
