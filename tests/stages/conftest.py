from __future__ import annotations

from typing import Any

import pytest

from brainlm_data.quality import alignment, plots
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import confounds, denoise, filter, template
from tests.stages import fitted, space


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure of a page is drawn and a wrong place is looked for one voxel away: for tests of what is written."""
    monkeypatch.setattr(plots, "as_png", lambda figure: b"")
    monkeypatch.setattr(alignment, "REACH", 1)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, dict[str, Any]]:
    """What stage denoise reads of a head whose sources are known, and what is true of it."""
    files, truth = fitted.recording(tmp_path_factory.mktemp("denoise"))
    return fitted.run(filter.STAGE, fitted.run(confounds.STAGE, files)[1])[1], truth


@pytest.fixture(scope="session")
def denoised(prepared: tuple[Files, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Files]:
    """What stage denoise makes of it by default."""
    return fitted.run(denoise.STAGE, prepared[0], into=tmp_path_factory.mktemp("denoised"))


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Facts]:
    """The template that needs no download, as stage template writes it."""
    return space.run(template.STAGE, {}, tmp_path_factory.mktemp("template"))
