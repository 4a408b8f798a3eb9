"""Commands as they stand on pages: taken apart, and compared with what the programs, rules and keys really are."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from brainlm_data import cli as data_cli
from brainlm_data.config import validate
from brainlm_data.errors import ConfigError
from brainlm_model import cli as model_cli
from brainlm_model.stages import ALL_STAGES
from tests.conftest import ROOT

TARGETS = {"all", "preprocess", "recordings", "dataset", *(stage.name for stage in ALL_STAGES)}
# Programs of others, whose options are not looked at.
SYSTEM = {
    "apptainer", "cd", "conda", "debootstrap", "diff", "docker", "export", "git", "mkdir", "pip", "pixi", "podman",
    "pre-commit", "scontrol", "source", "srun", "tail", "tar", "uv",
}  # fmt: skip
MODULES = {"venv", "brainmarks"}  # of others
# Of Snakemake: how many words belong to an option; without one there is none. All others take what follows.
TAKES = {"": 0, "-n": 0, "--list": 0, "--cores": 1, "-c": 1, "--jobs": 1, "--profile": 1, "--sdm": 1, "--report": 1}
REDIRECTION = r"(?<=\s)\d?>&?\s?\S+"  # > file, 2>&1


class Wrong(Exception):
    """A command that nobody can run as it stands."""


def blocks(markdown: str) -> Iterator[str]:
    """Content of each ```bash block of a page."""
    yield from re.findall(r"(?ms)^```bash\n(.*?)^```", markdown)


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command of a block, without comments, variables before it, redirections and `nohup`."""
    for line in block.replace("\\\n", " ").splitlines():
        if re.match(r"\w+=\$\(", line):  # a variable from the output of a command
            continue
        lexer = shlex.shlex(re.sub(REDIRECTION, " ", line), posix=True, punctuation_chars="&|;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;"):
                if words := _bare(words):
                    yield words
                words = []
            else:
                words.append(word)


def _bare(words: Sequence[str]) -> list[str]:
    """Words without `NAME=value` and `nohup` before the program."""
    left = list(words)
    while left and (re.fullmatch(r"[A-Z_]+=.*", left[0]) or left[0] == "nohup"):
        left.pop(0)
    return left


def check(words: Sequence[str]) -> None:
    """Raises Wrong where a program, subcommand, option, target, file or key does not exist."""
    program, rest = Path(words[0]).name, list(words[1:])
    if program in CHECKS:
        CHECKS[program](rest)
    elif program.startswith("python"):
        _python(rest)
    elif program not in SYSTEM:
        raise Wrong(f"{program}: what is this?")


def _argparse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """What a parser of ours makes of the words."""
    import contextlib
    import io

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            return parser.parse_args([word for word in words if word != "--debug"])
    except SystemExit as end:
        if end.code:
            raise Wrong(said.getvalue().strip().splitlines()[-1]) from None
        return argparse.Namespace()  # --help, --version


def _parser_of(module: Any) -> argparse.ArgumentParser:
    """The parser of `brainlm-data` or `brainlm-model`, caught where it would be used."""
    caught: list[argparse.ArgumentParser] = []
    dispatch = module.dispatch
    module.dispatch = lambda parser, _: caught.append(parser) or 0
    try:
        module.main([])
    finally:
        module.dispatch = dispatch
    return caught[0]


@cache
def parser(name: str) -> argparse.ArgumentParser:
    """The parser of one of our programs."""
    if name == "brainlm":
        made: argparse.ArgumentParser = importlib.import_module("brainlm.options").parser()
        return made
    return _parser_of({"brainlm-data": data_cli, "brainlm-model": model_cli}[name])


def _keys(pairs: Sequence[str]) -> None:
    """`section.key=value` ... as `--set` takes them."""
    config: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        section = config
        *path, last = name.split(".")
        for part in path:
            section = section.setdefault(part, {})
        section[last] = yaml.safe_load(value)
    _config(config)


def _config(config: dict[str, Any]) -> None:
    """Keys and values of a configuration."""
    try:
        validate(config, ALL_STAGES)
    except ConfigError as error:
        # a page shows a key alone; that it needs another, or a file of the reader's, is no mistake of the page
        if "unknown" in error.message or not re.search(
            r"there is no|does not exist|not found|no file|needs|requires", str(error)
        ):
            raise Wrong(str(error)) from None


def _ours(name: str) -> Callable[[list[str]], None]:
    def run(words: list[str]) -> None:
        arguments = _argparse(parser(name), words)
        _keys(getattr(arguments, "set", None) or [])

    return run


def _door(words: list[str]) -> None:
    """`brainlm`."""
    if words and words[0] in ("data", "model"):
        _ours(f"brainlm-{words[0]}")(words[1:])
    elif words and words[0] == "demo":
        _argparse(importlib.import_module("brainlm.demo")._parser(), words[1:])
    elif words and words[0] == "completion":
        return
    else:
        own = words[: words.index("--")] if "--" in words else words
        arguments = _argparse(parser("brainlm"), own)
        start = []
        if getattr(arguments, "input", None):
            start = [f"input.kind={arguments.input}", f"input.path={arguments.bids}"]
        _keys([*start, *getattr(arguments, "set", [])])
        if getattr(arguments, "target", None) and arguments.target not in TARGETS:
            raise Wrong(f"no target {arguments.target}")


def _option(word: str) -> bool:
    return word.startswith("-") and " " not in word  # with a space in it: the quoted value of an option


@cache
def _snakemake_parser() -> argparse.ArgumentParser:
    from snakemake.cli import get_argument_parser

    made: argparse.ArgumentParser = get_argument_parser()
    return made


def _snakemake(words: list[str]) -> None:
    """Options by Snakemake's own parser; targets, configuration and files by ours."""
    known = {option for action in _snakemake_parser()._actions for option in action.option_strings}
    known |= {"--slurm-array-jobs", "--slurm-status-command"}  # of the plugin, which not everybody has
    for word in words:
        if _option(word) and word.split("=")[0] not in known:
            raise Wrong(f"snakemake has no {word}")
    # The values of each option; what follows those of an option that takes one (`--cores 8 report`) are targets.
    groups: dict[str, list[str]] = {}
    targets: list[str] = []
    option = ""
    for word in words:
        if _option(word):
            option = word
            groups[option] = []
        elif len(groups.get(option, [])) < TAKES.get(option, 99):
            groups[option].append(word)
        else:
            targets.append(word)
    if unknown := set(targets) - TARGETS:
        raise Wrong(f"snakemake: no target {', '.join(sorted(unknown))}")
    config: dict[str, Any] = {}
    for pair in groups.get("--config", []):
        name, _, value = pair.partition("=")
        config[name] = yaml.safe_load(value)
    _config(config)
    for name in ("--configfile", "--profile"):
        for file in groups.get(name, []):
            if not file.startswith("/") and not (ROOT / file).exists() and file != "default":
                raise Wrong(f"{name} {file}: there is none")


def _make(words: list[str]) -> None:
    targets = set(re.findall(r"(?m)^([a-z][\w-]*):", (ROOT / "Makefile").read_text()))
    for word in words:
        if "=" not in word and word not in targets:
            raise Wrong(f"make: no target {word}")


def _python(words: list[str]) -> None:
    """`python -m MODULE`, `python FILE`."""
    if words and words[0] == "-m":
        module = words[1].replace(".", "/")
        if words[1].split(".")[0] not in MODULES and not (
            (ROOT / f"{module}.py").exists() or (ROOT / module / "__main__.py").exists()
        ):
            raise Wrong(f"python -m {words[1]}: there is none")
    elif words and words[0].endswith(".py") and not (ROOT / words[0]).exists():
        raise Wrong(f"python {words[0]}: there is none")


def _pytest(words: list[str]) -> None:
    for word in words:
        if word.startswith("tests/") and not (ROOT / word.split("::")[0]).exists():
            raise Wrong(f"pytest {word}: there is none")


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "brainlm": _door,
    "brainlm-data": _ours("brainlm-data"),
    "brainlm-model": _ours("brainlm-model"),
    "snakemake": _snakemake,
    "make": _make,
    "pytest": _pytest,
}
