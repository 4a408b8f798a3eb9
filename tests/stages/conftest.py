from __future__ import annotations

import pytest

from brainlm_data.quality import alignment, plots


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure of a page is drawn and a wrong place is looked for one voxel away: for tests of what is written."""
    monkeypatch.setattr(plots, "as_png", lambda figure: b"")
    monkeypatch.setattr(alignment, "REACH", 1)
