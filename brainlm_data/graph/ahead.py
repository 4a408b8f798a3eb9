"""What can be known before the first job: files that cannot be had, and splits that nobody is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from brainlm_data.bids.index import Index
from brainlm_data.dataset.splits import SPLITS, external_subjects, split_subjects
from brainlm_data.errors import InputError
from brainlm_data.files.fetch import Wanted, obtain_all
from brainlm_data.spaces.known import STAND_IN
from brainlm_data.stage import Stage

LEAST_TESTED = 6  # with fewer no sign test reaches p < .05


def people(index: Index, config: Any) -> dict[str, int]:
    """Split -> subjects, as stage collate will make them if nobody is refused; empty where it makes no splits."""
    collate: Any = getattr(config, "collate", None)
    if not hasattr(collate, "test"):
        return {}
    rows = [(r.subject, index.phenotypes.get(r.id, {})) for r in index.recordings]
    external = external_subjects(rows, collate.external, index.unjoined)
    subjects = [subject for subject, _ in rows]
    counts = Counter(split_subjects(subjects, collate.validation, collate.test, collate.seed, external).values())
    return {split: counts[split] for split in SPLITS}


def look(stage: Stage, section: Any, splits: Mapping[str, int], later: Sequence[Wanted] = ()) -> None:
    """Fetch what a stage needs from outside, and see whether there is anybody whom it is to score.

    `later`: published files that other stages need (`obtain_all`).

    Raises
    ------
    InputError: something cannot be had, or nobody is in the splits that the section names.
    """
    if stage.ahead:
        try:
            obtain_all(stage.ahead(section), later)
        except InputError as error:
            raise InputError(error.message, f"{error.remedy}; {STAND_IN}") from error
    wanted = getattr(section, "splits", None) or [name for name in [getattr(section, "split", None)] if name]
    if wanted and not any(splits.get(name, 0) for name in wanted):
        raise InputError(
            f"{stage.name}: nobody is in split {' or '.join(wanted)} ({_words(splits)})",
            "more subjects, other shares (collate.validation, collate.test), or target dataset or train",
        )


def no_model(splits: Mapping[str, int]) -> str:
    """Why no model is trained unless it is asked for; empty where one can be trained, chosen and tested honestly."""
    empty = [name for name in SPLITS[:3] if not splits.get(name, 0)]  # the fourth is an external test
    if not empty:
        return ""
    count = sum(splits.values())
    return (
        f"no model is trained: of {count} {'person' if count == 1 else 'people'} nobody is left for"
        f" {' and '.join(empty)}; the target is dataset (target train trains one all the same)"
    )


def no_result(splits: Mapping[str, int]) -> str:
    """Why the scores of a model will be no result; empty where they can be one."""
    count = splits.get("test", 0)
    if count >= LEAST_TESTED or not count:
        return ""
    return (
        f"the model will be tested on {count} {'person' if count == 1 else 'people'} (fewer than {LEAST_TESTED}): its"
        " scores show that everything runs, and are no result (target dataset ends before it)"
    )


def _words(splits: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in splits.items() if count)
