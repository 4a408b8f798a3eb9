"""Outputs of the official code against ours: every stored array, its largest difference, and whether that is within.

    python -m benchmarks.fixtures PREFIX --json [--plain]

PREFIX.json has `config` (the fields of the official config.json), PREFIX.weights.safetensors the state dict (the
sinusoids and the dead `decoder.decoder_pred.*` may be left out), PREFIX.npz the inputs `in.*` and what the official
code returned as `<case>.<output>`. A case's name says how it was run, parts joined by `_`: `mr0.75` the mask ratio;
`mae`, `mse` the loss; `enc25x5`, `dec49x7` segment length and landmarks of encoder and decoder; of a ViTMAE `auto`,
`last`, `lastpix` the mode. What a name does not say is the config's. A part that is not known is listed in `unknown`.

Outputs: loss, logits, latent, cls, mask, ids_restore, hidden_I, attn_I, grad.PARAMETER; of a ViTMAE also pixel_mask,
cls_ln, encoder_last_hidden_pre_ln_cls. A suffix `_f16`, `_f32`, `_PxT` says how it is stored, `_rowsA_B` which parcels.

`max_abs` is the largest difference, `max_rel` that over the largest stored value. Tolerance: 2e-5 + 1e-5 of the value;
half a unit in the last place more where float16 is stored; NaN equals NaN. Integers and booleans have to be equal.
Torch's conv2d computes the gradient of the depthwise kernel wrongly on some CPUs (docs/official.md), and ours does not:
where a stored gradient of `conv.weight` is not ours, it is compared with the plain version's, which uses conv2d, and
listed in `torch_conv2d` if it is that one. Exit status 1 where anything is not within. `--plain` runs
`benchmarks/plain_official.py` instead of `brainlm_model/official`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.plain_official import PlainBrainLM
from brainlm_data import InputError
from brainlm_model.models.official import OfficialBrainLM
from brainlm_model.models.official.config import BrainLMConfig, Config, from_hf
from brainlm_model.models.official.files import Network, build, load_weights, read_tensors
from brainlm_model.models.official.parts import Output

ABSOLUTE, RELATIVE = 2e-5, 1e-5
MODES = {"auto": "auto_encode", "last": "predict_last", "lastpix": "predict_last_pixel"}
INPUTS = ("noise",)  # of a case: given to the model, not compared


@dataclass
class Case:
    """How a case was run, from its name."""

    mask_ratio: float | None = None
    loss_fn: str | None = None
    mode: str | None = None
    landmarks: dict[str, tuple[int, int]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def parse(name: str) -> Case:
    """`mr0.5_enc25x5_dec49x7` -> mask ratio .5, encoder (25, 5), decoder (49, 7)."""
    case = Case()
    for part in name.split("_"):
        if match := re.fullmatch(r"mr(\d*\.?\d+)", part):
            case.mask_ratio = float(match[1])
        elif match := re.fullmatch(r"(enc|dec)(\d+)x(\d+)", part):
            case.landmarks[match[1]] = (int(match[2]), int(match[3]))
        elif part in ("mse", "mae"):
            case.loss_fn = part
        elif part in MODES:
            case.mode = MODES[part]
        else:
            case.unknown.append(part)
    return case


def names(keys: list[str]) -> dict[str, list[str]]:
    """Outputs by case. A case's name may have points in it (`mr0.5`): it ends at the first that no digit follows."""
    found: dict[str, list[str]] = {}
    for key in keys:
        match = re.fullmatch(r"(.*?)\.(?!\d)(.+)", key)
        if match and match[1] != "in":
            found.setdefault(match[1], []).append(match[2])
    return found


