"""`brainlm-model`: train and evaluate as stages, embed recordings, convert official checkpoints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data import InputError, add_run, config_schema, config_text, dispatch, open_store, stage_summary


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainlm-model`."""
    from brainlm_model import alone
    from brainlm_model.stages import ALL_STAGES, STAGES

    parser = argparse.ArgumentParser(
        prog="brainlm-model",
        description="Masked autoencoders of brain recordings: training, evaluation, report.",
        epilog="stages:\n" + stage_summary(STAGES) + "\n\n`brainlm-model run STAGE --help` shows its config keys.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_run(commands, STAGES, ALL_STAGES)
    alone.add_commands(commands)
    embed = commands.add_parser("embed", help="embed recordings with a trained model: one row of a table each")
    embed.add_argument("model", type=Path, help="folder of a trained model: <outdir>/models/<name>")
    embed.add_argument(
        "recordings", nargs="+", type=Path, help="store.zarr, or parcel series (.tsv, .npy: time x parcel)"
    )
    embed.add_argument("--out", type=Path, required=True, help="table to write (.tsv): id, then one column a dimension")
    embed.add_argument("--split", help="of a store: only this split")
    embed.set_defaults(call=_embed)
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
    return dispatch(parser, argv)


def _convert(arguments: argparse.Namespace) -> None:
    from brainlm_model import official

    if arguments.to == "model":
        said = official.to_model(arguments.source, arguments.target, arguments.scaler, arguments.store)
    elif arguments.store is not None or arguments.scaler is not None:
        raise InputError("convert --to hf takes no store and no scaler", "leave out --store and --scaler")
    else:
        said = official.to_hf(arguments.source, arguments.target)
    print("\n".join(said))


def _embed(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from brainlm_model.checkpoint import load

    model = load(arguments.model)
    rows, skipped = {}, []
    for path in arguments.recordings:
        for name, series in _series(path, arguments.split):
            if len(series) < model.config.window:
                skipped.append(f"{name} ({len(series)} steps)")
                continue
            rows[name] = model.embed(series)
    if not rows:
        raise InputError(f"no recording has {model.config.window} steps: {', '.join(skipped[:5])}", "longer recordings")
    columns = [f"cls_{i:03d}" for i in range(model.config.width)]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out, sep="\t", index_label="id", float_format="%.9g")
    print(f"{len(table)} recordings x {table.shape[1]} dimensions: {arguments.out}")
    if skipped:
        print(f"left out, shorter than the model's window: {', '.join(skipped)}")


def _series(path: Path, split: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """(id, series (time, parcel)) of a store or of one file."""
    import pandas as pd

    if path.is_dir():
        store = open_store(path)
        table = store.recordings[store.recordings["status"] == "done"]
        if split is not None:
            table = table[table["split"] == split]
        for name in table["id"]:
            yield name, store.series(name)
        return
    try:
        if path.suffix == ".npy":
            series: Any = np.load(path, allow_pickle=False)
        else:
            series = pd.read_csv(path, sep="\t", na_values=["n/a"]).to_numpy(dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: {error}", "give a .tsv with one column a parcel, or a .npy (time, parcel)"
        ) from error
    yield path.name.removesuffix(path.suffix), series


if __name__ == "__main__":
    raise SystemExit(main())
