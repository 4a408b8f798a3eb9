"""The group page: the cohort's table, plots, warnings and refusals as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from brainlm_data.quality.group import FEWEST, Cohort
from brainlm_data.quality.measures import MEANINGS
from brainlm_data.quality.strips import strips

NAMED = 12  # recordings that are linked beside a warning; the table finds the others
REFUSED = 1000  # refusals that are listed; qc.tsv has every one
VALUE = re.compile(r"^(\w+) [-+.\de]+ is (?=above|below)")  # a threshold of stage qc: mean_fd_mm 0.6 is above 0.5
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")


def page(cohort: Cohort, max_rows: int) -> str:
    """One self-contained HTML page, a few hundred bytes per recording; links are relative to its folder."""
    from jinja2 import Environment

    outliers, warned = cohort.outliers, cohort.warned()
    marks = np.array([len(row["warnings"]) for row in cohort.done], dtype=int) + outliers.sum(1)
    order = np.argsort(-marks, kind="stable")[:max_rows]
    png = strips(cohort)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(Path(__file__).with_name("group.html").read_text()).render(
        done=len(cohort.done), refused=cohort.refused, listed=cohort.refused[:REFUSED], shown=len(order),
        subjects=len({row["subject"] for row in cohort.rows}), limit=cohort.limit, fewest=FEWEST,
        among="recordings of the same task" if cohort.within_task else "all recordings",
        not_compared=cohort.not_compared, n_outliers=int(outliers.any(1).sum()),
        n_warned=sum(bool(row["warnings"]) for row in cohort.done), warnings=_warnings(cohort),
        png=base64.b64encode(png).decode(), heads=[(name, MEANINGS[name]) for name in cohort.names],
        medians=[_number(v) for v in (np.nanmedian(cohort.values, 0) if cohort.done else [])],
        # made here, not by the template's loops: a cohort has a hundred thousand cells
        body="\n".join(_tr(cohort, int(i), outliers[i], warned[i]) for i in order),
    )  # fmt: skip


def _tr(cohort: Cohort, row: int, outliers: Any, warned: Any) -> str:
    """A row of the table; end tags that HTML does not ask for are left out."""
    recording = cohort.done[row]
    warnings, count = recording["warnings"], int(outliers.sum())
    said = html.escape("\n".join(str(w) for w in warnings))
    cells = [f"<tr{' class=m' if warnings or count else ''}><td>{_link(recording)}"]
    cells += [f'<td class=w title="{said}">{len(warnings)}' if warnings else "<td>0", f"<td>{count}"]
    for value, z, out, warn in zip(cohort.values[row], cohort.z[row], outliers, warned, strict=True):
        kind = " ".join(name for name, holds in (("o", out), ("w", warn)) if holds)
        marked = f' class="{kind}"' if kind else ""
        told = f' title="z {z:+.1f}"' if out else ""
        cells.append(f"<td{marked}{told}>{_number(value)}")
    return "".join(cells)


def _link(recording: Mapping[str, Any]) -> str:
    name = html.escape(recording["id"])
    return f'<a href="{quote(recording["page"])}">{name}</a>' if recording["page"] else name


def _number(value: float) -> str:
    """Three or four digits, without exponents that a reader would have to decode."""
    if not np.isfinite(value):
        return "n/a"
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.{0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 3}f}"


def _warnings(cohort: Cohort) -> list[tuple[str, int, list[str]]]:
    """Each warning once, without its numbers: its words, how many recordings have it, links to the first of them."""
    where: dict[str, dict[str, None]] = {}
    for row in cohort.done:
        for warning in row["warnings"]:
            words, limit = VALUE.subn(r"\1 is ", str(warning))  # the threshold stays
            where.setdefault(words if limit else NUMBER.sub("…", words), {})[_link(row)] = None
    ordered = sorted(where.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(words, len(links), list(links)[:NAMED]) for words, links in ordered]
