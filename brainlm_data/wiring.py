"""The edges between stages, from their declarations alone, and the job of one rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from brainlm_data import paths
from brainlm_data.bundle import Job
from brainlm_data.config import section_from
from brainlm_data.errors import BrainLMError, InputError
from brainlm_data.manifest import COHORT
from brainlm_data.stage import Stage


def of_engine(stages: Sequence[Stage], engine: str) -> list[Stage]:
    """The stages that run under an engine: those of any engine, and its own."""
    return [stage for stage in stages if stage.engine in (None, engine)]


def producers_of(stages: Sequence[Stage]) -> dict[str, Stage]:
    """Artifact name -> the stage that writes it."""
    return {name: stage for stage in stages for name in stage.outputs}


def placeholders(stage: Stage) -> frozenset[str]:
    """Names ({"space", "seg", "model"}) that occur in the paths of a stage's own outputs."""
    return frozenset().union(*(paths.ARTIFACTS[name].names for name in stage.outputs))


def upstream_of(stage: Stage, producers: Mapping[str, Stage]) -> list[Stage]:
    """The stages that write this stage's inputs, without repetition."""
    found = {producers[name].name: producers[name] for name in stage.inputs if name in producers}
    return list(found.values())


def reads_listing(stage: Stage) -> bool:
    """True where a change of the raw listing must rerun the stage: it reads raw files, or gathers the recordings."""
    raw = any(not paths.ARTIFACTS[name].pattern for name in stage.inputs)
    return raw or (stage.level == "cohort" and any(paths.ARTIFACTS[n].level != "cohort" for n in stage.inputs))


def load_job(stages: Sequence[Stage], name: str, outdir: Path, bundle: str, signature: str, repairs: int = 0) -> Job:
    """The job of one rule, from its listing file alone (no index, no config.yaml).

    Raises InputError where the listing is missing, ConfigError where the signature's section is not valid.
    """
    by_name = {stage.name: stage for stage in stages}
    stage, producers = by_name[name], producers_of(stages)
    path = paths.listing_path(outdir, stage.level, bundle)
    try:
        listing = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"listing {path}: {error}", "Snakemake writes it; run `snakemake -n` once") from error
    content = json.loads(signature)
    if content["version"] != stage.version:
        raise BrainLMError(
            f"{name}: planned for version {content['version']}, installed is {stage.version}", "plan again"
        )
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
    section = section_from(content["config"], stage)
    return Job(stage, section, content["names"], producers, outdir, bundle, listing["units"], bundles, repairs)
