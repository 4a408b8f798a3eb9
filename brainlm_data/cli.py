"""The command line `brainlm-data`: every stage alone, without Snakemake; the rules call it as well."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data.commandline import Parser
from brainlm_data.errors import ConfigError, InputError, in_words
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Stage
from brainlm_data.why.command import add_why

if TYPE_CHECKING:
    from brainlm_data.graph.dag import Dag


def main(argv: Sequence[str] | None = None, prog: str = "brainlm-data") -> int:
    """Entry point of `brainlm-data`, and of `brainlm data`."""
    return dispatch(made(prog), argv)


def made(prog: str = "brainlm-data") -> Parser:
    """The parser of all commands."""
    from brainlm_data.pipeline import STAGES

    parser = Parser(
        prog=prog,
        description="From raw BIDS to a store of parcel series: each stage alone.",
        epilog=f"stages:\n{summary(STAGES)}\n\n`{prog} run STAGE --help` shows its options and config keys.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_run(commands, STAGES, STAGES)
    add_why(commands, STAGES)
    _add_tools(commands)
    return parser


def dispatch(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run, and turn an error into one line with its remedy (`--debug` for the traceback)."""
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error (anywhere on the line)")
    # Threads that wait for each other give their core away; else they spin, and on a busy machine against each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args([word for word in words if word != "--debug"])
    try:
        _look_at_paths(arguments)
        arguments.call(arguments)
    except BrokenPipeError:  # who reads has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        said = in_words(error, getattr(arguments, "out", None) or getattr(arguments, "outdir", None))
        where = f"{arguments.stage}: " if "stage" in arguments else ""
        print(f"error: {where}{said.message}", file=sys.stderr)
        if said.remedy:
            print(f"  try: {said.remedy}", file=sys.stderr)
        return 2
    return 0


def _look_at_paths(arguments: argparse.Namespace) -> None:
    """`~` that no shell has read, because it was quoted, is the home folder; a path of no file system is refused."""
    for name, value in vars(arguments).items():
        if not isinstance(value, Path):
            continue
        if "\0" in str(value):
            raise InputError(f"{value}: not a path", "take the zero byte out")
        if str(value).startswith("~"):
            setattr(arguments, name, value.expanduser())


def summary(stages: Sequence[Stage]) -> str:
    """One line a stage."""
    return "\n".join(f"  {stage.name:<11} {stage.summary}" for stage in stages)


def add_run(commands: Any, own: Sequence[Stage], stages: Sequence[Stage]) -> None:
    """Add `run STAGE` to a parser. `own`: stages of this program; `stages`: all stages they may depend on."""
    plain = argparse.RawDescriptionHelpFormatter
    text = "Run one stage.\n\n" + summary(own)
    run = commands.add_parser("run", help="run one stage", description=text, formatter_class=plain)
    names = run.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for stage in own:
        sub = names.add_parser(
            stage.name, help=stage.summary, description=stage.summary, epilog=_config_keys(stage), formatter_class=plain
        )
        by_hand = sub.add_argument_group("by hand")
        by_hand.add_argument("--configfile", type=Path, help="a config.yaml; defaults where it is silent")
        by_hand.add_argument("--bids-dir", type=Path, help="BIDS dataset (bids_dir)")
        by_hand.add_argument("--outdir", type=Path, help="where everything is written (outdir)")
        by_hand.add_argument(
            "--recording", nargs="+", default=[], metavar="ID", help="only the bundles of these recordings or subjects"
        )
        by_hand.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="filter.high_hz=0.02 ...")
        sub.add_argument("--threads", type=int, help="numerical threads (default: config)")
        sub.add_argument("--workers", type=int, default=1, help="recordings of a bundle at once")
        by_rule = sub.add_argument_group("as a rule calls it")
        by_rule.add_argument("--bundle", help="bundle name")
        by_rule.add_argument("--route", default="native", help="native, fmriprep (preprocess.engine) or import")
        by_rule.add_argument("--cores", type=int, help="of the job: recordings at once, with --threads each")
        by_rule.add_argument("--signature", help="version, section and names as JSON")
        sub.set_defaults(call=lambda arguments: _run(arguments, stages))


