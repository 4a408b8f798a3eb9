from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.results import run_all


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outdir of a small finished run, up to its figures."""
    return run_all(tmp_path_factory.mktemp("finished"))
