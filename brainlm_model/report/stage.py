"""The report: one self-contained page with what was done, on whom, what came out and what beats what."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from brainlm_data import SPLITS, Artifact, Card, Facts, Files, Need, Sentence, Stage, StageConfig, reads
from brainlm_model.eval.masked import words
from brainlm_model.eval.published import MASKED_R2, TRAINED_ON
from brainlm_model.eval.rows import by, select
from brainlm_model.figures import FIGURES, module_of
from brainlm_model.figures.style import counted

if TYPE_CHECKING:
    import jinja2
    import pandas as pd
    from markupsafe import Markup

METRICS = {
    "r2_flat": "flat R²: over one list of all masked values",
    "r2_recording": "mean over recordings of their own R²",
    "r2_parcel": "mean over parcels of their own R²",
}
PACKAGES = (
    "brainlm-pipeline", "torch", "numpy", "scipy", "nibabel", "nilearn", "antspyx", "nipype",
    "scikit-learn", "zarr", "snakemake",
)  # fmt: skip
COLUMNS = {
    "subject": "subject", "session": "session", "task": "task", "run": "run", "split": "split", "tr_s": "TR (s)",
    "n_volumes": "volumes", "n_steps": "steps", "mean_fd_mm": "mean FD (mm)", "median_tsnr": "median tSNR",
    "coverage_min": "lowest coverage",
}  # fmt: skip


class Config(StageConfig):
    """Section `report` of config.yaml."""

    title: str = Field("From raw fMRI to a trained model", min_length=1, description="title of the page")
    max_rows: int = Field(500, ge=1, description="recordings listed one by one; refused and excluded ones always are")


def published() -> dict[str, dict[float, float]]:
    """R2 by tested ratio, of the published models that were trained on all data."""
    rows = {}
    for (cohort, ratio, share), values in MASKED_R2.items():
        if share == 1:
            people = cohort if cohort == TRAINED_ON else f"{cohort} (not trained on)"
            rows[f"{people}, trained at {f'{ratio:.2f}'[1:]}"] = values
    return rows


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the page. It links to the recordings' QC pages and embeds everything else."""
    import pandas as pd

    with reads(inputs["masked_json"]):
        content = json.loads(inputs["masked_json"].read_text(encoding="utf-8"))
    with reads(inputs["model_config"]):
        model = json.loads(inputs["model_config"].read_text(encoding="utf-8"))
    with reads(inputs["recordings"]):
        table = pd.read_parquet(inputs["recordings"])
    done, left_out = table[table["status"] == "done"], table[table["status"] != "done"]
    cohort: list[dict[str, Any]] = inputs.meta.get("recordings", [])
    figures = {}
    for name in FIGURES:
        figures[name] = {"src": embedded(inputs[f"{name}_svg"]), "caption": module_of(name).CAPTION}
    tables = result_table(content)
    # the main table first: random masking, where there is any
    flat = sorted((t for t in tables if t["metric"] == "r2_flat"), key=lambda table: table["masking"] != "random")
    page = (
        environment_of(Path(__file__).parent)
        .get_template("report.html")
        .render(
            title=config.title,
            headline=words.headline(content),
            verdicts=words.verdicts(content),
            content=content,
            band=_band(content),
            main=flat[0],
            firm=all(row["firm"] for row in content["Comparisons"]),
            others=flat[1:],
            results=tables,
            metrics=METRICS,
            published=published(),
            splits=split_table(table),
            refused=_listed(left_out, cohort, inputs),
            recordings=_listed(done.head(config.max_rows), cohort, inputs),
            done=len(done),
            columns={key: name for key, name in COLUMNS.items() if key in table and table[key].notna().any()},
            warnings=[
                *content["Warnings"],
                *of_tables(Card.read(inputs["card_data"])),
                *cohort_warnings(table, cohort),
            ],
            figures=figures,
            card=markdown(inputs["card"].read_text(encoding="utf-8")),
            methods=_own_methods(cohort),
            model=model,
            versions=versions(),
        )
    )
    outputs["report"].write_text(page, encoding="utf-8")
    return {"Title": config.title, "Recordings": len(table), "Figures": list(FIGURES)}


def environment_of(*folders: Path) -> jinja2.Environment:
    """Templates of these folders, in which `| inline` renders `code` and **bold** of a sentence."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["inline"] = inline
    return environment


def inline(text: object) -> Markup:
    """A sentence as HTML: `code` and **bold**; the rest stays as it is written."""
    from markupsafe import Markup

    return Markup(_marked(html.escape(str(text), quote=False)))  # escaped here


def _marked(text: str) -> str:
    """`code` and **bold** of text that is escaped already."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text))


