"""The edges between stages, from their declarations alone, and the job of one rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainlm_data import paths
from brainlm_data.bids.index import Index
from brainlm_data.config import General, section_from
from brainlm_data.errors import BrainLMError
from brainlm_data.files import sidecar
from brainlm_data.graph.watched import watched
from brainlm_data.runner.bundle import Job
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Artifact, Route, Stage


def route_of(config: General) -> Route:
    """The way to the series that a configuration asks for."""
    given = getattr(config, "input", None)  # a stage's section
    return "import" if given is not None and given.kind != "bids" else config.preprocess.engine


def on_route(stages: Sequence[Stage], route: str) -> list[Stage]:
    """The stages of a way to the series, and what follows."""
    return [stage for stage in stages if route in stage.routes]


def producers_of(stages: Sequence[Stage]) -> dict[str, Stage]:
    """Artifact name -> the stage that writes it."""
    return {name: stage for stage in stages for name in stage.outputs}


def placeholders(stage: Stage) -> frozenset[str]:
    """Names ({"space", "seg", "model"}) that occur in the paths of a stage's own outputs."""
    artifacts = paths.artifacts_of([stage])
    return frozenset().union(*(artifacts[name].names for name in stage.outputs))


def upstream_of(stage: Stage, producers: Mapping[str, Stage]) -> list[Stage]:
    """The stages that write this stage's inputs, without repetition."""
    upstream = {producers[name].name: producers[name] for name in stage.inputs if name in producers}
    return list(upstream.values())


def reads_raw(stage: Stage, artifacts: Mapping[str, Artifact]) -> bool:
    """True where a stage reads raw files."""
    return any(not artifacts[name].pattern for name in stage.inputs)


def reads_listing(stage: Stage, artifacts: Mapping[str, Artifact]) -> bool:
    """True where a change of the raw listing must rerun the stage: it reads raw files, or gathers the recordings."""
    read = [artifacts[name] for name in stage.inputs]
    gathers = stage.level == "cohort" and any(artifact.level != "cohort" for artifact in read)
    return gathers or reads_raw(stage, artifacts)


def details_of(
    stages: Sequence[Stage], config: General, index: Index, bundles: Mapping[str, str]
) -> dict[tuple[str, str], dict[str, Any]]:
    """(stage, bundle) -> recording -> what is said of it alone; empty for nearly all.

    By the files that the stage's section names (`Stage.by_unit`), and by the dataset (`Stage.told`). `bundles`: of the
    selected recordings.
    """
    per_bundle: dict[tuple[str, str], dict[str, Any]] = {}
    for stage in stages:
        said = stage.by_unit(getattr(config, stage.name), index.ids) if stage.by_unit else {}
        keys = told(stage, config)
        told_of: Mapping[str, Any] = {COHORT: index} if stage.level == "cohort" else {r.id: r for r in index.recordings}
        for unit, what in told_of.items() if keys else ():
            if facts := {key: value for key in keys if (value := getattr(what, key))}:
                said[unit] = said.get(unit, {}) | facts
        for unit in said.keys() & {*bundles, COHORT}:
            per_bundle.setdefault((stage.name, bundles.get(unit, COHORT)), {})[unit] = said[unit]
    return per_bundle


def told(stage: Stage, config: General) -> tuple[str, ...]:
    """What the stage is told (`Stage.told`); nothing where it is not on the route."""
    return stage.told if route_of(config) in stage.routes else ()


def listing_digest(
    stage: Stage, artifacts: Mapping[str, Artifact], units: str, details: Mapping[str, Mapping[str, Any]]
) -> str:
    """Digest of what a stage's job reads of a listing; empty where it reads nothing.

    `artifacts`: of all stages. `units`: digest of the listing's units. `details`: unit -> what is said of it to this
    stage alone.
    """
    counted = {unit: {k: v for k, v in meta.items() if not k.startswith("_")} for unit, meta in details.items()}
    seen = [units if reads_listing(stage, artifacts) else "", counted]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16] if any(seen) else ""


def load_job(stages: Sequence[Stage], name: str, outdir: Path, bundle: str, signature: str) -> Job:
    """The job of one rule, from its listing file alone (no index, no config.yaml).

    Raises InputError where the listing is missing, ConfigError where the signature's section is not valid.
    """
    by_name = {stage.name: stage for stage in stages}
    stage, producers = by_name[name], producers_of(stages)
    path = paths.listing_path(outdir, stage.level, bundle)
    listing = sidecar.load_record(path, "Snakemake writes it; run `snakemake -n` once")
    content = json.loads(signature)
    if content["version"] != stage.version:
        raise BrainLMError(
            f"{name}: planned for version {content['version']}, installed is {stage.version}", "plan again"
        )
    config = section_from(content["config"], stage)
    if watched(stage, config) != content["watched"]:
        raise BrainLMError(f"{name}: a file that its section names has changed since the run was planned", "plan again")
    bundles: dict[str, list[str]] = {}
    for upstream in upstream_of(stage, producers):
        if upstream.level == "cohort":
            bundles[upstream.name] = [COHORT]
        elif stage.level == "cohort":
            bundles[upstream.name] = listing["bundles"][upstream.level]
        elif upstream.level == "subject" and stage.level == "recording":
            bundles[upstream.name] = listing["subject_bundles"]
        else:
            bundles[upstream.name] = [bundle]
    details = listing["details"].get(name, {})
    return Job(
        stage=stage,
        config=config,
        names=content["names"],
        producers=producers,
        outdir=outdir,
        bundle=bundle,
        units=[{**unit, "meta": {**unit["meta"], **details.get(unit["id"], {})}} for unit in listing["units"]],
        bundles=bundles,
        signature=signature,
        listing=listing_digest(stage, paths.artifacts_of(stages), listing["digest"], details),
    )
