"""What the paper's tasks found, as a page and a card can show it: one section a task, from its files alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainlm_data import Stage, reads
from brainlm_model.eval.masked.words import interval, number
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS
from brainlm_model.report.stage import embedded


@dataclass(frozen=True)
class Published:
    """A number of the paper, and ours beside it where there is one."""

    task: str
    what: str
    value: str
    ours: str
    ours_is: str
    comparable: bool
    reason: str


@dataclass(frozen=True)
class Section:
    """A task: its sentences, its figure (a data URL), its table, and what limits it."""

    name: str
    title: str
    headline: Sequence[str]
    figure: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    methods: str
    warnings: Sequence[str]
    published: Sequence[Published]
    content: Mapping[str, Any]  # of the task's JSON


def section(stage: Stage, table: Path, figure: Path) -> Section:
    """The section of a task, from its `T.json` and `T.svg`; its sentences are those of `brainlm_model.eval.T.words`."""
    with reads(table, "run the task again"):
        content = json.loads(table.read_text(encoding="utf-8"))
    words = importlib.import_module(f"brainlm_model.eval.{stage.name}.words")
    header, rows = words.table(content)
    published = [_published(stage.name, words, row, content) for row in content["Published"]]
    sentences = [*_caution(content), *content["Summary"]]
    return Section(
        stage.name, words.TITLE, sentences, embedded(figure), words.CAPTION, header, rows,
        stage.describe(content), content["Warnings"], published, content,
    )  # fmt: skip


def _caution(content: Mapping[str, Any]) -> list[str]:
    """Of few people nothing is claimed, whatever the sentences after this one say."""
    people = content.get("Subjects")
    if isinstance(people, Mapping):  # of each split
        people = min(people.values(), default=None)
    if people is None or people >= ENOUGH_SUBJECTS:
        return []
    who = "1 person" if people == 1 else f"{people} people"
    return [f"No result: only {who}, too few for a statistical test; what follows shows that everything runs."]


def _published(task: str, words: Any, row: Mapping[str, Any], content: Mapping[str, Any]) -> Published:
    value = number(row["value"])
    if row.get("plus_minus") is not None:
        value += f" ± {number(row['plus_minus'])}"
    counterpart = words.ours(row, content)
    text, label = "–", "no counterpart here"
    if counterpart is not None:
        label, own = counterpart
        text = interval(own)
    return Published(task, words.said(row), value, text, label, bool(row["comparable"]), row["reason"])