def _config_keys(stage: Stage) -> str:
    """The stage's section of config.yaml, one line a key."""
    lines = [
        f"  {stage.name}.{key}: {field.description or ''} (default {field.get_default(call_default_factory=True)!r})"
        for key, field in stage.Config.model_fields.items()
    ]
    return "\n".join(["config keys:", *lines])


def _run(arguments: argparse.Namespace, stages: Sequence[Stage]) -> None:
    """One stage: by rule (listing file and signature) or by hand (plan from the config, then the same)."""
    from brainlm_data.config import read_config, split_foreign
    from brainlm_data.graph.dag import Dag
    from brainlm_data.graph.edges import load_job, on_route
    from brainlm_data.graph.remembered import place
    from brainlm_data.graph.untouched import nothing_left
    from brainlm_data.runner.bundle import run_bundle

    if arguments.bundle:
        threads = arguments.threads or 1
        limit_threads(threads)
        active = on_route(stages, arguments.route)
        job = load_job(active, arguments.stage, arguments.outdir, arguments.bundle, arguments.signature)
        run_bundle(job, max(1, (arguments.cores or 1) // threads))
        return
    if arguments.configfile is None and arguments.outdir and place(arguments.outdir).is_file():
        arguments.configfile = place(arguments.outdir)  # as the folder was made: it has the sections of all programs
    own, foreign = split_foreign(read_config(arguments), stages)
    if foreign and arguments.configfile != place(arguments.outdir or Path()):
        print(f"sections of no stage of this program, not used: {', '.join(foreign)}", file=sys.stderr)
    dag = Dag(own, stages, read=False)
    if arguments.stage not in dag.stages:
        raise ConfigError(f"not on route {dag.route}", "look at preprocess.engine and input.kind in the configuration")
    node = dag[arguments.stage]
    with nothing_left(dag.outdir), _bundles(dag, node.stage, arguments.recording) as bundles:
        limit_threads(arguments.threads or node.each)
        for bundle in bundles:
            job = load_job(list(dag.stages.values()), arguments.stage, dag.outdir, bundle, node.signature)
            ids = [unit["id"] for unit in job.units]
            if arguments.recording and not set(arguments.recording) & set(ids):
                continue
            manifest = run_bundle(job, arguments.workers)
            for entry in manifest["units"].values():
                for output in entry.get("outputs", {}).values():
                    print(f"  {output['path']}")


@contextmanager
def _bundles(dag: Dag, stage: Stage, recordings: Sequence[str]) -> Iterator[list[str]]:
    """The bundles of a stage, while the outdir is locked: as the dataset has them, else as the last plan had them.

    A stage that reads no raw file (a figure, the report) goes without the dataset.

    Raises
    ------
    InputError: one of `recordings` is not in the dataset; what reading it raises.
    """
    from brainlm_data.files import lock, sidecar
    from brainlm_data.graph.edges import reads_raw
    from brainlm_data.graph.outcome import taken
    from brainlm_data.paths import listing_path

    last = sidecar.read_record(listing_path(dag.outdir, "cohort", COHORT)).get("bundles", {})
    if last and not _is_there(dag) and not reads_raw(stage, dag.artifacts):
        print("the dataset is not there: as it was planned last", file=sys.stderr)
        with lock.hold(dag.outdir):
            yield last[stage.level]
        return
    dag.read()
    possible = {*dag.index.ids, *(subject.id for subject in dag.index.subjects), COHORT}
    if unknown := sorted(set(recordings) - possible):
        raise InputError(
            f"--recording: no {', '.join(unknown)} in {dag.config.bids_dir}", "`brainlm-data index` lists them"
        )
    dag.prepare()
    for line in taken(dag):
        print(line, file=sys.stderr)
    with dag.hold():
        yield dag.bundles.by_level[stage.level]


def _is_there(dag: Dag) -> bool:
    """Whether what the run started from still lies where it did."""
    try:
        return dag.source.exists()
    except InputError:
        return False


def limit_threads(count: int) -> None:
    """Fix the number of threads of every numerical library; must come before they are imported."""
    for variable in (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ):  # fmt: skip
        os.environ[variable] = str(count)


def _add_tools(commands: Any) -> None:
    """Commands that are not stages: each registers itself in its own module."""
    from brainlm_data import tools

    tools.register(commands)


if __name__ == "__main__":
    sys.exit(main())
