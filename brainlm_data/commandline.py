"""The parser of every command: what is misspelled is met with the word that was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from brainlm_data.errors import did_you_mean


class Parser(argparse.ArgumentParser):
    """As `argparse.ArgumentParser`, but an error is two lines, which name what was probably meant; exit status 2.

    Options cannot be shortened: an option that is new in a later release would change what a script means.
    """

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **{"allow_abbrev": False, **options})

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """As argparse's; but a command says itself which option it does not have, since it alone knows its own."""
        known, unknown = super().parse_known_args(*arguments, **options)
        if unknown and not any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what to do, and end."""
        text, meant = " ".join(message.split()), ""
        if match := re.match(r"(argument .*: )?invalid choice: '?(.*?)'? \(choose from (.*)\)$", text):
            choices = re.findall(r"[\w.-]+", match.group(3))
            text = f"{match.group(1) or ''}there is no {match.group(2)}"
            meant = did_you_mean(match.group(2), choices) or f"one of: {', '.join(choices)}"
        elif text.startswith("unrecognized arguments: "):
            first = text.removeprefix("unrecognized arguments: ").split()[0].split("=")[0]
            if first.startswith("-"):
                text = f"there is no option {first}"
                meant = did_you_mean(first, [option for option in _options(self) if option != first])
        self.exit(2, f"error: {text}\n  try: {meant or f'{self.prog} --help'}\n")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a parser and of its commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _options(command)
