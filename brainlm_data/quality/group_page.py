"""The group page: the cohort's table, plots, warnings and refusals as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from brainlm_data.quality.group import FEWEST, Cohort
from brainlm_data.quality.groups import ALPHA, EFFECT, Comparison
from brainlm_data.quality.measures import MEANINGS, PANELS, WORSE
from brainlm_data.quality.strips import grouped_strips, strips

NAMED = 12  # recordings that are linked beside a warning; the table finds the others
GROUPS = 30  # of a column that are listed
REFUSED = 1000  # refusals that are listed; qc.tsv has every one
VALUE = re.compile(r"^(\w+) [-+.\de]+ is (?=above|below)")  # a threshold of stage qc: mean_fd_mm 0.6 is above 0.5
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")


def page(cohort: Cohort, max_rows: int, comparisons: Sequence[Comparison] = ()) -> str:
    """One self-contained HTML page, a few hundred bytes per recording; links are relative to its folder."""
    from jinja2 import Environment, FileSystemLoader

    outliers, warned = cohort.outliers, cohort.warned()
    n_warnings = np.array([len(row["warnings"]) for row in cohort.done], dtype=int)
    order = np.argsort(-(n_warnings + outliers.sum(1)), kind="stable")[:max_rows]
    refused = cohort.refused[: max_rows - len(order)]  # in the table, too, after those that have values
    words = cohort.words([one.grouping for one in comparisons])
    text = {row["id"]: [column[place] for column in words.values()] for place, row in enumerate(cohort.rows)}
    png = strips(cohort)
    medians = []
    if cohort.done:
        medians = [_number(value) for value in np.nanmedian(cohort.values, 0)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    body = [_tr(cohort, int(i), outliers[i], warned[i], text) for i in order]
    body += [_refused(row, text[row["id"]], len(cohort.names)) for row in refused]
    return environment.get_template("group.html").render(
        done=len(cohort.done), refused=cohort.refused, listed=cohort.refused[:REFUSED], shown=len(order),
        subjects=len({row["subject"] for row in cohort.rows}), limit=cohort.limit, fewest=FEWEST,
        among="recordings of the same task" if cohort.within_task else "all recordings",
        within_task=cohort.within_task, not_compared=cohort.not_compared, n_outliers=int(outliers.any(1).sum()),
        n_warned=int((n_warnings > 0).sum()), warnings=_warnings(cohort),
        png=base64.b64encode(png).decode(), heads=[(name, MEANINGS[name], _side(name)) for name in cohort.names],
        medians=medians, comparisons=[_compared(cohort, one) for one in comparisons], effect=EFFECT, alpha=ALPHA,
        # made here, not by the template's loops: a cohort has a hundred thousand cells
        body="\n".join(body), words=list(words), rows=len(body),
    )  # fmt: skip


def _compared(cohort: Cohort, comparison: Comparison) -> dict[str, Any]:
    """What the template shows of a grouping: a row per group, those with most recordings where they are many."""
    grouping = comparison.grouping
    marked = {}  # recording -> whether it has a warning or stands out
    for recording, out in zip(cohort.done, cohort.outliers, strict=True):
        marked[recording["id"]] = bool(recording["warnings"]) or bool(out.any())
    counts: dict[str | None, list[int]] = {group: [0, 0, 0] for group in [*grouping.groups, None]}
    for row in cohort.rows:
        count = counts[grouping.of[row["id"]]]  # recordings, refused, without a mark
        count[0] += 1
        count[1] += row["status"] != "done"
        count[2] += not marked.get(row["id"], True)
    largest = sorted(grouping.groups, key=lambda group: -counts[group][0])[:GROUPS]
    rows, differs = [], comparison.differs
    for place, group in enumerate(grouping.groups):
        if group not in largest:
            continue
        cells = []
        for column, effect in enumerate(comparison.effects[place]):
            title = f"{effect:+.1f} SD" if np.isfinite(effect) else "not compared"
            cells.append((_number(comparison.medians[place, column]), title, bool(differs[place, column])))
        rows.append((group, counts[group], cells))
    p = ["n/a" if not np.isfinite(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in comparison.p]
    png = grouped_strips(cohort, comparison)
    return {
        "column": grouping.column, "groups": len(grouping.groups), "rows": rows, "unknown": counts[None][0], "p": p,
        "heads": [PANELS[name] for name in comparison.names], "png": base64.b64encode(png).decode(),
        "differing": [PANELS[name] for name in comparison.differing],
        "compared": bool(np.isfinite(comparison.effects).any()),
    }  # fmt: skip


def _side(name: str) -> str:
    """On which side of the median a value is marked, in words."""
    return {1: "marked above the median only", -1: "marked below the median only", 0: "marked on both sides"}[
        WORSE.get(name, 0)
    ]


def _refused(row: Mapping[str, Any], words: Sequence[str], metrics: int) -> str:
    """A row of the table without values."""
    reason = html.escape(str(row["reason"]))
    texts = "".join(f"<td>{html.escape(text)}" for text in words)
    return f'<tr class="r m"><td>{_link(row)}<td class=w title="{reason}">refused<td>n/a{texts}{"<td>n/a" * metrics}'


def _tr(cohort: Cohort, row: int, outliers: Any, warned: Any, words: Mapping[str, Sequence[str]]) -> str:
    """A row of the table; end tags that HTML does not ask for are left out."""
    recording = cohort.done[row]
    warnings, count = recording["warnings"], int(outliers.sum())
    marked = " class=m" if warnings or count else ""
    cells = [f"<tr{marked}><td>{_link(recording)}"]
    if warnings:
        text = html.escape("\n".join(str(warning) for warning in warnings))
        cells.append(f'<td class=w title="{text}">{len(warnings)}')
    else:
        cells.append("<td>0")
    cells.append(f"<td>{count}")
    cells += [f"<td>{html.escape(text)}" for text in words[recording["id"]]]
    classes = {
        (False, False): "",
        (True, False): ' class="o"',
        (False, True): ' class="w"',
        (True, True): ' class="o w"',
    }
    for value, z, out, warn in zip(cohort.values[row], cohort.z[row], outliers, warned, strict=True):
        title = f' title="z {z:+.1f}"' if out else ""
        cells.append(f"<td{classes[bool(out), bool(warn)]}{title}>{_number(value)}")
    return "".join(cells)


def _link(recording: Mapping[str, Any]) -> str:
    name = html.escape(recording["id"])
    return f'<a href="{quote(recording["page"])}">{name}</a>' if recording["page"] else name


def _number(value: float) -> str:
    """Three or four digits, without exponents that a reader would have to decode."""
    if not np.isfinite(value):
        return "n/a"
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}"


def _warnings(cohort: Cohort) -> list[tuple[str, int, list[str]]]:
    """Each warning once, without its numbers: its words, how many recordings have it, links to the first of them."""
    where: dict[str, dict[str, None]] = {}
    for row in cohort.done:
        for warning in row["warnings"]:
            words, limit = VALUE.subn(r"\1 is ", str(warning))  # the threshold stays
            where.setdefault(words if limit else NUMBER.sub("…", words), {})[_link(row)] = None
    ordered = sorted(where.items(), key=lambda item: (-len(item[1]), item[0]))  # the most frequent first
    return [(words, len(links), list(links)[:NAMED]) for words, links in ordered]
