from __future__ import annotations

from tests.stages.conftest import words_only

__all__ = ["words_only"]
