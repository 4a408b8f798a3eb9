"""How the code reads, in numbers: size, length of functions and lines, density, comments, keys.

    python -m benchmarks.house [CHECKOUT ...] [--json]

Counted over brainlm_data and brainlm_model of each checkout (default: this one), so that two of them can be compared.
Lines are those that are not blank; a comment is one after `#`, docstrings are not counted.

Keys, by checkout: `files`, `lines`, `functions`; `function_lines_median`, `function_lines_95`, `function_lines_max`;
`line_length_90` (characters); `comprehensions_per_100_lines`, `conditionals_per_100_lines` (expressions);
`comment_percent` of lines; `snakemake_lines`, `test_lines`, `doc_lines`; `config_keys`.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.tools import ROOT, parser, show

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def lines_of(files: Iterable[Path]) -> list[str]:
    """Lines that are not blank."""
    lines: list[str] = []
    for file in files:
        lines += [line for line in file.read_text().splitlines() if line.strip()]
    return lines


def comments_in(text: str) -> int:
    """Lines of a Python file with a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def keys_in(section: dict[str, Any]) -> int:
    """Keys that hold a value, sections within sections counted out."""
    return sum(keys_in(value) if isinstance(value, dict) and value else 1 for value in section.values())


def measure(checkout: Path) -> dict[str, Any]:
    """The numbers of one checkout."""
    files = sorted(
        file for package in ("brainlm_data", "brainlm_model") for file in checkout.glob(f"{package}/**/*.py")
    )
    if not files:
        raise SystemExit(f"{checkout}: no brainlm_data there; give the folder of a checkout")
    lengths, comprehensions, conditionals, comments = [], 0, 0, 0
    for file in files:
        text = file.read_text()
        comments += comments_in(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, FUNCTIONS):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
            comprehensions += isinstance(node, COMPREHENSIONS)
            conditionals += isinstance(node, ast.IfExp)
    lines = lines_of(files)
    rules = [checkout / "Snakefile", *checkout.glob("workflow/rules/*.smk")]
    return {
        "files": len(files),
        "lines": len(lines),
        "functions": len(lengths),
        "function_lines_median": float(np.median(lengths)),
        "function_lines_95": float(np.percentile(lengths, 95)),
        "function_lines_max": max(lengths),
        "line_length_90": float(np.percentile([len(line) for line in lines], 90)),
        "comprehensions_per_100_lines": 100 * comprehensions / len(lines),
        "conditionals_per_100_lines": 100 * conditionals / len(lines),
        "comment_percent": 100 * comments / len(lines),
        "snakemake_lines": len(lines_of(rules)),
        "test_lines": len(lines_of(checkout.glob("tests/**/*.py"))),
        "doc_lines": len(lines_of([*checkout.glob("*.md"), *checkout.glob("docs/**/*.md")])),
        "config_keys": keys_in(yaml.safe_load((checkout / "config.yaml").read_text())),
    }


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("checkouts", nargs="*", type=Path, default=[ROOT], help="folders (default: this one)")
    given = arguments.parse_args()
    found = {str(checkout): measure(checkout) for checkout in given.checkouts}
    if given.json:
        show(found, as_json=True)
        return 0
    for key in next(iter(found.values())):
        print(f"{key:28s}", *(f"{numbers[key]:10.5g}" for numbers in found.values()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
