"""`brainlm-data why FILE [RECORDING]`: where a file comes from; `why OUTDIR RECORDING`: what became of a recording."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from brainlm_data.stage import Stage

EPILOG = """\
    brainlm-data why results/metrics/masked.csv:3        a row: stages, keys, software, raw files
    brainlm-data why results/store.zarr sub-01_task-rest  one recording of a store (or of any file of the cohort)
    brainlm-data why results sub-03_task-rest             where it is, or why it is refused, excluded or left out
"""


def add_why(commands: Any, stages: Sequence[Stage]) -> None:
    """Add `why` to a parser. `stages`: whose defaults are known to this program."""
    why = commands.add_parser(
        "why", help="where a file comes from, or why a recording is not in it", epilog=EPILOG,
        description="Back from a result to raw files, by what the jobs noted; nothing is run or written.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    why.add_argument("file", metavar="FILE", help="what a run wrote; FILE:LINE of a table; or OUTDIR with a recording")
    why.add_argument("recording", nargs="?", help="id of a recording, as recordings.parquet has it")
    why.add_argument("--json", action="store_true", help="all of it, for programs")
    why.set_defaults(call=partial(_why, stages))


def _why(stages: Sequence[Stage], arguments: argparse.Namespace) -> None:
    from brainlm_data.files.sidecar import as_json
    from brainlm_data.why.answer import answer
    from brainlm_data.why.words import tree

    found = answer(arguments.file, arguments.recording)
    print(as_json(found.content()).rstrip() if arguments.json else tree(found, stages))
