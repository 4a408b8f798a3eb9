"""`brainlm-model`: train and evaluate as stages, embed recordings, fine-tune, convert official checkpoints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from brainlm_data import InputError, Parser, add_run, add_why, config_schema, config_text, dispatch, stage_summary
from brainlm_model.commands import embed
from brainlm_model.finetune import command as finetune_command


def main(argv: Sequence[str] | None = None, prog: str = "brainlm-model") -> int:
    """Entry point of `brainlm-model`, and of `brainlm model`."""
    return dispatch(made(prog), argv)


def made(prog: str = "brainlm-model") -> Parser:
    """The parser of all commands."""
    from brainlm_model.commands import alone
    from brainlm_model.stages import ALL_STAGES, STAGES

    parser = Parser(
        prog=prog,
        description="Masked autoencoders of brain recordings: training, evaluation, report.",
        epilog=f"stages:\n{stage_summary(STAGES)}\n\n`{prog} run STAGE --help` shows its config keys.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_run(commands, STAGES, ALL_STAGES)
    add_why(commands, ALL_STAGES)
    alone.add_commands(commands)
    embed.add(commands)
    finetune_command.add(commands)
    convert = commands.add_parser("convert", help="an official BrainLM checkpoint into a model of ours, and back")
    convert.add_argument("source", type=Path, help="folder with config.json and weights; with --to hf a converted one")
    convert.add_argument("target", type=Path, help="new folder")
    convert.add_argument(
        "--to", choices=("model", "hf"), default="model",
        help="model (default): for embed and evaluate; hf: for the official code",
    )  # fmt: skip
    convert.add_argument("--store", type=Path, help="store.zarr: the parcels' coordinates, and scaler.npz beside it")
    convert.add_argument("--scaler", type=Path, help="scaler.npz of the weights' own training data")
    convert.set_defaults(call=_convert)
    defaults = commands.add_parser("defaults", help="print config.yaml: every key with its default and a comment")
    defaults.set_defaults(call=lambda _: print(config_text(ALL_STAGES), end=""))
    schema = commands.add_parser("schema", help="print the JSON schema of config.yaml")
    schema.set_defaults(call=lambda _: print(json.dumps(config_schema(ALL_STAGES), indent=2, sort_keys=True)))
    return parser


def _convert(arguments: argparse.Namespace) -> None:
    from brainlm_model.models import official

    if arguments.to == "model":
        said = official.to_model(arguments.source, arguments.target, arguments.scaler, arguments.store)
    elif arguments.store is not None or arguments.scaler is not None:
        raise InputError("convert --to hf takes no store and no scaler", "leave out --store and --scaler")
    else:
        said = official.to_hf(arguments.source, arguments.target)
    print("\n".join(said))


if __name__ == "__main__":
    raise SystemExit(main())
