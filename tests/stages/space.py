"""Template and atlas stages called as the runner calls them: outputs with their sidecars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainlm_data.files.sidecar import sidecar_path, write_json
from brainlm_data.paths import ARTIFACTS
from brainlm_data.stage import Facts, Files, Stage


def run(stage: Stage, inputs: dict[str, Path], folder: Path, **section: Any) -> tuple[Files, Facts]:
    """Run a stage into a folder; its outputs with sidecars, as far as they were written, and its facts."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"space": "MNI", "seg": "atlas"}
    outputs = {n: folder / Path(ARTIFACTS[n].pattern.format(prefix="x", **names)).name for n in stage.outputs}
    facts = stage.run(Files(inputs, {"id": "x", "metadata": {}}), Files(outputs), stage.Config(**section))
    common = {k: v for k, v in facts.items() if k not in ARTIFACTS}
    written = {name: path for name, path in outputs.items() if path.exists()}
    for name, path in written.items():
        write_json(sidecar_path(path), {**common, **facts.get(name, {})})
    assert stage.describe(common).endswith(".")
    return Files(written), facts
