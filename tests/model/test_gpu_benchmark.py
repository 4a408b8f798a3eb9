"""`python -m benchmarks.gpu --toy`: that the script for a machine with a GPU works where there is none."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_the_toy_size_gives_every_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--toy", "--json", "--models", "tiny"])
    gpu.main()
    tiny = json.loads(capsys.readouterr().out)["models"]["tiny"]
    assert {"step_s", "mfu", "windows_per_s", "peak_mb", "host_wait", "prior_s"} <= tiny.keys()
    assert tiny["loss_difference"] <= gpu.LOSS_TOLERANCE["float32"]
    assert tiny["loss_difference_bfloat16"] <= gpu.LOSS_TOLERANCE["bfloat16"]


def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="--toy"):
        gpu.main()