def result_table(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry per masking and metric: rows are methods, cells mask ratios.

    The best of each column is marked, unless there are too few subjects to tell.
    """
    tables = []
    firm = all(row["firm"] for row in content["Comparisons"])
    for kind, (metric, name) in product(content["Masking"], METRICS.items()):
        results = select(content["Results"], masking=kind, metric=metric)
        best: dict[float, float] = {}
        for row in results:
            if row["value"] is not None and firm:
                best[row["mask_ratio"]] = max(row["value"], best.get(row["mask_ratio"], row["value"]))
        rows = []
        for method, label in content["Methods"].items():
            by_ratio = by("mask_ratio", select(results, method=method))
            cells = []
            for ratio in content["MaskRatios"]:
                row = by_ratio[ratio]
                cells.append({"text": words.interval(row), "best": firm and row["value"] == best.get(ratio, 0)})
            rows.append({"label": label, "cells": cells})
        tables.append({"masking": kind, "metric": metric, "name": name, "rows": rows})
    return tables


def split_table(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Subjects, recordings and steps per split, of recordings that are done."""
    done = table[table["status"] == "done"]
    splits = []
    for name in SPLITS:
        rows = done[done["split"] == name]
        if len(rows):
            splits.append({"split": name, "subjects": int(rows["subject"].nunique()), "recordings": len(rows),
                           "steps": int(rows["n_steps"].sum())})  # fmt: skip
    return splits


def of_tables(card: Card) -> list[str]:
    """What did not join in the tables of the participants, and what was taken for what."""
    return [*card.said(), *(f"{column}: {text}" for column, text in card.columns.items())]


def cohort_warnings(table: pd.DataFrame, cohort: list[dict[str, Any]]) -> list[str]:
    """Subjects in two splits, parcels outside the field of view, and what the QC of each recording warns of."""
    done = table[table["status"] == "done"]
    lines = []
    crossing = done.groupby("subject")["split"].nunique()
    if (crossing > 1).any():
        lines.append(f"subjects in more than one split: {', '.join(crossing.index[crossing > 1])}")
    if "coverage_min" in done and (outside := done.loc[done["coverage_min"] == 0, "id"].tolist()):
        who = counted(len(outside), "recording has", "recordings have")
        lines.append(f"{who} parcels outside the field of view: {_some(outside)}")
    by_text: dict[str, list[str]] = {}
    for recording in cohort:
        if "qc_metrics" in recording["files"]:
            file = Path(recording["files"]["qc_metrics"])
            with reads(file):
                metrics = json.loads(file.read_text(encoding="utf-8"))
            for text in metrics.get("warnings", []):
                general = re.sub(r"^(\w+) \S+ is (above|below)", r"\1 is \2", text)  # one line for many recordings
                by_text.setdefault(general, []).append(recording["id"])
    return lines + [f"{text} ({_some(ids)})" for text, ids in by_text.items()]


def _some(names: list[str]) -> str:
    text = ", ".join(names[:5])
    if len(names) > 5:
        text += f" and {len(names) - 5} more"
    return text


def _listed(table: pd.DataFrame, cohort: list[dict[str, Any]], inputs: Files) -> list[dict[str, str]]:
    """Recordings as text, each with the relative address of its QC page, empty where it has none."""
    pages = {}
    for recording in cohort:
        if "qc_page" in recording["files"]:
            page = os.path.relpath(recording["files"]["qc_page"], inputs.meta["outdir"])
            pages[recording["id"]] = Path(page).as_posix()
    rows = []
    for record in table.to_dict("records"):
        row = {str(column): _text(value) for column, value in record.items()}
        rows.append({**row, "qc_page": pages.get(record["id"], "")})
    return rows


def _text(value: Any) -> str:
    """A cell: empty where the value is missing."""
    if value is None or value != value:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _own_methods(cohort: list[dict[str, Any]]) -> list[str]:
    """Sentences of the stages after the store; those before it are on the card."""
    sentences = []
    for recording in cohort[:1]:  # they are of the whole cohort, and the same for every recording
        for stage in ("train", "evaluate", "figures"):
            if recording["methods"].get(stage):
                sentences.append(str(Sentence.of(recording["methods"][stage])))
    return sentences


def _band(content: Mapping[str, Any]) -> str:
    from brainlm_model.eval.masked.stage import band_text

    return band_text(content["EffectiveBands"])


def embedded(svg: Path) -> str:
    """A figure as a data URL."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def versions() -> dict[str, str]:
    """Python and packages that matter, with the versions that are installed."""
    installed = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def markdown(text: str) -> Markup:
    """Headings, lists, tables, paragraphs, **bold** and `code` of a card as HTML; the rest stays as it is written."""
    from markupsafe import Markup

    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", html.escape(html.unescape(text.strip()), quote=False)):
        lines: list[str] = []
        for line in block.splitlines():
            if heading := re.match(r"#+\s+(.*)", line):
                blocks += [*_paragraph(lines), f"<h3>{heading[1]}</h3>"]
                lines = []
            else:
                lines.append(line)
        blocks += _paragraph(lines)
    return Markup(_marked("\n".join(blocks)))  # escaped above


def _paragraph(lines: list[str]) -> list[str]:
    """One block: a table, a list (a line starts an item or goes on with one), or a paragraph."""
    if not lines:
        return []
    if lines[0].startswith("|"):
        rows = []
        for line in lines:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            is_rule = all(re.fullmatch(r":?-+:?", cell) for cell in cells)  # the line below the header
            if any(cells) and not is_rule:
                rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        return ["<table>" + "".join(rows) + "</table>"]
    if not re.match(r"\s*[-*] ", lines[0]):
        return [f"<p>{' '.join(lines)}</p>"]
    items: list[str] = []
    for line in lines:
        if item := re.match(r"\s*[-*] (.*)", line):
            items.append(item[1])
        else:
            items[-1] += " " + line.strip()
    return ["<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"]


def describe(facts: Facts) -> str:
    """Methods sentence."""
    recordings = counted(facts["Recordings"], "recording")
    return f"The report '{facts['Title']}' gathers {recordings} and {len(facts['Figures'])} figures."


ARTIFACTS = {
    "report": Artifact("cohort", "report.html", "methods, data, tables and figures in one self-contained file")
}

STAGE = Stage(
    name="report",
    version=4,
    level="cohort",
    summary="Gather methods, cohort, figures and results into one self-contained page.",
    Config=Config,
    inputs=(
        "recordings", "card", "card_data", "model_config", "masked_json",
        *(f"{name}_svg" for name in FIGURES), "qc_page", "qc_metrics",
    ),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(2000),
    run=run,
    describe=describe,
    optional=("qc_page", "qc_metrics"),
)  # fmt: skip
