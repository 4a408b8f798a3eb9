"""What a job requests of a cluster: memory and time, by what its stage needs and the size of what it reads, and GPUs.

The needs (`Stage.need`) of the stages from template to qc are measured (`python -m benchmarks.needs --json`,
docs/measurements.md) and then rounded up generously: a job that requests too little is killed and costs an attempt.
Those of fmriprep, ingest, imported, keep and of the stages of a whole cohort are estimates; training does not know its
time beforehand and goes on from its checkpoint. Every further attempt requests twice as much.

What a stage leaves on the disk is from the manifests of two runs (docs/scale.md, "Disk"), rounded up; that of fmriprep,
ingest, imported and keep is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from brainlm_data import paths
from brainlm_data.errors import InputError
from brainlm_data.files.space import check_space, free_bytes, size
from brainlm_data.graph.view import DagView
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Level, Need, Stage

if TYPE_CHECKING:
    from brainlm_data.config import General

COMPRESSION = 2.0  # of .nii.gz with 16-bit integers, roughly: what is known without opening 76,000 files
SNAKEMAKE_MB = 600.0  # in a job of SLURM Snakemake runs twice, in the batch script and in its step
LEAST_MINUTES = 10.0  # starting up, on a file system that has a bad day


def mem_mb(need: Need, sizes_mb: Sequence[float], attempt: int, factor: float, workers: int = 1) -> int:
    """Memory to request, MB, for units of these sizes (MB uncompressed), so many of them at once."""
    mb = SNAKEMAKE_MB + workers * (need.mb + need.mb_per_mb * max(sizes_mb, default=0.0))
    return math.ceil(mb * factor * 2 ** (attempt - 1))


def minutes(need: Need, sizes_mb: Sequence[float], attempt: int, factor: float, workers: int = 1) -> int:
    """Time to request, minutes, for units of these sizes (MB uncompressed), so many of them at once."""
    seconds = need.start + sum(need.seconds + need.seconds_per_mb * size for size in sizes_mb) / workers
    return math.ceil((LEAST_MINUTES + seconds / 60) * factor * 2 ** (attempt - 1))


def of(stage: Stage, section: Any) -> Need:
    """What a stage needs: as much for each of its processes, and what a container is allowed by its section."""
    own = stage.need.mb * getattr(section, "processes", 1)
    return replace(stage.need, mb=own + getattr(section, "mem_mb", 0))


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


@dataclass(frozen=True)
class Estimate:
    """What jobs take together, at most: seconds of one core, MB of disk; and stages whose time nobody knows before."""

    seconds: float
    mb: float
    unknown: tuple[str, ...]

    def check(self, dag: DagView) -> None:
        """Raises InputError where the results do not fit on the disk."""
        check_space(
            dag.outdir,
            1e6 * self.mb,
            "this run",
            "free space, choose another outdir or fewer recordings (select), or scale the estimate with jobs.disk"
            f" ({dag.config.jobs.disk:g} now, 0: no check)",
        )

    def warning(self, dag: DagView) -> str:
        """What `check` would say, for a plan, which goes on; empty where the results fit."""
        try:
            self.check(dag)
        except InputError as error:
            return f"warning: {error.message}: it would be refused; {error.remedy}"
        return ""

    def words(self, dag: DagView) -> str:
        """One line."""
        hours = self.seconds / 3600
        parts = [f"up to {hours:.0f} core hours" if hours >= 10 else f"up to {hours:.1f} core hours"]
        parts.append(f"{size(1e6 * self.mb)} of disk ({size(free_bytes(dag.outdir))} free in {dag.outdir})")
        if self.unknown:
            more = f" and {len(self.unknown) - 1} more" if len(self.unknown) > 1 else ""
            parts.append(f"without {self.unknown[0]}{more}")
        return ", ".join(parts)


def estimate(dag: DagView, jobs: Iterable[tuple[str, str]], redone: Mapping[str, Collection[str]]) -> Estimate:
    """What jobs (stage, bundle) take, as if every unit had to be done; the factors `jobs.time`, `jobs.disk` count.

    `redone`: stage -> bundles whose results are replaced, which takes no more disk; but a store is written beside the
    old one.
    """
    seconds, mb, unknown = 0.0, 0.0, dict[str, None]()
    for name, bundle in jobs:
        stage = dag.stages.get(name)
        if stage is None:  # a target, which is no stage
            continue
        sizes, need = dag.sizes_mb.get((stage.level, bundle), []), stage.need
        if need.start:
            unknown[name] = None
            continue
        seconds += sum(need.seconds + need.seconds_per_mb * one for one in sizes)
        if stage.level == "cohort" or bundle not in redone[name]:
            mb += sum(need.disk_mb + need.disk_mb_per_mb * one for one in sizes)
    return Estimate(seconds * dag.config.jobs.time, mb * dag.config.jobs.disk, tuple(unknown))


def expected(dag: DagView, stage: str, bundle: str) -> dict[str, Any]:
    """What is known of a job before it runs, as JSON: its units, the seconds that they take at most, threads, log.

    `seconds` is null where nobody knows the time before.
    """
    node, need = dag[stage], dag.stages[stage].need
    level = dag.stages[stage].level
    sizes = dag.sizes_mb.get((level, bundle), [])
    seconds = sum(need.seconds + need.seconds_per_mb * size for size in sizes)
    return {
        "stage": stage, "bundle": bundle, "level": level, "units": 1 if level == "cohort" else len(sizes),
        "seconds": None if need.start else seconds, "threads": node.threads,
        "log": str(paths.log_path(dag.outdir, stage, bundle)),
    }  # fmt: skip


def requests(dag: DagView, jobs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """What each rule requests for its first attempts, as JSON: jobs, and of the largest one MB, minutes, cores, GPUs.

    `jobs`: (stage, bundle) of all that are going to run.
    """
    bundles: dict[str, list[str]] = {}
    for name, bundle in jobs:
        bundles.setdefault(name, []).append(bundle)
    rows = []
    for stage in dag.stages.values():
        of_stage = bundles.get(stage.name, [])
        if not of_stage:
            continue
        wanted = resources(dag, stage)
        each = [SimpleNamespace(bundle=bundle) for bundle in of_stage]
        rows.append({
            "stage": stage.name, "jobs": len(of_stage), "cores": dag[stage.name].threads,
            "mb": max(wanted["mem_mb"](one, 1) for one in each),
            "minutes": max(wanted["runtime"](one, 1) for one in each), "gpus": wanted.get("gpu", 0),
        })  # fmt: skip
    return rows


def resources(dag: DagView, stage: Stage) -> dict[str, Any]:
    """Of a rule: `mem_mb` and `runtime` as functions of wildcards and attempt; and GPUs."""
    section, jobs, many = dag.section(stage), dag.config.jobs, workers(dag.config, stage)
    need = of(stage, section)

    def sizes(wildcards: Any) -> Sequence[float]:
        return dag.sizes_mb.get((stage.level, getattr(wildcards, "bundle", COHORT)), [])

    def memory(wildcards: Any, attempt: int) -> int:
        first, now = (mem_mb(need, sizes(wildcards), n, jobs.memory, many) for n in (1, attempt))
        return max(first, min(now, jobs.max_mb))

    def runtime(wildcards: Any, attempt: int) -> int:
        return min(minutes(need, sizes(wildcards), attempt, jobs.time, many), math.ceil(60 * jobs.max_hours))

    return {"mem_mb": memory, "runtime": runtime, **gpus(section, jobs.gpu_partition)}


def uncompressed_mb(path: str, size: int) -> float:
    """Size of an image as it is in memory, MB, from that of its file."""
    return size * (COMPRESSION if path.endswith(".gz") else 1.0) / 1e6


def sizes_mb(dag: DagView) -> dict[tuple[Level, str], list[float]]:
    """(level, bundle) -> size of the raw image of each of its units, MB uncompressed."""
    found: dict[tuple[Level, str], list[float]] = {("cohort", COHORT): []}
    for r in dag.index.recordings:
        size = sum(uncompressed_mb(file.path, file.size) for file in r.echo_files.values() or [r.bold])
        found["cohort", COHORT].append(size)
        found.setdefault(("recording", dag.bundles.of_recording(r.id, r.subject)), []).append(size)
    for s in dag.index.subjects:
        if s.t1w:
            found.setdefault(("subject", dag.bundles.of_subject[s.id]), []).append(
                uncompressed_mb(s.t1w.path, s.t1w.size)
            )
    return found
