"""One training step: the official maths written plainly, the same maths as we have it, and our fast variants.

    python -m benchmarks.train_step --json [--width 256] [--mask .75] [--batch 4] [--parcels 424] [--repeats 2]

Forward, backward and AdamW on random windows of 200 steps, float32, one thread; every side in processes of its own, in
turn; medians of CPU seconds, and the largest peak of memory above that before the first step. All sides but the first
take denormal numbers for zero, as our commands do (`brainlm_model/training/machine.py`). Sides:

* `plain`: `benchmarks/plain_official.py`, which passes the official fixtures (`benchmarks.fixtures PREFIX --plain`):
  attention matrices are materialised, as the official layer does it;
* `plain_flushed`: the same, with denormal numbers as zero;
* `same`: `brainlm_model.models.official`, the same maths;
* `same_bfloat16`: matrix products in bfloat16 (`train.precision: bfloat16`), for which a CPU needs AMX or AVX512-BF16;
* `cross`: encoder on visible tokens, masked tokens as queries of cross-attention (`decoder: cross`), same sizes;
* `fast`: our model of that name at the same width: one block of axial attention on a conditional Gaussian.

Keys: `ratio_same_maths` and `ratio_fast_variant`: seconds of `plain` over those of `same` and of `fast`;
`ratio_both_flushed`: of `plain_flushed` over `same`; `ratio_bfloat16`: of `plain` over `same_bfloat16`; `peak_ratio`:
memory of `same` over that of `plain`; `model_flops_utilisation`: floating-point operations of `same`'s matrix products
(counted by torch in one pass of one window) a CPU second, over this machine's own rate of sgemm, measured in between.
What the variants learn in equal time is in docs/measurements.md (`benchmarks.pretrain`).
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_official import PlainBrainLM
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.config import ModelConfig, build
from brainlm_model.models.loss import masked_mse
from brainlm_model.models.masking import make_mask
from brainlm_model.models.official import OfficialNetwork
from brainlm_model.models.official.config import preset
from brainlm_model.models.official.files import build as build_official
from brainlm_model.training.machine import use_threads

SIDES = ("plain", "plain_flushed", "same", "same_bfloat16", "cross", "fast")


def network(side: str, parcels: int, width: int) -> Any:
    """A side's network with random weights."""
    place = torch.randn(parcels, 3, generator=torch.Generator().manual_seed(0)) * 50
    if side.startswith(("plain", "same")):
        config = preset("official-5m", num_brain_voxels=parcels, hidden_size=width, decoder_hidden_size=width)
        return OfficialNetwork(PlainBrainLM(config) if side.startswith("plain") else build_official(config), place)
    if side == "cross":
        return BrainLM(ModelConfig(parcels, width=width, heads=4, hidden=1024, decoder="cross"), place)
    return BrainLM(build("fast", parcels, width=width, hidden=width), place)


def inputs(parcels: int, mask: float, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random windows and masks."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(batch, parcels, 200, generator=random), make_mask("random", batch, parcels, 10, mask, random)


def measure(side: str, parcels: int, width: int, mask: float, batch: int) -> dict[str, float]:
    """CPU seconds and memory of one step, after one of a single window."""
    if side == "plain":
        torch.set_num_threads(1)
    else:
        use_threads(1)
    torch.manual_seed(0)
    model = network(side, parcels, width).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])

    def step(windows: int) -> None:
        x, hidden = inputs(parcels, mask, windows)
        if side.startswith("plain"):  # as the official code: every token is decoded, then the masked ones are scored
            noise = torch.rand(windows, parcels * 10) + hidden.flatten(1)
            loss = model.network(x, model.coordinates.expand(windows, -1, -1), noise, mask).loss
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=side == "same_bfloat16"):
                reconstruction = model(x, hidden)
            loss = masked_mse(reconstruction, x, hidden)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    step(1)
    with tools.Cost() as cost:
        step(batch)
    return {"cpu_s": cost.seconds, "mb": cost.mb}


def operations(side: str, parcels: int, width: int, mask: float) -> float:
    """Floating-point operations of the matrix products of one window, forward and backward."""
    model = network(side, parcels, width).train()
    x, hidden = inputs(parcels, mask, 1)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # the only one that it can count
        masked_mse(model(x, hidden), x, hidden).backward()
    return float(counter.get_total_flops())


def sgemm_rate(size: int = 2048) -> float:
    """Floating-point operations a CPU second of a square product in float32."""
    torch.set_num_threads(1)
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    rates = []
    for _ in range(5):
        begin = time.process_time()
        a @ b
        rates.append(2 * size**3 / (time.process_time() - begin))
    return statistics.median(rates)


def main() -> None:
    options = tools.parser(__doc__)
    for name, default in (("width", 256), ("batch", 4), ("parcels", 424), ("repeats", 2)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--mask", type=float, default=0.75)
    given = options.parse_args()
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    rates = []
    for _ in range(given.repeats):
        for side in SIDES:
            found[side].append(tools.apart(measure, side, given.parcels, given.width, given.mask, given.batch))
            rates.append(tools.apart(sgemm_rate))
    seconds = {side: statistics.median(one["cpu_s"] for one in runs) for side, runs in found.items()}
    memory = {side: max(one["mb"] for one in runs) for side, runs in found.items()}
    flops = {
        side: given.batch * tools.apart(operations, side, given.parcels, given.width, given.mask)
        for side in ("same", "fast")
    }
    rate = statistics.median(rates)
    result: dict[str, Any] = {
        "ratio_same_maths": seconds["plain"] / seconds["same"],
        "ratio_fast_variant": seconds["plain"] / seconds["fast"],
        "ratio_both_flushed": seconds["plain_flushed"] / seconds["same"],
        "ratio_bfloat16": seconds["plain"] / seconds["same_bfloat16"],
        "ratio_cross_decoder": seconds["plain"] / seconds["cross"],
        "peak_ratio": memory["same"] / memory["plain"],
        "peak_ratio_fast_variant": memory["fast"] / memory["plain"],
        "model_flops_utilisation": flops["same"] / seconds["same"] / rate,
        "model_flops_utilisation_fast_variant": flops["fast"] / seconds["fast"] / rate,
        "sgemm_gflops": rate / 1e9,
        "gflops_a_step": {side: value / 1e9 for side, value in flops.items()},
        "cpu_s": seconds,
        "peak_mb": memory,
        "conditions": {key: value for key, value in vars(given).items() if key != "json"},
    }
    tools.show(result, given.json)


if __name__ == "__main__":
    main()
