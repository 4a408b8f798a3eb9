"""Libraries without the parts that stages do not use: each in a process of its own, as a stage imports them."""

from __future__ import annotations

import subprocess
import sys


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_antspyx_comes_without_plots_and_statistics_and_whole_afterwards() -> None:
    said = printed(
        "import sys; from brainlm_data.methods import lean; ants = lean.antspyx();"
        "print(callable(ants.registration), callable(ants.atropos), [n for n in "
        "('matplotlib', 'sklearn', 'statsmodels') if n in sys.modules]);"
        "import ants.plotting; print(callable(ants.plotting.plot), lean.antspyx() is ants)"
    )
    assert said == "True True []\nTrue True\n"


def test_whoever_else_uses_antspyx_has_all_of_it() -> None:
    said = printed(
        "from brainlm_data.methods import lean; lean.antspyx(); import ants, numpy as np;"
        "series = ants.from_numpy(np.random.default_rng(0).random((4, 5, 6, 7), np.float32));"
        "print(np.allclose(ants.get_average_of_timeseries(series).numpy(), series.numpy().mean(-1), atol=1e-6));"
        "from ants import sparse_decom2; print(callable(ants.plot), callable(sparse_decom2), hasattr(ants, 'nothing'))"
    )
    assert said == "True\nTrue True False\n"
