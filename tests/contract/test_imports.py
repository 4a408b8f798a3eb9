"""Who imports whom, counted with imports inside functions and under TYPE_CHECKING: no circle, one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from tests.conftest import ROOT

PACKAGES = ("brainlm", "brainlm_data", "brainlm_model")


def modules_of(root: Path) -> dict[str, Path]:
    """Module name -> file, of both packages."""
    modules = {}
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            name = ".".join(file.relative_to(root).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = file
    return modules


def imported_by(text: str, modules: Iterable[str]) -> set[str]:
    """Those of the modules that a text imports, wherever the import stands."""
    known, imported = set(modules), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                imported.add(submodule if submodule in known else str(node.module))
    return imported & known


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Modules that reach each other: the strongly connected components of more than one."""
    names = sorted(graph)
    number = {name: row for row, name in enumerate(names)}
    edges = [(number[name], number[other]) for name in names for other in graph[name]]
    rows, columns = zip(*edges, strict=True)
    matrix = csr_array(([1] * len(edges), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    groups: dict[int, set[str]] = {}
    for name, label in zip(names, labels, strict=True):
        groups.setdefault(int(label), set()).add(name)
    return [group for group in groups.values() if len(group) > 1]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    modules = modules_of(ROOT)
    return {name: imported_by(file.read_text(), modules) - {name} for name, file in modules.items()}


def test_no_circle_of_imports(graph: dict[str, set[str]]) -> None:
    assert circles(graph) == []


def test_a_circle_is_seen_wherever_the_import_stands() -> None:
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import b\ndef f():\n    import p.c\n"
    assert imported_by(late, ["p", "p.b", "p.c", "p.d"]) == {"p.b", "p.c"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
