from __future__ import annotations

from pathlib import Path

import pytest

from tests.model import parcel_people
from tests.model.results import run_all


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outdir of a small finished run, up to its figures."""
    return run_all(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort whose parcels follow networks, one of which a task drives, with a model that was trained on it."""
    return parcel_people.cohort(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without any network, with a model of its own."""
    return parcel_people.cohort(tmp_path_factory.mktemp("control"), planted=False)
