"""No job is forgotten while SLURM does not answer. Needs the plugin, not a SLURM: its questions are answered here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from brainlm_data.graph import slurm

NAME = "snakemake_executor_plugin_slurm"


def still_active(plugin: Any, answer: str) -> tuple[list[Any], list[Any]]:
    """One check of one job by the plugin, where the command that asks for states prints `answer`; (kept, ended)."""
    ended: list[Any] = []
    settings = SimpleNamespace(init_seconds_before_status_checks=3, status_attempts=2, keep_successful_logs=True)
    executor = SimpleNamespace(
        workflow=SimpleNamespace(executor_settings=settings), logger=logging.getLogger(NAME), run_uuid="1",
        status_rate_limiter=contextlib.nullcontext(), get_status_command=lambda: "squeue",
        report_job_success=ended.append, next_seconds_between_status_checks=3, _preemption_warning=False,
        _status_query_calls=0, _status_query_failures=0, _status_query_total_seconds=0.0,
        _status_query_min_seconds=None, _status_query_max_seconds=0.0, _status_query_cycle_rows=[],
    )  # fmt: skip
    job = SimpleNamespace(external_jobid="7", aux={})
    plugin.query_job_status_squeue = lambda run: answer

    async def check() -> list[Any]:
        return [job async for job in plugin.Executor.check_active_jobs(executor, [job])]

    return asyncio.run(check()), ended


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = pytest.importorskip(NAME, reason="no SLURM plugin here")
    monkeypatch.setattr(module, "query_job_status_squeue", None)
    monkeypatch.setattr(module, "get_min_job_age", lambda: 300)
    monkeypatch.setattr(module, "query_job_status", module.query_job_status)
    return module


def test_a_job_is_kept_while_nothing_answers(plugin: Any) -> None:
    """Without `keep_waiting` the plugin forgets it: when that is fixed there, this module can go."""
    assert still_active(plugin, "false") == ([], [])
    slurm.keep_waiting()
    kept, ended = still_active(plugin, "false")
    assert [job.external_jobid for job in kept] == ["7"] and not ended


def test_answers_are_passed_on(plugin: Any) -> None:
    slurm.keep_waiting()
    kept, ended = still_active(plugin, "echo '7|COMPLETED'")
    assert [job.external_jobid for job in ended] == ["7"] and not kept
    assert len(still_active(plugin, "echo '7|RUNNING'")[0]) == 1


def test_without_the_plugin_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    slurm.keep_waiting()
    monkeypatch.setitem(sys.modules, NAME, SimpleNamespace())  # type: ignore[arg-type]
    slurm.keep_waiting()
