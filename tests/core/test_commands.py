"""What every command does before it does anything."""

from __future__ import annotations

import argparse
import os

import pytest

from brainlm_data import dispatch


@pytest.mark.parametrize(("given", "seen"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_give_their_core_away(given: str | None, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": given} if given else {})
    parser = argparse.ArgumentParser()
    parser.set_defaults(call=lambda _: policies.append(os.environ["OMP_WAIT_POLICY"]))
    policies: list[str] = []
    assert dispatch(parser, []) == 0
    assert policies == [seen]
