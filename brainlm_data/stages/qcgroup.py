"""qcgroup: every recording's quality metrics in one table and on one page, outliers marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from brainlm_data.files.sidecar import read_document, write_json
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig


class Config(StageConfig):
    """The group page and its table. Marks exclude nothing; `collate.exclude` does."""

    outlier_z: float = Field(
        3.5, gt=0, description="mark a metric this many robust standard deviations from the median"
    )
    within_task: bool = Field(True, description="compare recordings of the same task; false: all with all")
    by: Literal["auto"] | list[str] = Field(
        "auto", description="columns whose groups are compared; auto: session, and what names a site or a scanner"
    )
    max_rows: int = Field(5000, ge=1, description="recordings on the page, those with most marks first; qc.tsv has all")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the table, the meaning of its columns, and the page; also where every recording was refused."""
    from brainlm_data.dataset.groups import groupings
    from brainlm_data.quality.group import Cohort
    from brainlm_data.quality.groups import compare

    rows = [_row(recording, Path(inputs.meta["outdir"])) for recording in inputs.meta["recordings"]]
    cohort = Cohort.of(rows, config.outlier_z, config.within_task)
    grouped = groupings(rows, config.by)
    comparisons = [compare(cohort, grouping) for grouping in grouped]
    cohort.table(grouped).to_csv(outputs["qc_group_table"], sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    write_json(outputs["qc_group_columns"], cohort.columns(grouped))
    from brainlm_data.quality.group_page import page

    outputs["qc_group_page"].write_text(page(cohort, config.max_rows, comparisons), encoding="utf-8")
    return {
        "Recordings": len(cohort.done),
        "Refused": len(cohort.refused),
        "RecordingsWithWarnings": sum(bool(row["warnings"]) for row in cohort.done),
        "RecordingsWithOutliers": int(cohort.outliers.any(1).sum()),
        "OutlierZ": config.outlier_z,
        "WithinTask": config.within_task,
        "Groups": {one.grouping.column: len(one.grouping.groups) for one in comparisons},
        "GroupsDifferIn": {one.grouping.column: one.differing for one in comparisons},
    }


def _row(recording: dict[str, Any], outdir: Path) -> dict[str, Any]:
    """A recording: its names, what became of it, its page below outdir, its metrics and its warnings."""
    row = {key: recording[key] for key in ("id", "subject", "session", "task", "run", "status", "reason")}
    row["phenotypes"] = recording.get("phenotypes") or {}
    files = recording["files"]
    metrics: dict[str, Any] = {}
    page = ""
    if recording["status"] == "done":
        metrics = read_document(Path(files["qc_metrics"]))
    if metrics and "qc_page" in files:
        page = Path(files["qc_page"]).relative_to(outdir).as_posix()
    return {**row, "page": page, "warnings": metrics.pop("warnings", []), "metrics": metrics}


def describe(facts: Facts) -> str:
    """Methods sentence."""
    among = "recordings of the same task" if facts["WithinTask"] else "all recordings"
    sentence = (
        f"Quality metrics were compared among {among}: those more than {facts['OutlierZ']:g} robust standard deviations"
        " (median and MAD; Iglewicz & Hoaglin, 1993) from the median, on the side that is bad, were marked, in"
        f" {facts['RecordingsWithOutliers']} of {facts['Recordings']} recordings;"
        f" {facts['RecordingsWithWarnings']} had a warning."
    )
    compared = []
    for column, count in facts["Groups"].items():
        differing = ", ".join(facts["GroupsDifferIn"][column]) or "no metric"
        compared.append(f"{count} groups of {column} (differing in {differing})")
    if compared:
        sentence += f" Medians were compared between {'; '.join(compared)}; nothing was harmonized."
    return sentence


STAGE = Stage(
    name="qcgroup",
    version=3,
    level="cohort",
    summary="Compare the quality of all recordings on one page and in one table; mark outliers.",
    Config=Config,
    inputs=("qc_metrics", "qc_page"),
    outputs=("qc_group_page", "qc_group_table", "qc_group_columns"),
    run=run,
    describe=describe,
    optional=("qc_page",),
    routes=("native", "fmriprep"),
    need=Need(2000, seconds=0.1),
)
