"""What a job asks of a cluster: memory and time, by stage and by the size of what it reads, and GPUs.

Those of the stages from template to qc are measured (`python -m benchmarks.needs --json`, docs/measurements.md) and
then rounded up generously: a job that asks for too little is killed and costs an attempt. Those of fmriprep, ingest,
imported, keep and of the stages of a whole cohort are estimates. Every further attempt asks for twice as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brainlm_data.graph.view import DagView
from brainlm_data.paths import PAPER
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Level, Stage

if TYPE_CHECKING:
    from brainlm_data.config import General

COMPRESSION = 2.0  # of .nii.gz with 16-bit integers, roughly: what is known without opening 76,000 files
SNAKEMAKE_MB = 600.0  # in a job of SLURM Snakemake runs twice, in the batch script and in its step
LEAST_MINUTES = 10.0  # starting up, on a file system that has a bad day
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Need:
    """Of one job.

    Attributes
    ----------
    mb, mb_a_mb: memory of a stage that has nothing to do (imports), and more for each MB of its largest raw image.
    seconds, seconds_a_mb: time of one unit, and more for each MB of its raw image; units come one after the other.
    start: seconds that do not depend on the units.
    """

    mb: float
    mb_a_mb: float = 0.0
    seconds: float = 0.0
    seconds_a_mb: float = 0.0
    start: float = 0.0

    def mem_mb(self, sizes_mb: Sequence[float], attempt: int, factor: float, workers: int = 1) -> int:
        """Memory to ask for, MB, for units of these sizes (MB uncompressed), so many of them at once."""
        mb = SNAKEMAKE_MB + workers * (self.mb + self.mb_a_mb * max(sizes_mb, default=0.0))
        return math.ceil(mb * factor * 2 ** (attempt - 1))

    def minutes(self, sizes_mb: Sequence[float], attempt: int, factor: float, workers: int = 1) -> int:
        """Time to ask for, minutes, for units of these sizes (MB uncompressed), so many of them at once."""
        seconds = self.start + sum(self.seconds + self.seconds_a_mb * size for size in sizes_mb) / workers
        return math.ceil((LEAST_MINUTES + seconds / 60) * factor * 2 ** (attempt - 1))


# At cohort level a unit is a recording. Time of training is not known beforehand: it goes on from its checkpoint; the
# other stages with a model or a baseline to train do not, and ask for a day.
NEEDS: dict[str, Need] = {
    "template": Need(1000),
    "atlas": Need(800),
    "input": Need(2000),
    "imported": Need(1500, 4, 30, 0.5),
    "anat": Need(1500, 20, 60, 8),
    "fmriprep": Need(2000, seconds=DAY),
    "motion": Need(700, 1, 30, 0.15),
    "slicetiming": Need(400, 0.5, 10),
    "coreg": Need(1100, 0.5, 60),
    "sample": Need(1200, 1, 40, 0.15),
    "ingest": Need(1200, 3, 60, 0.5),
    "confounds": Need(600, 1, 15, 0.05),
    "filter": Need(400, 0.5, 10),
    "denoise": Need(1000, 1, 30, 0.1),
    "parcellate": Need(400, 0.5, 10),
    "resample": Need(400, 0.5, 10),
    "qc": Need(800, 0.5, 40, 0.05),
    "keep": Need(1200, 4, 60, 1),
    "qcgroup": Need(2000, seconds=0.1),
    "collate": Need(4000, seconds=0.1),
    "train": Need(8000, start=DAY),
    "evaluate": Need(8000, start=DAY),
    "figures": Need(4000),
    "report": Need(2000),
    **{task: Need(8000, start=DAY) for task in PAPER},
    "paper": Need(2000),
}


OTHERS = Need(4000)  # a stage that has not been measured yet (`python -m benchmarks.needs`)


def of(stage: str, section: Any) -> Need:
    """What a stage needs; training for each of its processes, fMRIPrep what its section says."""
    need = NEEDS.get(stage, OTHERS)
    if stage == "fmriprep":
        return replace(need, mb=section.mem_mb + need.mb)
    return replace(need, mb=need.mb * getattr(section, "processes", 1))


def workers(config: General, stage: Stage) -> int:
    """Units of a bundle that a job processes at once."""
    return 1 if stage.level == "cohort" else min(config.jobs.workers, config.bundle_size)


def gpus(section: Any, partition: str | None) -> dict[str, Any]:
    """Resources of a stage that can compute on a GPU, where it is to: one a process, and the process's threads."""
    device = getattr(section, "device", "cpu")
    if device == "cpu" or (device == "auto" and partition is None):
        return {}
    found = {"gpu": getattr(section, "processes", 1), "cpus_per_gpu": section.threads}
    return found | ({"slurm_partition": partition} if partition else {})


def resources(dag: DagView, stage: Stage) -> dict[str, Any]:
    """Of a rule: `mem_mb` and `runtime` as functions of wildcards and attempt; and GPUs."""
    section, jobs, many = dag.section(stage), dag.config.jobs, workers(dag.config, stage)
    need = of(stage.name, section)

    def sizes(wildcards: Any) -> Sequence[float]:
        return dag.sizes_mb.get((stage.level, getattr(wildcards, "bundle", COHORT)), [])

    def mem_mb(wildcards: Any, attempt: int) -> int:
        first, now = (need.mem_mb(sizes(wildcards), n, jobs.memory, many) for n in (1, attempt))
        return max(first, min(now, jobs.max_mb))

    def runtime(wildcards: Any, attempt: int) -> int:
        return min(need.minutes(sizes(wildcards), attempt, jobs.time, many), math.ceil(60 * jobs.max_hours))

    return {"mem_mb": mem_mb, "runtime": runtime, **gpus(section, jobs.gpu_partition)}


def uncompressed_mb(path: str, size: int) -> float:
    """Size of an image as it is in memory, MB, from that of its file."""
    return size * (COMPRESSION if path.endswith(".gz") else 1.0) / 1e6


def sizes_mb(dag: DagView) -> dict[tuple[Level, str], list[float]]:
    """(level, bundle) -> size of the raw image of each of its units, MB uncompressed."""
    found: dict[tuple[Level, str], list[float]] = {("cohort", COHORT): []}
    for r in dag.index.recordings:
        size = uncompressed_mb(r.bold.path, r.bold.size)
        found["cohort", COHORT].append(size)
        found.setdefault(("recording", dag.bundles.of_recording(r.id, r.subject)), []).append(size)
    for s in dag.index.subjects:
        if s.t1w:
            found.setdefault(("subject", dag.bundles.of_subject[s.id]), []).append(
                uncompressed_mb(s.t1w.path, s.t1w.size)
            )
    return found
