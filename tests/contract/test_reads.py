"""Files are read inside `brainlm_data.files.reads.reads`, so that a damaged one is one line with its remedy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PARSERS = {
    "np.load", "np.loadtxt", "pd.read_csv", "pd.read_parquet", "zarr.open_group", "zarr.open_array", "zarr.open",
    "xr.open_zarr", "torch.load", "load_file", "safe_open", "nib.load", "json.loads", "yaml.safe_load",
    "ants.apply_transforms_to_points",
}  # fmt: skip
OF_TEXT = {"json.loads", "yaml.safe_load"}  # only where a file is read in the same call
OWN_WORDS = (  # readers of files that people bring, which say in their own words which line, key or header is wrong
    "brainlm_data/reading/", "brainlm_data/imports/", "brainlm_data/strategies/", "brainlm_data/methods/fnirt.py",
    "brainlm_data/files/lock.py",
)  # fmt: skip


def parsers_outside(tree: ast.AST, inside: bool = False) -> Iterator[tuple[int, str]]:
    """(line, name) of every parser of files that is called outside of `with reads(...)`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and not inside and (name := _name(node.func)) in PARSERS:
            reads_a_file = "read_text(" in ast.unparse(node) or "read_bytes(" in ast.unparse(node)
            if name not in OF_TEXT or reads_a_file:
                yield node.lineno, name
        guarded = isinstance(node, ast.With) and any("reads(" in ast.unparse(item) for item in node.items)
        yield from parsers_outside(node, inside or guarded)


def _name(function: ast.AST) -> str:
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def test_no_text_is_cut_where_a_value_is_missing() -> None:
    """pandas 3: `Series(["train", None]).to_numpy(dtype=str)` is ["t", "n"]."""
    for folder in ("brainlm_data", "brainlm_model", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            assert "to_numpy(dtype=str)" not in file.read_text(), f"{file}: np.array(column.tolist(), dtype=str)"


def test_every_parser_of_files_is_called_through_the_one_door() -> None:
    found = []
    for file in [*ROOT.glob("brainlm_data/**/*.py"), *ROOT.glob("brainlm_model/**/*.py")]:
        name = file.relative_to(ROOT).as_posix()
        if not name.startswith(OWN_WORDS) or name == "brainlm_data/imports/write.py":
            found += [f"{name}:{line} {call}" for line, call in parsers_outside(ast.parse(file.read_text()))]
    assert found == []


def test_the_contract_sees_what_it_forbids(tmp_path: Path) -> None:
    assert list(parsers_outside(ast.parse("def f(p):\n    return np.load(p)"))) == [(2, "np.load")]
    assert not list(parsers_outside(ast.parse("with reads(p), np.load(p) as x:\n    json.loads(p.read_text())")))


def texts_without_encoding(tree: ast.AST) -> Iterator[int]:
    """Lines where text is read or written in whatever encoding the machine is set to."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if any(keyword.arg in {"encoding", None} for keyword in node.keywords):
            continue
        called, owner = node.func.attr, ast.unparse(node.func.value)
        is_text = called in {"read_text", "write_text"} and owner != "sidecar"
        is_stream = called == "open" and owner not in {"os", "gzip", "zarr", "nib"} and _opens_text(node)
        if is_text or is_stream:
            yield node.lineno


def _opens_text(call: ast.Call) -> bool:
    """Whether `path.open(...)` opens a stream of text; a mode that is no literal passes."""
    modes = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return not modes or (isinstance(modes[0], ast.Constant) and "b" not in str(modes[0].value))


def test_text_is_utf8_on_every_machine() -> None:
    found = []
    for package in ("brainlm", "brainlm_data", "brainlm_model"):
        for file in ROOT.glob(f"{package}/**/*.py"):
            lines = texts_without_encoding(ast.parse(file.read_text(encoding="utf-8")))
            found += [f"{file.relative_to(ROOT)}:{line}" for line in lines]
    assert found == []
    assert list(texts_without_encoding(ast.parse("p.read_text()\np.open()\np.open('rb')\np.open('w')"))) == [1, 2, 4]
