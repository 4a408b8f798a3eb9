"""`brainlm-data export STORE OUT --to FORMAT`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from brainlm_data.exports import FORMATS

EPILOG = "formats:\n" + "\n".join(f"  {name:<6}{text}" for name, text in FORMATS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export` to its parser."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("store", type=Path, metavar="STORE", help="store.zarr, with its tables beside it")
    parser.add_argument("outdir", type=Path, metavar="OUT", help="new folder")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True, help=", ".join(FORMATS))
    parser.add_argument("--atlas", type=Path, help="cifti: label image, for all voxels of a parcel (else its centre)")
    parser.add_argument("--force", action="store_true", help="replace an earlier export in OUT")
    parser.set_defaults(call=_export)


def _export(arguments: argparse.Namespace) -> None:
    from brainlm_data.errors import ConfigError
    from brainlm_data.exports import Options, export

    if arguments.atlas is not None and arguments.to != "cifti":
        raise ConfigError("--atlas is for --to cifti", "leave it out")
    facts = export(arguments.store, arguments.outdir, arguments.to, Options(arguments.atlas), arguments.force)
    print(f"{arguments.outdir}: {facts['Recordings']} recordings, {len(facts['Files'])} files ({arguments.to})")
    for text in facts.get("Warnings", []):
        print(f"warning: {text}")
