"""Stage `decode`: pictures of what was seen, how good they are beside simpler methods, a figure and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data import Artifact, Facts, Files, Need, Patterns, Stage, StageConfig, reads
from brainlm_model.decode import words
from brainlm_model.decode.classifier import DIGITS
from brainlm_model.decode.methods import FROM_NOISE, LABELS, MEASURES, painted_samples, scores, simple, summaries
from brainlm_model.decode.stages import diffusion
from brainlm_model.decode.stages.scmbm import read
from brainlm_model.eval.writing import DPI, plain, write_csv, write_json
from brainlm_model.training.machine import use_threads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from brainlm_model.decode.second_stage import Sampling

Array = NDArray[np.float64]
COLUMNS = ("method", "measure", "value", "low", "high", "less_ridge", "less_ridge_low", "less_ridge_high")
SAMPLES_SHOWN = 3
FIDS = {"fid_64": "FID, 64 features", "fid": "FID, 2,048"}


class Config(StageConfig):
    """Section `decode` of config.yaml."""

    sampler: Literal["ddim", "pndm"] = Field("ddim", description="sampler of diffusers; pndm: published, 250 steps")
    sampling_steps: int = Field(12, ge=1, description="steps of the sampler")
    start: Literal["noise", "ridge"] = Field(
        "noise", description="what samples start from; noise: as published; ridge: ridge regression's latents, noised"
    )
    strength: float = Field(0.6, gt=0, lt=1, description="with start ridge: share of the sampler's steps gone through")
    guidance: float = Field(
        1.0, ge=0, description="weight of the condition (classifier-free guidance); 1: none, published"
    )
    samples: int = Field(5, ge=SAMPLES_SHOWN, description="pictures drawn from each test pattern")
    judge: Path | None = Field(
        None, description="state dict of a vision transformer of torchvision (vit_h_14), for n-way; null: one of digits"
    )
    n_way: int = Field(5, ge=2, description="classes of the n-way measure, of the judge's; published: 50")
    inception: Path | None = Field(
        None, description="weights of FID's Inception network (pt_inception-2015-12-05): fid_64 and fid are given, too"
    )
    shown: int = Field(8, ge=1, description="test pictures in the figure, evenly over the range of pixel r")
    title: str = Field("What was seen, and what was decoded", min_length=1, description="title of the page")
    seed: int = Field(0, ge=0, description="seed of samples and of the intervals' draws")
    threads: int = Field(1, ge=1, description="threads of torch")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Sample, score, and write the results as JSON, table, arrays, figure and page."""
    from brainlm_model.decode.judges import vit_judge
    from brainlm_model.figures.style import save, style

    use_threads(config.threads)
    patterns = read(inputs["trials"])
    painted = diffusion.load(inputs)
    with reads(inputs["diffusion_config"]):
        made = json.loads(inputs["diffusion_config"].read_text(encoding="utf-8"))
    judge = DIGITS if config.judge is None else vit_judge(config.judge)
    samples = painted_samples(patterns, painted, made["compat"], sampling(config))
    others = simple(patterns, painted, judge)
    test = patterns.of("test")
    found = scores(samples, others, test, test.subject, config.n_way, judge)
    table = summaries(found, test, config.seed)
    facts: Facts = {
        "TestStimuli": len(np.unique(test.stimulus)),
        "TestPatterns": len(test),
        "TrainingPatterns": made["training"]["TrainingPatterns"],
        "Subjects": len(np.unique(test.subject)),
        "Repeats": [int(test.repeats.min()), int(test.repeats.max())],
        "Sampler": config.sampler,
        "SamplingSteps": config.sampling_steps,
        "Samples": config.samples,
        "Start": config.start,
        "Strength": sampling(config).strength,
        "Guidance": config.guidance,
        "NWay": config.n_way,
        "Judge": judge.name,
        "Transductive": made["training"]["Transductive"],
    }
    distances = fids(config.inception, samples, others, test)
    content = {
        "Summary": words.headline(table),
        **facts,
        "Labels": {name: LABELS[name] for name in table},
        "methods": table,
        **distances,
        "Ablations": ablations(table),
        "Warnings": words.warnings(patterns, samples["decoded"].mean(axis=0), table, facts),
        "Published": words.published(judge is DIGITS, table, distances["fid_64"], config.n_way),
    }
    write_json(outputs["decode_json"], content)
    write_csv(outputs["decode_csv"], COLUMNS, rows_of(table))
    arrays = shown(samples["decoded"], others, test, found["decoded"]["pixel_r"], config.shown)
    np.savez_compressed(outputs["decode_arrays"], allow_pickle=False, **arrays)
    with style():
        save(draw(arrays), outputs["decode_svg"], outputs["decode_png"], DPI)
    outputs["decode_page"].write_text(page(config.title, plain(content), outputs["decode_svg"]), encoding="utf-8")
    return facts


def sampling(config: Config) -> Sampling:
    """How samples are drawn."""
    from brainlm_model.decode.second_stage import Sampling

    strength = config.strength if config.start == "ridge" else 1.0
    return Sampling(config.sampler, config.sampling_steps, config.samples, config.seed, strength, config.guidance)


