"""Golden outputs: one file per stage, with the stage's version and a summary of what it makes of a fixed input.

Where the output changed and the version did not, users would keep old results: the test fails. After raising the
version, `make golden` writes the stage's file anew. Where the input of the test changed, remove the file first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainlm_data.stage import Stage
from tests.golden.summary import content, differences, summary

HERE = Path(__file__).parent


def golden_file(stage: Stage) -> Path:
    return HERE / f"{stage.name}.json"


def check(
    stage: Stage,
    outputs: Mapping[str, Path],
    facts: Mapping[str, Any] | None = None,
    after: Sequence[Stage] = (),
    rtol: float = 1e-3,
    ignore: tuple[str, ...] = (),
    renew: bool = False,
) -> None:
    """Compare outputs (and facts) of a stage with its golden file.

    `after`: stages that made the input; where one of them has another version, the golden file is out of date, too.
    `ignore`: columns and keys that vary from run to run. `renew`: write the file where it is missing or out of date.
    """
    written = {name: path for name in stage.outputs if (path := outputs.get(name)) is not None and path.exists()}
    made = {name: summary(path, ignore) for name, path in written.items()}
    missing = set(stage.outputs) - set(stage.optional) - set(written)
    assert not missing, f"{stage.name} did not write {sorted(missing)}"
    if facts is not None:
        made["facts"] = content(dict(facts), ignore)
    now = {"version": stage.version, "after": {before.name: before.version for before in after}}
    file = golden_file(stage)
    held = json.loads(file.read_text()) if file.exists() else {}
    current = all(held.get(key) == value for key, value in now.items())
    if renew and not current:
        write(file, now, made)
        return
    assert held, f"{file.name} is missing: make golden"
    changed = list(differences(made, held["outputs"], rtol))
    if current:
        assert not changed, f"output of {stage.name} changed: raise its version, then make golden\n" + "\n".join(
            changed
        )
    else:
        was = {key: held[key] for key in now}
        raise AssertionError(f"{file.name} was made by {was}, the code is {now}: make golden")


def write(file: Path, head: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """One line per output, so that a change is seen in the diff."""
    lines = [f"{json.dumps(name)}: {json.dumps(held, sort_keys=True)}" for name, held in sorted(outputs.items())]
    start = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    file.write_text("{\n" + start + '"outputs": {\n' + ",\n".join(lines) + "\n}}\n")
