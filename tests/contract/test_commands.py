"""Every command on a page can be typed as it stands: program, subcommand, options, targets, files and keys exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.contract.commands import Wrong, blocks, check, commands, parser

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "containers/README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
SCRIPTS = sorted(ROOT.glob("docs/*/*.py"))


def wrong(markdown: str) -> list[str]:
    """The commands of a page that cannot be typed, with the reason."""
    found = []
    for block in blocks(markdown):
        for words in commands(block):
            try:
                check(words)
            except Wrong as reason:
                found.append(f"{' '.join(words)}: {reason}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_a_page(page: Path) -> None:
    text = page.read_text()
    assert not wrong(text)
    indented = re.findall(r"(?m)(?<=\n\n)    ((?:brainlm|snakemake|make|python|pytest)\b.*)", text)
    assert not indented, "commands stand in ```bash blocks, where they are checked"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_commands_of_a_script(script: Path) -> None:
    lines = re.findall(r'"((?:brainlm|brainlm-data|brainlm-model|snakemake) [^"]*)"', script.read_text())
    assert not wrong("".join(f"```bash\n{line}\n```\n" for line in lines))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_within_sentences(page: Path) -> None:
    """Of `brainlm-data verify ...` in a sentence, at least program, subcommand and the options that are spelled out."""
    for words in re.findall(r"`(brainlm-(?:data|model) [a-z][^`]*)`", page.read_text()):
        program, name, *rest = re.split(r"[\s\[\]()|]+", words.replace("\n", " "))
        subparsers = next(a for a in parser(program)._actions if hasattr(a, "choices") and a.choices)
        for each in name.split("|"):
            assert each in subparsers.choices, words
        if name == "run" or len(rest) < 1:
            continue
        known = set(subparsers.choices[name]._option_string_actions)
        for deeper in subparsers.choices[name]._actions:
            for child in (deeper.choices or {}) if hasattr(deeper, "choices") else {}:
                if isinstance(deeper.choices, dict):
                    known |= set(deeper.choices[child]._option_string_actions)
        for option in re.findall(r"--[a-z][\w-]*", " ".join(rest)):
            assert option in known or option == "--debug", words


@pytest.mark.parametrize(
    "line",
    [
        "brainlm-data indx /data/ds", "brainlm-data import fmriprep in out --strategie 36P", "make everything",
        "brainlm-model train store.zarr --out m --set train.stepz=3", "snakemake --cores 8 datset",
        "snakemake --cores 1 --config 'filter={hi_hz: 1}'", "snakemake -n --configfile config/none.yaml",
        "python -m benchmarks.nothing", "pytest tests/nothing", "cd x && brainlm-data verfy out", "frobnicate",
    ],
)  # fmt: skip
def test_what_cannot_be_typed_is_found(line: str) -> None:
    assert wrong(f"```bash\n{line}\n```\n")


def test_comments_variables_pipes_and_redirections() -> None:
    block = "A=1 nohup snakemake -n 2>&1 > x.log &   # words\nbrainlm-data index \\\n  /data/ds | tail -n 3\n"
    assert list(commands(block)) == [["snakemake", "-n"], ["brainlm-data", "index", "/data/ds"], ["tail", "-n", "3"]]
