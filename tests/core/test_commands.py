"""What every command does before it does anything."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from brainlm_data import dispatch
from brainlm_data.cli import add_run
from brainlm_data.files.lock import hold
from brainlm_data.graph.dag import Dag
from brainlm_data.pipeline import STAGES
from brainlm_data.stage import Stage
from brainlm_data.tools import register
from tests.core import toy
from tests.core.test_runner import raw, run


@pytest.mark.parametrize(("given", "seen"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_give_their_core_away(given: str | None, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": given} if given else {})
    parser = argparse.ArgumentParser()
    parser.set_defaults(call=lambda _: policies.append(os.environ["OMP_WAIT_POLICY"]))
    policies: list[str] = []
    assert dispatch(parser, []) == 0
    assert policies == [seen]


def command(stages: Sequence[Stage], *words: str) -> int:
    """Exit status of a program with these stages."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    add_run(commands, stages, stages)
    register(commands)
    return dispatch(parser, words)


def test_a_stage_off_the_route_is_one_line(bids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--bids-dir", str(bids), "--outdir", str(tmp_path / "out")]
    assert command(STAGES, "run", "fmriprep", *where) == 2
    assert "not on route native" in capsys.readouterr().err


def test_a_run_by_hand_waits_for_nobody(bids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--bids-dir", str(bids), "--outdir", str(tmp_path / "out")]
    with hold(tmp_path / "out"):
        assert command(toy.STAGES, "run", "anat", *where) == 2
    assert "another run is writing to" in capsys.readouterr().err
    assert command(toy.STAGES, "run", "anat", *where) == 0


def test_verify_asks_for_what_a_rerun_would_make(bids: Path, tmp_path: Path) -> None:
    """Not for results of people who are not selected any more."""
    config = raw(bids, tmp_path / "out", motion={"gain": 2})
    run(raw(bids, tmp_path / "out"))
    one = config | {"select": {"subject": ["01"]}}
    run(one)
    dag = Dag(one, toy.STAGES)
    dag.prepare()
    with dag.begin([]):
        dag.finish()
    assert command(toy.STAGES, "verify", str(tmp_path / "out")) == 0
    (tmp_path / "out/card.md").write_text("x")
    assert command(toy.STAGES, "verify", str(tmp_path / "out")) == 2


def test_verify_leaves_out_what_is_switched_off(bids: Path, tmp_path: Path) -> None:
    dag, _ = run(raw(bids, tmp_path / "out"))
    made = tmp_path / "out/card.md"
    with dag.begin([]):
        dag.finish()
    made.unlink()
    assert command(toy.STAGES, "verify", str(tmp_path / "out")) == 2
    off = toy.CollateConfig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(off, "is_on", False, raising=False)
        dag.begin([]).close()
    assert command(toy.STAGES, "verify", str(tmp_path / "out")) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "anat={"], "--set anat: while parsing"),
        (["--set", "a=1", "a.b=2"], "a is no section"),
        (["--configfile", "list.yaml"], "no mapping"),
        (["--configfile", "bytes.yaml"], "no UTF-8 text"),
        (["--configfile", "."], "Is a directory"),
        (["--outdir", "a\0b"], r"a\x00b: not a path"),
        (["--outdir", "list.yaml"], "list.yaml"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    bids: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.yaml").write_text("- 1\n")
    Path("bytes.yaml").write_bytes(b"a: \xff\n")
    assert command(toy.STAGES, "run", "anat", "--bids-dir", str(bids), *words) == 2
    error, remedy = capsys.readouterr().err.splitlines()
    assert said in error and "unexpected" not in error and remedy.startswith("  try: ")


def test_a_home_folder_that_no_shell_has_read(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert command(toy.STAGES, "run", "anat", "--bids-dir", str(bids), "--outdir", "~/out") == 0
    assert (tmp_path / "out/work").is_dir() and not (tmp_path / "~").exists()
