"""Whether a step checkpoint is of the run that is asked for, key by key.

A key that decides how a run is computed may change while it is stopped: it goes on and says so. One that decides what
is learnt may not: going on would mix two runs, and beginning anew would overwrite the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from brainlm_data import InputError
    from brainlm_model.training.recipe import Config

# how it is computed, when it is looked at, and what is kept; results differ by rounding, if at all
HARMLESS = frozenset({
    "micro_batch", "threads", "processes", "device", "precision", "compile", "recompute", "eval_every",
    "patience", "select",
})  # fmt: skip
# nothing of a run: names and logs; what is in `Run` under another name
LEFT_OUT = frozenset({"name", "tensorboard", "steps", "epochs", "stores"})
Run = dict[str, Any]  # what a run depends on, as JSON


@dataclass(frozen=True)
class Change:
    """A key whose value was `before` when the checkpoint was written."""

    key: str
    before: Any
    now: Any

    @property
    def is_harmless(self) -> bool:
        """Whether the run may go on."""
        if self.key == "steps":  # longer; warm-up, learning rate and a ramp of mask ratios are then the longer run's
            return bool(self.before < self.now)
        return self.key in HARMLESS

    def words(self) -> str:
        """For example `lr 0.001 -> 0.002`."""
        return f"{self.key} {_short(self.before)} -> {_short(self.now)}"


def describe(config: Config, version: int, steps: int, data: list[tuple[int, str]]) -> Run:
    """What a run depends on.

    `steps`: in all. `data`: number and digest of the recordings of training (a store each) and of validation.
    """
    keys = config.model_dump(mode="json", exclude=set(LEFT_OUT))
    weights = [store.weight for store in config.stores]
    return {**keys, "steps": steps, "stores' weights": weights, "data": [list(each) for each in data],
            "version of train": version}  # fmt: skip


def changes(before: Run, now: Run) -> list[Change]:
    """Every key that differs, in order; a key that one side lacks is null there (a release with other keys)."""
    names = [*now, *(name for name in before if name not in now)]
    return [Change(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]


def refusal(folder: Path, step: int, others: list[Change]) -> InputError:
    """The error for a checkpoint of another run."""
    from brainlm_data import InputError

    return InputError(
        f"{folder}: a training stopped there after {step} steps, and this is another one: "
        + "; ".join(change.words() for change in others),
        "set it back to go on from there; or begin anew: in another folder, or instead of it with --force or "
        f"--restart (brainlm-model train), --forcerun train (snakemake), or without {folder}",
    )


def _short(value: Any) -> str:
    """As JSON, no longer than a line can hold."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
