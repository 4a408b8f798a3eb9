"""`brainlm-data import KIND PATH OUTDIR`: its options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from brainlm_data.errors import ConfigError, InputError, one_line
from brainlm_data.imports import KINDS, Options, Treatment

EPILOG = "kinds:\n" + "\n".join(f"  {kind:<13}{text}" for kind, text in KINDS.items())
SHOWN = 20  # refusals that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `import` to its parser."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", choices=tuple(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("path", type=Path, metavar="PATH", help="file or folder")
    parser.add_argument("outdir", type=Path, metavar="OUTDIR", help="new folder: store.zarr and its tables")
    parser.add_argument("--hz", type=float, default=1.0, help="steps per second (1)")
    parser.add_argument(
        "--external", action="append", default=[], metavar="COLUMN=VALUE[,VALUE...]",
        help="an external test: who has one of these values in the participants' table; can be repeated",
    )  # fmt: skip
    parser.add_argument("--validation", type=float, default=0.1, help="share of the other subjects (0.1)")
    parser.add_argument("--test", type=float, default=0.1, help="share of the other subjects (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (0)")
    parser.add_argument("--tr", type=float, metavar="S", help="one TR for all, s")
    parser.add_argument("--participants", type=Path, metavar="TSV", help="table of the participants (.tsv, .csv)")
    parser.add_argument(
        "--atlas-labels", type=Path, metavar="TSV", help="one row per parcel: index, name, network, x, y, z"
    )
    parser.add_argument(
        "--events", type=Path, metavar="TSV",
        help="conditions of a task: columns recording, onset, duration (s), trial_type (docs/stages/events.md)",
    )  # fmt: skip
    parser.add_argument("--name", help="of the data set, on the card (default: PATH's)")
    parser.add_argument("--workers", type=int, default=1, help="processes that read images and write the store (1)")
    parser.add_argument("--force", action="store_true", help="replace the store in OUTDIR")
    images = parser.add_argument_group("of images (kinds fmriprep, hcp, ukb)")
    images.add_argument("--atlas", help="A424 (default), demo424, or a label image")
    images.add_argument(
        "--space", help="fmriprep: as in its --output-spaces, MNI152NLin6Asym:res-2 (default: the atlas's)"
    )
    images.add_argument("--strategy", help="fmriprep: what is regressed out (acompcor); see docs/stages/denoise.md")
    images.add_argument("--low-hz", type=float, help="high-pass, Hz; 0: none (fmriprep .01, else the source's alone)")
    images.add_argument("--high-hz", type=float, help="low-pass, Hz; 0: none (none)")
    images.add_argument("--censor-fd-mm", type=float, help="volumes that moved more are interpolated and marked")
    images.add_argument(
        "--scale", choices=("grand_mean", "percent"), help="percent: of each parcel's own mean (grand_mean)"
    )
    images.add_argument("--allow-space-mismatch", action="store_true", help="an atlas of another template space")
    parser.set_defaults(call=_import)


def _import(arguments: argparse.Namespace) -> None:
    from brainlm_data.config import section_from
    from brainlm_data.dataset.gather import Config
    from brainlm_data.imports import read
    from brainlm_data.imports.write import Request, write
    from brainlm_data.stages import collate

    given: dict[str, Any] = {key: getattr(arguments, key) for key in ("validation", "test", "seed")}
    given |= {"external": _external(arguments.external), "threads": arguments.workers}
    config = section_from(given, collate.STAGE)
    assert isinstance(config, Config)
    if not 0.01 <= arguments.hz <= 10:
        raise ConfigError(f"--hz {arguments.hz:g}", "0.01 to 10 steps per second")
    for path in (arguments.path, arguments.participants, arguments.atlas_labels, arguments.events):
        if path is not None and not path.exists():
            raise InputError(f"{path}: there is no such file", "give a path that exists")
    words = {key: value for key, value in vars(arguments).items() if key not in {"call", "command", "force", "workers"}}
    told = {key: value.name if isinstance(value, Path) else value for key, value in words.items() if key != "outdir"}
    name = arguments.name or arguments.path.resolve().name
    request = Request(
        arguments.kind, arguments.path, name, arguments.hz, arguments.atlas_labels, told, arguments.events
    )
    images = Treatment(
        arguments.space, arguments.atlas, arguments.strategy, arguments.low_hz, arguments.high_hz,
        arguments.censor_fd_mm, arguments.allow_space_mismatch, arguments.scale,
    )  # fmt: skip
    options = Options(arguments.tr, arguments.participants, arguments.atlas_labels, images)
    source = read(arguments.kind, arguments.path, options)
    for reason in source.left_aside:
        print(one_line(f"left aside: {reason}"), file=sys.stderr)
    facts = write(source, request, arguments.outdir, config, arguments.force)
    counts = ", ".join(f"{count} {split}" for split, count in facts["Subjects"].items())
    print(f"{arguments.outdir}/store.zarr: {facts['Recordings']} recordings; subjects: {counts}")
    for text in facts["Warnings"]:
        print(one_line(f"warning: {text}"), file=sys.stderr)
    if facts["Refused"]:
        print(f"{facts['Refused']} refused (all in recordings.parquet):")
        for refused, reason in list(facts["Reasons"].items())[:SHOWN]:
            print(f"  {refused}: {reason}")


def _external(words: list[str]) -> dict[str, list[str]]:
    """`["site=A,B"]` as a mapping."""
    columns: dict[str, list[str]] = {}
    for word in words:
        column, equals, values = word.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not column.strip() or not listed:
            raise ConfigError(f"--external {word}", "write COLUMN=VALUE[,VALUE...], for example site=NYU,KKI")
        columns.setdefault(column.strip(), []).extend(listed)
    return columns
