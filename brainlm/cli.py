"""The command `brainlm`: a run in the form of BIDS Apps, and the doors to everything else."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from brainlm import options
from brainlm.completion import main as completion
from brainlm.demo import demo
from brainlm.run import NOT_BEGUN, run
from brainlm_data.errors import BrainLMError, in_words


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainlm`; the exit status is explained in docs/brainlm.md."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        options.parser().print_help()
        return 0 if words else NOT_BEGUN
    command, rest = words[0], words[1:]
    if command == "data":
        from brainlm_data.cli import main as data

        return data(rest, prog="brainlm data")
    if command == "model":
        from brainlm_model.cli import main as model

        return model(rest, prog="brainlm model")
    if command == "completion":
        return completion(rest)
    try:
        if command == "demo":
            return demo(rest)
        return run(words)
    except BrainLMError as error:
        return _failed(error, words)
    except Exception as error:
        return _failed(in_words(error), words)


def _failed(error: BrainLMError, words: Sequence[str]) -> int:
    """Two lines on stderr."""
    if "--debug" in words:
        traceback.print_exc()
    print(f"error: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"  try: {error.remedy}", file=sys.stderr)
    return NOT_BEGUN
