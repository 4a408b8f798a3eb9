"""What the SLURM plugin of Snakemake (2.8) does not do itself: wait while SLURM does not answer.

Its `Executor.check_active_jobs` must yield every job that is not over. Where each attempt to ask for their states fails
(slurmctld restarts, a time-out), it yields none, so that Snakemake forgets its jobs and waits for ever; and while
slurmctld is away it asks `sacct` instead of `squeue`, which without accounting always fails.
"""

from __future__ import annotations

import sys
from typing import Any


def keep_waiting() -> None:
    """Take "no answer" for "nothing new": the plugin then asks again at its next check, however long that goes on.

    Does nothing where the plugin is not loaded, or no longer has what is replaced.
    """
    plugin: Any = sys.modules.get("snakemake_executor_plugin_slurm")
    ask = getattr(plugin, "query_job_status", None)
    if ask is None:
        return

    async def patient(command: str, logger: Any) -> tuple[dict[str, str], float]:
        """States by job id, none of them where nothing answered, and the seconds it took."""
        states, seconds = await ask(command, logger)
        return ({}, 0.0) if states is None else (states, seconds)

    plugin.query_job_status = patient
