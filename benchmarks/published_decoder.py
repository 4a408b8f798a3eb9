"""What the published sizes of the decoder cost on this machine, one thread.

    python -m benchmarks.published_decoder --json

`scmbm_step_cpu_s`: a training step of `scmbm-1024` (forward, backward, AdamW) on 8 patterns of 4,643 voxels (GOD's
subject 3), the median of three. `unet_step_cpu_s`: one denoising step of one picture by a UNet of the published shape
(latents 3 x 64 x 64, 192 to 960 channels, both conditions), random weights, `unet_millions` of them; 250 such steps
make a sample. `*_mb`: peak memory of each, in a process of its own.
"""

from __future__ import annotations

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import torch
from torch import Generator

from brainlm_model.decode.extra import needed
from brainlm_model.decode.scmbm import SCMBM, SIZES, drawn_visible, padded_length

VOXELS, BATCH = 4643, 8
CHANNELS = 512  # of the context
UNET = {
    "sample_size": 64, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "attention_head_dim": 32,
    "block_out_channels": (192, 384, 576, 960), "cross_attention_dim": CHANNELS,
    "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
    "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
    "class_embed_type": "projection", "projection_class_embeddings_input_dim": CHANNELS,
}  # fmt: skip


def scmbm_step() -> tuple[float, float]:
    """CPU s and MB of a training step of SC-MBM."""
    torch.set_num_threads(1)
    size, draws = SIZES["scmbm-1024"], Generator().manual_seed(0)
    length = padded_length(VOXELS, size.patch)
    network = SCMBM(size, length // size.patch).train()
    optimizer = torch.optim.AdamW(network.parameters(), 2.5e-4, betas=(0.9, 0.95), weight_decay=0.05)
    x_BV = torch.randn(BATCH, length, generator=draws)

    def step() -> None:
        optimizer.zero_grad()
        network(x_BV, drawn_visible(BATCH, network.tokens, 0.75, draws)).loss.backward()
        optimizer.step()

    return float(tools.median_cost(step, 3)[0]), tools.memory_mb()


def unet_step() -> tuple[float, float, float]:
    """CPU s and MB of a denoising step, and millions of weights."""
    torch.set_num_threads(1)
    unet = needed("diffusers").UNet2DConditionModel(**UNET).eval()
    z, context, vector = torch.randn(1, 3, 64, 64), torch.randn(1, 77, CHANNELS), torch.randn(1, CHANNELS)
    with torch.no_grad():
        seconds = tools.median_cost(
            lambda: unet(z, torch.tensor([500]), encoder_hidden_states=context, class_labels=vector), 3
        )[0]
    return float(seconds), tools.memory_mb(), sum(weights.numel() for weights in unet.parameters()) / 1e6


def main() -> None:
    """Command line."""
    options = tools.parser(__doc__).parse_args()
    scmbm_s, scmbm_mb = tools.apart(scmbm_step)
    unet_s, unet_mb, millions = tools.apart(unet_step)
    result = {
        "scmbm_step_cpu_s": scmbm_s, "scmbm_mb": scmbm_mb,
        "unet_step_cpu_s": unet_s, "unet_mb": unet_mb, "unet_millions": millions,
    }  # fmt: skip
    tools.show(result, options.json)


if __name__ == "__main__":
    main()
