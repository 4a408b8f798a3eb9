"""Commands of `brainlm-data` that are not stages: index, verify, fmriprep-command, simulate, fetch, import, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(commands: Any) -> None:
    """Add every tool to the parser."""
    from brainlm_data.imports import KINDS

    index = commands.add_parser("index", help="list the recordings of a BIDS dataset, or of a folder to import")
    index.add_argument("bids_dir", type=Path, metavar="PATH", help="BIDS dataset; with --kind, what to import")
    index.add_argument("--kind", choices=tuple(KINDS), metavar="KIND", help=f"to import: {', '.join(KINDS)}")
    index.add_argument("--atlas", help="of images to import, as `import` takes it: which space is meant (A424)")
    index.add_argument("--space", help="of fMRIPrep's derivatives, as `import` takes it")
    index.set_defaults(call=_index)

    verify = commands.add_parser(
        "verify", help="check every file of a run (and that it is what was asked), a store, a model or an export"
    )
    verify.add_argument(
        "folder", type=Path, metavar="FOLDER", help="outdir, or folder of an import, a model, an export"
    )
    verify.set_defaults(call=_verify)

    fmriprep = commands.add_parser("fmriprep-command", help="show the fMRIPrep call of a subject, without running it")
    fmriprep.add_argument("subject", help="label, without sub-")
    fmriprep.add_argument("--bids-dir", type=Path, required=True)
    fmriprep.add_argument("--outdir", type=Path, required=True)
    fmriprep.add_argument("--configfile", type=Path)
    fmriprep.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    fmriprep.set_defaults(call=_fmriprep_command)

    simulate = commands.add_parser("simulate", help="write a simulated BIDS dataset with known truth")
    from brainlm_data.simulate import add_arguments

    add_arguments(simulate)

    fetched = commands.add_parser("fetch", help="public data sets: OpenNeuro, ABIDE")
    from brainlm_data.downloads import command as fetch_command

    fetch_command.add_arguments(fetched)

    series = commands.add_parser("import", help="parcel series that exist already into a store")
    from brainlm_data.imports import command

    command.add_arguments(series)

    out = commands.add_parser("export", help="a store for other programs: HF Arrow, .npy, CIFTI")
    from brainlm_data.exports import command as export_command

    export_command.add_arguments(out)


def _index(arguments: argparse.Namespace) -> None:
    from brainlm_data.bids.index import Select, read_index
    from brainlm_data.errors import one_line

    if arguments.kind:
        return _index_import(arguments.kind, arguments.bids_dir, arguments.atlas, arguments.space)
    index = read_index(arguments.bids_dir, Select.model_validate({}))
    with_t1w = {s.id for s in index.subjects if s.t1w}
    print("recording\ttr_s\tt1w\tfieldmaps")
    for r in index.recordings:
        t1w = "yes" if f"sub-{r.subject}" in with_t1w else "no"
        tr_s = r.metadata.get("RepetitionTime")
        print(f"{r.id}\t{'n/a' if tr_s is None else tr_s}\t{t1w}\t{len(r.fieldmaps)}")
    for r in index.recordings:
        if r.fault:
            print(one_line(f"refused: {r.id}: {r.fault}"))
    for note in (*index.said(), *index.lacking()):
        print(one_line(f"note: {note}"))
    for reason in index.ignored:
        print(one_line(f"ignored: {reason}"))


def _index_import(kind: str, path: Path, atlas: str | None, space: str | None) -> None:
    """The recordings that `brainlm-data import` would read, and what it leaves aside; no image is read."""
    from brainlm_data.imports import Options, Treatment, read

    source = read(kind, path, Options(images=Treatment(atlas=atlas, space=space)))
    print("recording\ttr_s")
    for series in source.series:
        print(f"{series.id}\t{'n/a' if series.tr_s is None else series.tr_s}")
    for note in (*source.people.notes(), *(f"{name}: {text}" for name, text in source.people.columns().items())):
        print(f"note: {note}")
    for reason in source.left_aside:
        print(f"ignored: {reason}")


def _fmriprep_command(arguments: argparse.Namespace) -> None:
    import shlex

    from brainlm_data.config import read_config, section_from
    from brainlm_data.stages import fmriprep

    config = section_from(read_config(arguments).get("fmriprep", {}), fmriprep.STAGE)
    assert isinstance(config, fmriprep.Config)
    derivatives = arguments.outdir / "derivatives" / "fmriprep"
    work = config.work_dir or arguments.outdir / "work" / "fmriprep-scratch"
    print(shlex.join(fmriprep.command(arguments.bids_dir, derivatives, work, arguments.subject, config)))


def _verify(arguments: argparse.Namespace) -> None:
    from brainlm_data.runner.verify import verify

    verify(arguments.folder)