def run(
    config: Config, weights: dict[str, Tensor], case: Case, arrays: dict[str, NDArray[Any]], name: str, plain: bool
) -> tuple[Network, Output]:
    """The network after a case, with its gradients where any are stored, and its output."""

    def given(*keys: str) -> Tensor | None:
        return next((torch.from_numpy(arrays[key]) for key in keys if key in arrays), None)

    network = PlainBrainLM(config) if plain and isinstance(config, BrainLMConfig) else build(config)
    load_weights(network.eval(), weights, "weights")
    if case.landmarks and isinstance(network, OfficialBrainLM):
        both = (network.config.segment_means_seq_len, network.config.num_landmarks)
        network.set_landmarks(case.landmarks.get("enc", both), case.landmarks.get("dec", both))
    windows = [key for key in arrays if key.startswith("in.") and key not in ("in.xyz", "in.noise")]
    if len(windows) != 1:
        raise InputError(f"{name}: windows in {', '.join(windows) or 'no array'}", "one array, in.signal")
    signal = torch.from_numpy(arrays[windows[0]]).float()
    noise = given(f"{name}.noise", "in.noise")
    if noise is None and (places := given(f"{name}.ids_restore")) is not None:
        noise = places.float()  # a token's place in the order does as noise
    outputs = [key.removeprefix(f"{name}.") for key in arrays if key.startswith(f"{name}.")]
    details = any(key.startswith(("hidden_", "attn_", "encoder_")) for key in outputs)
    gradients = any(key.startswith("grad.") for key in outputs)
    with torch.set_grad_enabled(gradients):
        if isinstance(network, OfficialBrainLM):
            xyz = given(f"{name}.xyz", "in.xyz")
            if xyz is None:
                raise InputError("no in.xyz", "the coordinates that the official model was given")
            found = network(signal, xyz.float().expand(len(signal), -1, -1), noise, case.mask_ratio, details)
        else:
            found = network(signal, noise, case.mask_ratio, case.mode, details)
    if gradients:
        found.loss.backward()
    return network, found


def output(name: str, found: Output, network: Network) -> Tensor | None:
    """Our value of a stored output; None where there is nothing of that name."""
    stem, rows = re.sub(r"(_f16|_f32|_\d+x\d+)+$", "", name), None
    if match := re.fullmatch(r"(.+)_rows(\d+)_(\d+)", stem):
        stem, rows = match[1], slice(int(match[2]), int(match[3]))
    if match := re.fullmatch(r"(hidden|attn)_(\d+)", stem):
        each = found.hidden_states if match[1] == "hidden" else found.attentions
        return each[int(match[2])] if int(match[2]) < len(each) else None
    if stem.startswith("grad."):
        return dict(network.named_parameters())[stem.removeprefix("grad.")].grad
    plain = {
        "loss": found.loss,
        "logits": found.logits,
        "latent": found.latent,
        "cls": found.cls,
        "cls_ln": found.cls,
        "mask": found.mask,
        "pixel_mask": found.mask,
        "ids_restore": found.ids_restore,
        "encoder_last_hidden_pre_ln_cls": found.hidden_states[-1][:, 0] if found.hidden_states else None,
    }
    value = plain.get(stem)
    return value if value is None or rows is None else value[:, rows]


def compare(ours: NDArray[Any], stored: NDArray[Any]) -> dict[str, Any]:
    """Largest absolute difference, the same over the largest stored value, and whether all are within."""
    if ours.shape != stored.shape:
        return {
            "max_abs": None,
            "max_rel": None,
            "within": False,
            "reason": f"shape {ours.shape}, stored {stored.shape}",
        }
    a, b = ours.astype(np.float64), stored.astype(np.float64)
    allowed = np.zeros_like(b)
    if stored.dtype.kind == "f":
        allowed = np.nan_to_num(ABSOLUTE + RELATIVE * np.abs(b))
    if stored.dtype == np.float16:
        allowed += np.nan_to_num(np.spacing(np.abs(stored)).astype(np.float64)) / 2
    difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    finite = not np.isnan(difference).any()  # NaN on one side only
    worst = float(difference.max(initial=0)) if finite else None
    largest = float(np.nan_to_num(np.abs(b)).max(initial=0))
    relative = worst / largest if worst is not None and largest else None
    return {"max_abs": worst, "max_rel": relative, "within": finite and bool((difference <= allowed).all())}


