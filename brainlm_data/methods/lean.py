"""antspyx without those of its parts that this package does not use.

Every stage is a process of its own, and what it imports is paid each time: antspyx as a whole brings statsmodels,
scikit-learn and Matplotlib along, and takes four times as long.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

UNUSED = ("ants.contrib", "ants.deeplearn", "ants.label", "ants.learn", "ants.math.quantile", "ants.plotting")


class _Blank(ModuleType):
    """A module that has every name, with a `_Later` behind each, and exports none with `*`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__all__: list[str] = []
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(self.__name__, name)


class _Later:
    """A function of a module that is imported when the function is called."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*arguments, **options)


def _later(name: str) -> Any:
    """An attribute of `ants` that only an unused part has: all of them are imported, for whoever else uses `ants`."""
    if not name.startswith("__"):
        for module in map(importlib.import_module, UNUSED):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'ants' has no attribute {name!r}")


def antspyx() -> Any:
    """The package `ants`; while it is imported, blanks stand where its unused parts would be."""
    if "ants" in sys.modules:  # with or without them
        return sys.modules["ants"]
    sys.modules.update((name, _Blank(name)) for name in UNUSED)
    try:
        ants: Any = importlib.import_module("ants")
    finally:
        for name in UNUSED:  # who wants them later imports the real ones
            del sys.modules[name]
    ants.__getattr__ = _later
    return ants
