"""`brainlm-data fetch openneuro|abide`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from brainlm_data.downloads.openneuro import DATATYPES, URL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sources of `fetch` to its parser."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    neuro = sources.add_parser("openneuro", help="a raw BIDS data set of openneuro.org")
    neuro.add_argument("dataset", metavar="DS", help="accession number, ds000030")
    neuro.add_argument("outdir", type=Path, metavar="OUT", help="the BIDS folder")
    neuro.add_argument("--participant-label", nargs="+", default=[], metavar="LABEL", help="only these (default: all)")
    neuro.add_argument(
        "--datatypes", nargs="+", default=list(DATATYPES), metavar="NAME", help="anat func fmap (default), or all"
    )
    neuro.add_argument("--connections", type=int, default=4, help="files at a time (4)")
    neuro.add_argument("--dry-run", action="store_true", help="say how much it is, fetch nothing")
    neuro.add_argument("--url", default=URL, help=f"of the bucket ({URL})")
    neuro.set_defaults(call=_openneuro)
    abide = sources.add_parser("abide", help="parcel series of the ABIDE Preprocessed Connectomes Project, by nilearn")
    abide.add_argument("outdir", type=Path, metavar="OUT", help="folder; the series are below ABIDE_pcp/")
    abide.add_argument("--atlas", default="cc200", help="cc200 (default), cc400, aal, ez, ho, tt, dosenbach160")
    abide.add_argument("--pipeline", default="cpac", help="cpac (default), ccs, dparsf, niak")
    abide.add_argument("--no-band-pass", action="store_true", help="nofilt: no .01-.1 Hz band-pass")
    abide.add_argument("--global-signal-regression", action="store_true", help="global instead of noglobal")
    abide.add_argument("--subjects", type=int, help="how many (default: all)")
    abide.set_defaults(call=_abide)


def _openneuro(arguments: argparse.Namespace) -> None:
    from brainlm_data.downloads.openneuro import Wanted, fetch
    from brainlm_data.downloads.s3 import Bucket
    from brainlm_data.errors import ConfigError

    if not 1 <= arguments.connections <= 32:
        raise ConfigError(f"--connections {arguments.connections}", "1 to 32")
    types = () if "all" in arguments.datatypes else tuple(arguments.datatypes)
    wanted = Wanted(arguments.dataset, tuple(arguments.participant_label), types)
    bucket = Bucket(arguments.url.rstrip("/"))
    counts = fetch(bucket, wanted, arguments.outdir, arguments.connections, arguments.dry_run)
    size = f"{counts['files']} files, {counts['bytes'] / 1e9:.2f} GB"
    print(size if arguments.dry_run else f"{arguments.outdir}: {size}; {counts['fetched']} fetched now")


def _abide(arguments: argparse.Namespace) -> None:
    from brainlm_data.downloads.abide import Wanted, fetch

    wanted = Wanted(
        arguments.atlas, arguments.pipeline, not arguments.no_band_pass, arguments.global_signal_regression,
        arguments.subjects,
    )  # fmt: skip
    folder, count = fetch(wanted, arguments.outdir)
    print(f"{folder}: {count} series; the project's table has no TR, so give it with --participants or --tr:")
    print(f"  brainlm-data import pcp {folder} STORE --participants TABLE")
