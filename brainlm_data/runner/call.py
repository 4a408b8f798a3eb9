"""The one door to run a stage: on plain files, with a sidecar for every derivative that it writes.

Bundles, single-stage commands, tests and benchmarks all come through here, so what one of them sees beside a file is
what the others see. The sidecar of `x.tsv` is `x.json`; a derivative that is JSON itself holds its own, under the key
`Sidecar` (`files/sidecar.py`). What lies outside derivatives/ (store, models, tables, figures) has none: the card of
the store and the configuration of the model say how those were made.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainlm_data.files import sidecar
from brainlm_data.paths import ARTIFACTS, RAW_URI, artifacts_of, bids_metadata
from brainlm_data.stage import Facts, Files, Stage, StageConfig

# What is true of an input is true of the output, unless the stage says otherwise.
INHERITED = (
    "RepetitionTime", "NumberOfVolumes", "EmptyVolumes", "VolumesOutOfView", "SliceTimingCorrected", "StartTime",
    "Dropped", "Censored", "Space", "SpaceMismatch", "AtlasName", "MissingParcels", "DistortionCorrection",
    "FieldmapsNotUsed",
    "EchoNumber", "EchoTime", "EchoesNotUsed", "EchoTimes", "EchoesCombined",
)  # fmt: skip


def call(
    stage: Stage,
    inputs: Files,
    outputs: Mapping[str, Path],
    config: StageConfig,
    names: Mapping[str, str] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Facts:
    """Run a stage on plain files and write the sidecars of its outputs.

    Parameters
    ----------
    outputs: where each output goes; folders are made.
    names: of template and atlas (`space`, `seg`), for the BIDS metadata of images in standard space.
    digests: sha256 of the inputs, where they are known already.

    Returns
    -------
    The facts of the stage with those that it inherits: keys common to all outputs, and under an artifact's name what
    is true of that artifact alone.

    Raises
    ------
    RuntimeError: the stage did not write an output that is not optional. Else what the stage raises.
    """
    for path in outputs.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    own = stage.run(inputs, Files(outputs, inputs.meta), config)
    missing = [name for name, path in outputs.items() if not path.exists() and name not in stage.optional]
    if missing:
        raise RuntimeError(f"stage {stage.name} did not write {', '.join(missing)} for {inputs.meta.get('id', '')}")
    facts = inherited(inputs, own)
    shared = common(stage, facts)
    described = [name for name, path in outputs.items() if path.exists() and _has_sidecar(name)]
    if not described:
        return facts
    provenance = _provenance(stage, inputs, config, shared, digests)
    for name in described:
        about = {"Description": ARTIFACTS[name].description, **provenance, **bids_metadata(name, names or {})}
        sidecar.write_facts(outputs[name], {**about, **shared, **facts.get(name, {})})
    return facts


def places(stage: Stage, folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """Where the outputs of a stage go in a plain folder: each under its own file name, of a unit that is called x."""
    artifacts = artifacts_of([stage])
    return {name: folder / artifacts[name].path(folder, "x", names).name for name in stage.outputs}


def _has_sidecar(name: str) -> bool:
    """True of derivatives, which are all in the table of this package."""
    return name in ARTIFACTS and ARTIFACTS[name].has_sidecar


def inherited(inputs: Files, own: Facts) -> Facts:
    """The facts of a stage, completed by those of its inputs; of two inputs that differ, by those of the first.

    Warnings add up: those of the inputs, then the stage's own, each once. What a scanner's JSON says is no fact yet:
    only what stages wrote counts.
    """
    before: Facts = {}
    warnings: dict[str, None] = {}
    for name in inputs:
        if not _has_sidecar(name):
            continue
        facts = inputs.facts(name)
        before = {key: facts[key] for key in INHERITED if key in facts} | before
        warnings |= dict.fromkeys(facts.get("Warnings", ()))
    warnings |= dict.fromkeys(own.get("Warnings", ()))
    return {**before, **own, **({"Warnings": list(warnings)} if warnings else {})}


def common(stage: Stage, facts: Facts) -> Facts:
    """The facts that are true of every output."""
    return {key: value for key, value in facts.items() if key not in stage.outputs}


def _provenance(
    stage: Stage, inputs: Files, config: StageConfig, shared: Facts, digests: Mapping[str, str] | None
) -> dict[str, Any]:
    """What made the outputs (in words, too), with which parameters, of which files."""
    outdir = Path(inputs.meta.get("outdir", "."))
    known = {name: sidecar.digest(path) for name, path in inputs.items()} if digests is None else digests
    sources = {uri(path, outdir): known[name] for name, path in inputs.items()}
    return {
        "GeneratedBy": {
            "Name": f"brainlm-data {stage.name}",
            "Version": importlib.metadata.version("brainlm-pipeline"),
            "StageVersion": stage.version,
            "Description": stage.describe(shared),
        },
        "Parameters": config.model_dump(mode="json"),
        "Sources": sorted(sources),
        "SourceDigests": sources,
    }


def uri(path: Path, outdir: Path) -> str:
    """A BIDS URI: of this derivatives dataset, else of the raw one (`DatasetLinks` says where that is)."""
    derivatives = outdir / "derivatives"
    if path.is_relative_to(derivatives):
        return f"bids::{path.relative_to(derivatives)}"
    below = [i for i, part in enumerate(path.parts) if part.startswith("sub-")]
    return f"{RAW_URI}{'/'.join(path.parts[below[0] :])}" if below else path.name