def ablations(table: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """With and without SC-MBM; where samples start from ridge, of the same networks from noise as well."""
    pairs = [("decoded", "no_pretraining"), (FROM_NOISE["decoded"], FROM_NOISE["no_pretraining"])]
    return [
        {"SC-MBM": name == pair[0], "method": name, **table[name]} for pair in pairs for name in pair if name in table
    ]


def fids(
    weights: Path | None, samples: Mapping[str, Array], others: Mapping[str, Array], test: Patterns
) -> dict[str, dict[str, float]]:
    """`fid_64` and `fid`: method -> distance of its pictures (each sample by itself) to the test pictures.

    Both are empty without weights, `fid` is where the last layers are not in the file.
    """
    from brainlm_model.decode.judges import fid_of

    found: dict[str, dict[str, float]] = {"fid_64": {}, "fid": {}}
    if weights is None:
        return found
    made, seen = fid_of(weights), test.seen() / 255
    for kind, distance in (("fid_64", made.fid_64), ("fid", made.fid)):
        if distance is not None:
            found[kind] = {
                name: float(np.mean([distance(one, seen) for one in each])) for name, each in samples.items()
            }
            found[kind] |= {name: distance(each, seen) for name, each in others.items()}
    return found


def rows_of(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A line for each method and measure."""
    rows = []
    for method, by_measure in table.items():
        for measure, row in by_measure.items():
            less = row["less_ridge"]
            rows.append({
                "method": method, "measure": measure, "value": row["value"], "low": row["low"], "high": row["high"],
                "less_ridge": less["value"], "less_ridge_low": less["low"], "less_ridge_high": less["high"],
            })  # fmt: skip
    return rows


def shown(samples: Array, others: Mapping[str, Array], test: Patterns, r_M: Array, count: int) -> dict[str, Any]:
    """Pictures of the figure: the test rows at even steps of their pixel r, so that none is picked by hand."""
    ranked = np.argsort(-r_M, kind="stable")
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    rows = ranked[places]
    return {
        "stimulus": test.stimulus[rows],
        "pixel_r": r_M[rows],
        "seen": test.seen()[rows] / 255,
        "decoded": samples[:, rows].mean(axis=0),
        "samples": samples[:SAMPLES_SHOWN, rows],
        "ridge": others["ridge_pixels"][rows],
        "nearest": others["nearest"][rows],
    }


def draw(arrays: Mapping[str, Any]) -> Figure:
    """One row for each test picture: seen, mean and three of the samples, ridge to the pixels, nearest pattern."""
    import matplotlib.pyplot as plt

    columns = {"seen": arrays["seen"], "decoded": arrays["decoded"]}
    for number, sample in enumerate(arrays["samples"], start=1):
        columns[f"sample {number}"] = sample
    columns |= {"ridge": arrays["ridge"], "nearest": arrays["nearest"]}
    count = len(arrays["seen"])
    figure, grid = plt.subplots(
        count, len(columns), figsize=(1.05 * len(columns) + 0.7, 1.05 * count + 0.4), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for column, (title, pictures) in enumerate(columns.items()):
        for row, picture in enumerate(pictures):
            axes = grid[row, column]
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(title, fontsize=9)
            if column == 0:
                axes.set_ylabel(f"r = {arrays['pixel_r'][row]:.2f}", fontsize=8)
    return figure


def page(title: str, content: Mapping[str, Any], svg: Path) -> str:
    """The page as HTML; it embeds everything."""
    from brainlm_model.report.stage import embedded, environment_of, versions

    here = Path(__file__).parents[1]
    distances = [name for name in FIDS if content[name]]
    rows = []
    for name, by_measure in content["methods"].items():
        more = [f"{content[kind][name]:.2f}" if name in content[kind] else "" for kind in distances]
        rows.append((LABELS[name], [*cells(by_measure), *more]))
    chance = {"two_way": "0.5", "n_way_top1": f"{1 / content['NWay']:.2g}", **dict.fromkeys(distances, "")}
    measures = {
        **MEASURES, "n_way_top1": f"{content['NWay']}-way, top 1", **{name: FIDS[name] for name in distances},
    }  # fmt: skip
    reasons = {row["kind"]: row["comparable"] for row in content["Published"]}
    template = environment_of(here, here.parent / "report").get_template("decode.html")
    return template.render(
        title=title, content=content, measures=measures, rows=rows, figure=embedded(svg), versions=versions(),
        chance=chance, reasons=reasons,
    )  # fmt: skip


def cells(by_measure: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """`0.91 (0.88-0.94)` of each measure."""
    return [words.interval(by_measure[name]) for name in MEASURES]


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return (
        f"{facts['Samples']} pictures were sampled ({facts['Sampler'].upper()}, {facts['SamplingSteps']} steps) from "
        f"each of {facts['TestPatterns']} test patterns of {facts['TestStimuli']} stimuli that no network had seen. "
        "Their mean was scored beside ridge regression and other simple methods."
    )


ARTIFACTS = {
    "decode_json": Artifact("cohort", "metrics/decode.json", "every method and measure with intervals, warnings"),
    "decode_csv": Artifact("cohort", "metrics/decode.csv", "the same as a table"),
    "decode_arrays": Artifact("cohort", "metrics/decode.npz", "the pictures of the figure"),
    "decode_svg": Artifact("cohort", "figures/decode.svg", "seen and decoded pictures"),
    "decode_png": Artifact("cohort", "figures/decode.png", "seen and decoded pictures"),
    "decode_page": Artifact("cohort", "decode.html", "what was decoded, how well, beside simpler methods"),
}

STAGE = Stage(
    name="decode",
    version=3,
    level="cohort",
    summary="Decode what was seen: pictures, measures beside simpler methods, figure and page.",
    Config=Config,
    inputs=("trials", *(name for name in diffusion.ARTIFACTS if name not in ("diffusion_log", "diffusion_checksums"))),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(4000, start=3600),
    run=run,
    describe=describe,
)
