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
