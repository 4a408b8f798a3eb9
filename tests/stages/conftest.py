from __future__ import annotations

import pytest

from brainlm_data.quality import alignment, plots, strips
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import template
from tests.stages import space


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure of a page is drawn and a wrong place is looked for one voxel away: for tests of what is written."""
    assert strips.as_png  # imported before the stub: it keeps the real one
    monkeypatch.setattr(plots, "as_png", lambda figure: b"")
    monkeypatch.setattr(alignment, "REACH", 1)


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Facts]:
    """The template that needs no download, as stage template writes it."""
    return space.run(template.STAGE, {}, tmp_path_factory.mktemp("template"))