def check(prefix: str, plain: bool = False) -> dict[str, Any]:
    """All cases of a fixture."""
    content = json.loads(Path(f"{prefix}.json").read_text())
    config = from_hf(content.get("config", content), f"{prefix}.json")
    if plain and not isinstance(config, BrainLMConfig):
        raise InputError(f"{prefix}: --plain has no ViTMAE", "leave it out")
    weights = read_tensors(Path(f"{prefix}.weights.safetensors"))
    with np.load(f"{prefix}.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    cases: dict[str, Any] = {}
    unknown: dict[str, list[str]] = {}
    for name, outputs in names(list(arrays)).items():
        case = parse(name)
        if case.unknown:
            unknown[name] = case.unknown
        own = replace(config, loss_fn=case.loss_fn) if case.loss_fn and isinstance(config, BrainLMConfig) else config
        wanted = {key: arrays[f"{name}.{key}"] for key in outputs if key not in INPUTS}
        cases[name] = _each(wanted, *run(own, weights, case, arrays, name, plain))
        kernels = [k for k, r in cases[name].items() if re.fullmatch(r"grad\..*\.conv\.weight", k) and not r["within"]]
        if kernels and not plain:
            theirs = _each(wanted, *run(own, weights, case, arrays, name, True))
            cases[name] |= {key: {**theirs[key], "torch_conv2d": True} for key in kernels if theirs[key]["within"]}
    each = {f"{case}.{key}": result for case, found in cases.items() for key, result in found.items()}
    differences = [r["max_abs"] for r in each.values() if r["max_abs"] is not None and r["kind"] != "f2"]
    network = build(config)
    return {
        "fixture": Path(prefix).name,
        "architecture": PlainBrainLM.__name__ if plain else type(network).__name__,
        "within": bool(each) and all(r["within"] for r in each.values()),
        "arrays": len(each),
        "not_within": [key for key, r in each.items() if not r["within"]],
        "torch_conv2d": [key for key, r in each.items() if "torch_conv2d" in r],
        "max_abs": max(differences, default=None),
        "tolerance": {"absolute": ABSOLUTE, "relative": RELATIVE, "float16": "half a unit in the last place more"},
        "keys_absent_in_weights": load_weights(network, weights, f"{prefix}.weights.safetensors"),
        "unknown": unknown,
        "cases": cases,
    }


def _each(wanted: dict[str, NDArray[Any]], network: Network, found: Output) -> dict[str, dict[str, Any]]:
    return {key: _one(key, found, network, stored) for key, stored in wanted.items()}


def _one(key: str, found: Output, network: Network, stored: NDArray[Any]) -> dict[str, Any]:
    kind = f"{stored.dtype.kind}{stored.dtype.itemsize}"
    try:
        value = output(key, found, network)
    except KeyError as error:
        return {"max_abs": None, "within": False, "kind": kind, "reason": f"no parameter {error}"}
    if value is None:
        return {"max_abs": None, "within": False, "kind": kind, "reason": "nothing of that name"}
    return {"kind": kind, **compare(value.detach().numpy(), stored)}


def main() -> int:
    arguments = tools.parser(__doc__)
    arguments.add_argument("prefix", help="path of the fixture without .json")
    arguments.add_argument("--plain", action="store_true", help="the plain version instead of the product's")
    given = arguments.parse_args()
    try:
        result = check(given.prefix.removesuffix(".json"), given.plain)
    except (InputError, OSError) as error:
        result = {"fixture": Path(given.prefix).name, "within": False, "error": str(error)}
    tools.show(result, given.json)
    return 0 if result["within"] else 1


if __name__ == "__main__":
    sys.exit(main())
