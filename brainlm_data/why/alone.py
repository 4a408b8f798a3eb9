"""Files that no run of the DAG made: of `brainlm-data import`, and of `brainlm-model` on a store alone.

They have no manifest. What made them stands in import.json and in card.json, which lie in their folder or above it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files.json import AGAIN, read_object
from brainlm_data.why.trace import Made, Raw, Trace

DEEP = 4  # folders above a file that are looked at: models/NAME/metrics/SPLIT/x.csv


def folders_of(path: Path) -> list[Path]:
    """The folder of a file, and those above it that may say what made it."""
    above = path.absolute().parents
    return [path, *above[:DEEP]] if path.is_dir() else list(above[:DEEP])


def trace_alone(path: Path) -> Trace | None:
    """What import.json and the nearest card.json say; None where there is neither."""
    made: list[Made] = []
    raw: list[Raw] = []
    for folder in folders_of(path):
        card, imported = folder / "card.json", folder / "import.json"
        if card.is_file() and not made:
            made += _of_card(read_object(card, remedy=AGAIN))
        if imported.is_file():
            about = read_object(imported, remedy=AGAIN)
            made = [node for node in made if node.stage != "import"] + [_of_import(about)]
            raw += [Raw(name, 0, 0, str(sha), "as it was imported") for name, sha in about.get("Inputs", {}).items()]
            break
    note = "not made by a run of the DAG: no manifest has its digest, and nothing shows whether it was edited since"
    return Trace(made, raw, [note]) if made else None


def _of_import(about: dict[str, Any]) -> Made:
    software = {"brainlm-pipeline": [str(about.get("GeneratedBy", {}).get("Version", "unknown"))]}
    node = Made("import", 0, dict(about.get("Arguments", {})), {}, {}, software=software)
    node.refused = {str(name): str(reason) for name, reason in about.get("Reasons", {}).items()}
    node.reads = dict.fromkeys(about.get("Inputs", {}), "raw")
    return node


def _of_card(card: dict[str, Any]) -> list[Made]:
    """The parts of a card: what was made of the data (its facts), if anything, and the stages before, last first."""
    parts = {name: part for name, part in card.items() if isinstance(part, dict) and "facts" in part}
    made = [
        Made(name, 0, dict(part["facts"] or {}), {}, {}, reads={"store": "collate"}) for name, part in parts.items()
    ]
    data = card.get("data") if parts else card
    if not isinstance(data, dict):
        return made
    by, _, version = str(data.get("made_by", "")).partition(" ")
    for stage in reversed(data.get("stages", [])):
        node = Made(str(stage.get("stage")), int(stage.get("version") or 0), dict(stage.get("fields") or {}), {}, {})
        node.software = {by: [version]} if version else {}
        made.append(node)
    return made


def no_output(path: Path) -> InputError:
    """The one line for a file that nothing is known of."""
    return InputError(
        f"{path}: no output: neither a manifest of a run nor a card or an import.json says what made it",
        "give a file below the outdir of a run, with its work/ folder",
    )
