"""Stages of the template's space, called into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainlm_data.runner.call import call, places
from brainlm_data.stage import Facts, Files, Stage


def run(stage: Stage, inputs: dict[str, Path], folder: Path, **section: Any) -> tuple[Files, Facts]:
    """Run a stage into a folder; its outputs, as far as they were written, and its facts."""
    names = {"space": "MNI", "seg": "atlas"}
    outputs = places(stage, folder, names)
    facts = call(stage, Files(inputs, {"id": "x", "metadata": {}}), outputs, stage.Config(**section), names)
    return Files({name: path for name, path in outputs.items() if path.exists()}), facts
