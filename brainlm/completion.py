"""`brainlm completion bash|zsh|fish`: a script that completes commands, options, stages and keys.

    source <(brainlm completion bash)            in ~/.bashrc; or zsh in ~/.zshrc
    brainlm completion fish | source             in ~/.config/fish/config.fish

The shell asks `brainlm completion words -- WORD ...` for what can come at the end of these words.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from brainlm_data.commandline import Parser

BASH = """\
_brainlm() {
    local IFS=$'\\n' found
    found=$(brainlm completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=($(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _brainlm brainlm
"""
ZSH = """\
_brainlm() {
    local -a found
    found=(${(f)"$(brainlm completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    compadd -a found
    _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _brainlm brainlm
"""
FISH = """\
complete -c brainlm -a '(brainlm completion words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(words: Sequence[str]) -> int:
    """Print a script, or the words that can come next; exit status 0."""
    if words[:1] == ["words"]:
        print("\n".join(candidates(list(words[2:]))))
        return 0
    made = Parser(prog="brainlm completion", description="Print the completion of a shell.", epilog=__doc__,
                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    made.add_argument("shell", choices=tuple(SCRIPTS), metavar="SHELL", help=", ".join(SCRIPTS))
    sys.stdout.write(SCRIPTS[made.parse_args(words).shell])
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """What can stand in place of the last word, which has been begun, after those before it."""
    from brainlm.options import COMMANDS

    *before, begun = words or [""]
    if not before:
        found = [*COMMANDS, "--help", "--version"]
    elif before[0] in {"data", "model"}:
        found = list(_of_program(before[0], before[1:]))
    else:
        found = list(_of_run(before))
    return sorted({word for word in found if word.startswith(begun)})


def _of_run(before: Sequence[str]) -> Iterator[str]:
    from brainlm import options, places

    last = next((word for word in reversed(before) if word.startswith("-")), "")
    if last == "--set":
        yield from _keys()
    elif before[-1] == "--target":
        from brainlm_model.stages import ALL_STAGES

        yield from (*options.TARGETS, *(stage.name for stage in ALL_STAGES))
    elif before[-1] == "--atlas":
        yield from ("A424", "demo424")
    elif before[-1] == "--config":
        yield from places.names("config")
    elif before[-1] == "--profile":
        yield from places.names("profiles")
    else:
        if len(before) >= 2:
            yield from options.LEVELS
        for action in options.parser()._actions:
            yield from action.option_strings


def _keys() -> Iterator[str]:
    """`filter.high_hz=` and all other keys."""
    from brainlm_model.stages import ALL_STAGES

    for stage in ALL_STAGES:
        for key in stage.Config.model_fields:
            yield f"{stage.name}.{key}="


def _of_program(program: str, before: Sequence[str]) -> Iterator[str]:
    """Commands, stages and options of `brainlm data` and `brainlm model`."""
    if program == "data":
        from brainlm_data.cli import made
    else:
        from brainlm_model.cli import made
    parser: argparse.ArgumentParser = made()
    for word in before:
        below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if below and word in below[0].choices:
            parser = below[0].choices[word]
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices
