"""The command line of a run: the form of BIDS Apps, and what is this package's own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from brainlm.places import names, version
from brainlm_data.commandline import Parser

LEVELS = ("participant", "group")
COMMANDS = ("data", "model", "demo", "completion")
TARGETS = ("preprocess", "recordings", "dataset")  # of workflow/rules/targets.smk; every stage is one as well
USAGE = """\
brainlm BIDS OUT [participant|group] [options] [-- options of Snakemake]
       brainlm data|model|demo|completion ... [--help]"""
DESCRIPTION = """\
From raw fMRI to a trained and evaluated brain foundation model.

  participant   everything per recording: parcel series, confounds, transforms, quality pages
  group         then the dataset of all, and where the cohort is large enough a model and its report (default)

What is done already stays; the same command goes on after an interruption. OUT/config.yaml keeps the configuration:
a later command without options goes on with it, and every change says what it makes again, before anything runs.
"""
EPILOG = """\
examples:
  brainlm /data/ds /data/out participant -n                    look: what would be done, and what is odd about the data
  brainlm /data/ds /data/out participant --participant-label 01 02
  brainlm /data/ds /data/out group --cores 8 --set filter.high_hz=0.09
  brainlm /data/ds /data/out group --profile slurm             on a cluster
  brainlm demo                                                 the whole pipeline on a simulated cohort

other commands:
  data          brainlm-data: look at a dataset, fetch, import, export, verify; each stage alone
  model         brainlm-model: train, embed, fine-tune, convert; each stage alone
  demo          simulate a cohort and run everything on it
  completion    print the completion of a shell: bash, zsh or fish

exit status: 0 all recordings went through, 1 a job failed, 2 wrong input or configuration (nothing ran),
  3 finished, but recordings were refused, 130 interrupted
"""


def parser() -> Parser:
    """The parser of `brainlm BIDS OUT ...`."""
    made = Parser(
        prog="brainlm", usage=USAGE, description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("bids", type=Path, metavar="BIDS", help="the dataset; with --input, what to start from instead")
    made.add_argument("out", type=Path, metavar="OUT", help="folder for all results")
    made.add_argument("level", nargs="?", choices=LEVELS, metavar="participant|group", help="how far")

    which = made.add_argument_group("which recordings (of this run alone; a configuration keeps `select`)")
    _labels(which, "subjects, with or without sub-", "--participant-label", "--participant_label")
    _labels(which, "sessions", "--session-label", "--session_label", "--session-id")
    _labels(which, "tasks", "--task-id", "--task-label", "--task_label")

    what = made.add_argument_group("what is done")
    what.add_argument("--atlas", metavar="NAME|FILE", help="A424 (default), demo424 (a geometric stand-in), or a file")
    what.add_argument("--atlas-labels", type=Path, metavar="TSV", help="the names of the parcels of an atlas file")
    what.add_argument(
        "--input", metavar="KIND", help="start from what is preprocessed: fmriprep, hcp, ukb, ... (docs/import.md)"
    )
    what.add_argument(
        "--target", metavar="STAGE", help="how far instead: preprocess, dataset, train, report, paper ..."
    )
    what.add_argument(
        "--config", nargs="+", default=[], metavar="FILE", help=f"configurations: {', '.join(names('config'))}, a file"
    )
    what.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="filter.high_hz=0.09 ...")

    how = made.add_argument_group("how it runs")
    how.add_argument("-n", "--dry-run", action="store_true", help="say what would be done, and why; nothing is made")
    how.add_argument(
        "--cores", type=_count, default=os.cpu_count() or 1, metavar="N", help="cores (default: all, %(default)s)"
    )
    how.add_argument(
        "--n-cpus", "--n_cpus", "--nprocs", "--nthreads", type=_count, dest="cores",
        default=argparse.SUPPRESS, help=argparse.SUPPRESS,
    )  # fmt: skip
    how.add_argument(
        "--profile", metavar="NAME|DIR", help=f"of Snakemake: {', '.join(names('profiles'))}, or your own (docs/hpc.md)"
    )
    how.add_argument("--verbose", action="store_true", help="show Snakemake's own output")
    how.add_argument("--debug", action="store_true", help="show the traceback of an error")
    how.add_argument("--version", action="version", version=f"brainlm {version()}")
    return made


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of a run. The level may stand anywhere behind BIDS and OUT.

    argparse takes a level that comes after an option for a word too many, or for one more label of that option.
    """
    made = parser()
    arguments, rest = argparse.ArgumentParser.parse_known_args(made, words)
    given = [value for value in vars(arguments).values() if isinstance(value, list) and len(value) > 1]
    for found in (rest, *given):
        if arguments.level is None and found and found[-1] in LEVELS:
            arguments.level = found.pop()
    if rest:
        made.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.level = arguments.level or "group"
    return arguments


def _labels(group: argparse._ArgumentGroup, text: str, name: str, *aliases: str) -> None:
    """An option of labels; `aliases`, as other BIDS Apps spell it, are understood and not shown."""
    dest = name.strip("-").replace("-", "_")
    group.add_argument(name, nargs="+", metavar="LABEL", dest=dest, help=text)
    group.add_argument(*aliases, nargs="+", dest=dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of cores")
    return int(text)
