"""The official architectures written from their description, in numpy, float64, token by token and matrix by matrix.

Nothing of `brainlm_model` is used: what the tests compare the modules with. `w` is a state dict of arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import erf, softmax

Weights = dict[str, Any]


def linear(w: Weights, name: str, x: Any) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: Weights, name: str, x: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Any) -> Any:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def wave(place: int, width: int) -> Any:
    """Sinusoid of a time patch."""
    found = np.zeros(width)
    for i in range(0, width, 2):
        found[i], found[i + 1] = math.sin(place / 1e4 ** (i / width)), math.cos(place / 1e4 ** (i / width))
    return found


def split(x: Any, heads: int) -> Any:
    """(L, D) -> (H, L, D / H)."""
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def inverse(k: Any, largest: float) -> Any:
    """Six iterations towards the inverse of one head's matrix; `largest` column sum of all heads and windows."""
    z, one = k.T / largest, np.eye(len(k))
    for _ in range(6):
        z = z @ (13 * one - k @ z @ (15 * one - k @ z @ (7 * one - k @ z))) / 4
    return z


def post_norm_layer(w: Weights, name: str, x_BLD: Any, c: dict[str, Any], heads: int, segment: tuple[int, int]) -> Any:
    """A layer of Nystromformer over a batch, because its approximation looks at the whole of it."""
    length, landmarks = segment
    parts = [
        [split(linear(w, f"{name}.attention.self.{part}", x), heads) for part in ("query", "key", "value")]
        for x in x_BLD
    ]
    mean = lambda t: t.reshape(heads, landmarks, length // landmarks, -1).mean(2)  # noqa: E731
    root = math.sqrt(parts[0][0][0].shape[-1])
    if length != landmarks:
        kernels = [softmax(mean(q) @ mean(k).swapaxes(1, 2) / root, axis=-1) for q, k, _ in parts]
        largest = max(k.sum(axis=1).max() for k in kernels)
    out = []
    for number, (x, (q, k, v)) in enumerate(zip(x_BLD, parts, strict=True)):
        mixed = np.zeros_like(v)
        for h in range(heads):
            if length == landmarks:
                mixed[h] = softmax(q[h] @ k[h].T / root, axis=-1) @ v[h]
            else:
                first = softmax(q[h] @ mean(k)[h].T / root, axis=-1) @ inverse(kernels[number][h], largest)
                mixed[h] = first @ (softmax(mean(q)[h] @ k[h].T / root, axis=-1) @ v[h])
            kernel = w[f"{name}.attention.self.conv.weight"][h, 0, :, 0]
            reach = len(kernel) // 2
            for token in range(len(x)):
                for tap, weight in enumerate(kernel):
                    if 0 <= token + tap - reach < len(x):
                        mixed[h, token] += weight * v[h, token + tap - reach]
        joined = mixed.swapaxes(0, 1).reshape(len(x), -1)
        y = norm(w, f"{name}.attention.output.LayerNorm", linear(w, f"{name}.attention.output.dense", joined) + x,
                 c["layer_norm_eps"])  # fmt: skip
        z = linear(w, f"{name}.output.dense", gelu(linear(w, f"{name}.intermediate.dense", y)))
        out.append(norm(w, f"{name}.output.LayerNorm", z + y, c["layer_norm_eps"]))
    return np.stack(out)


def brainlm(
    w: Weights, c: dict[str, Any], signal: Any, xyz: Any, noise: Any, ratio: float, encoder: Any, decoder: Any
) -> dict[str, Any]:
    """Outputs of the official BrainLM; `encoder`, `decoder`: (segment length, landmarks)."""
    batch, parcels, steps = signal.shape
    size, width = c["timepoint_patching_size"], c["hidden_size"]
    patches = steps // size
    total = parcels * patches
    keep = int(total * (1 - ratio))
    order = np.argsort(noise, axis=1)
    x = []
    for b in range(batch):
        tokens = []
        for token in order[b, :keep]:
            p, n = divmod(token, patches)
            values = linear(w, "vit.embeddings.signal_embedding_projection", signal[b, p, n * size : (n + 1) * size])
            tokens.append(values + linear(w, "vit.embeddings.xyz_embedding_projection", xyz[b, p]) + wave(n, width))
        x.append([w["vit.embeddings.cls_token"][0, 0], *tokens])
    x = np.array(x)
    found = {"hidden_0": x}
    for i in range(c["num_hidden_layers"]):
        x = post_norm_layer(w, f"vit.encoder.layer.{i}", x, c, c["num_attention_heads"], encoder)
        found[f"hidden_{i + 1}"] = x
    found["latent"] = norm(w, "vit.layernorm", x, c["layer_norm_eps"])
    x = linear(w, "decoder.decoder_embed", found["latent"])
    mask, y = np.ones((batch, total)), np.zeros((batch, 1 + total, width))
    y[:, 0] = x[:, 0]
    for b in range(batch):
        mask[b, order[b, :keep]] = 0
        for place, token in enumerate(order[b]):
            p, n = divmod(token, patches)
            content = x[b, 1 + place] if place < keep else w["decoder.mask_token"][0, 0]
            y[b, 1 + token] = content + linear(w, "decoder.decoder_xyz_projection", xyz[b, p]) + wave(n, width)
    for i in range(c["decoder_num_hidden_layers"]):
        y = post_norm_layer(w, f"decoder.decoder_layers.{i}", y, c, c["decoder_num_attention_heads"], decoder)
    y = linear(w, "decoder.decoder_pred1", norm(w, "decoder.decoder_norm", y, c["layer_norm_eps"])[:, 1:])
    logits = linear(w, "decoder.decoder_pred2", np.where(y > 0, y, 0.1 * y)).reshape(batch, parcels, patches, size)
    found["logits"], found["mask"] = logits, mask.reshape(batch, parcels, patches)
    error = (logits - signal.reshape(logits.shape))[found["mask"] == 1]
    with np.errstate(invalid="ignore"):
        total_error = (error**2 if c["loss_fn"] == "mse" else np.abs(error)).sum()
        found["loss"] = np.divide(total_error, error.size) if error.size else np.nan
    return found


def pre_norm_layer(w: Weights, name: str, x: Any, c: dict[str, Any], heads: int) -> Any:
    """A layer of a ViT over one image's tokens (L, D)."""
    y = norm(w, f"{name}.layernorm_before", x, c["layer_norm_eps"])
    q, k, v = (split(linear(w, f"{name}.attention.attention.{n}", y), heads) for n in ("query", "key", "value"))
    mixed = softmax(q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1]), axis=-1) @ v
    x = x + linear(w, f"{name}.attention.output.dense", mixed.swapaxes(0, 1).reshape(len(x), -1))
    y = norm(w, f"{name}.layernorm_after", x, c["layer_norm_eps"])
    return x + linear(w, f"{name}.output.dense", gelu(linear(w, f"{name}.intermediate.dense", y)))


def vitmae(w: Weights, c: dict[str, Any], window: Any, visible: Any, zeroed: Any, scored: Any) -> dict[str, Any]:
    """Outputs of the official ViTMAE for one window (P, T).

    `visible`: patches that the encoder sees, in its order; `zeroed`: columns of the image that are set to 0; `scored`:
    steps that count as masked besides those in masked patches.
    """
    side, size = c["image_size"], c["patch_size"]
    top, left = (side - window.shape[0]) // 2, (side - window.shape[1]) // 2
    image = np.full((side, side), -1.0)
    image[top : top + window.shape[0], left : left + window.shape[1]] = window
    image[:, zeroed] = 0
    grid = side // size
    kernel = w["vit.embeddings.patch_embeddings.projection.weight"]
    places, places_out = w["vit.embeddings.position_embeddings"][0], w["decoder.decoder_pos_embed"][0]
    x = [w["vit.embeddings.cls_token"][0, 0] + places[0]]
    for token in visible:
        row, column = divmod(token, grid)
        square = image[row * size : (row + 1) * size, column * size : (column + 1) * size]
        bias = w["vit.embeddings.patch_embeddings.projection.bias"]
        x.append((kernel * square).sum(axis=(1, 2, 3)) + bias + places[1 + token])
    x = np.array(x)
    for i in range(c["num_hidden_layers"]):
        x = pre_norm_layer(w, f"vit.encoder.layer.{i}", x, c, c["num_attention_heads"])
    latent = norm(w, "vit.layernorm", x, c["layer_norm_eps"])
    seen = linear(w, "decoder.decoder_embed", latent)
    y = np.repeat(w["decoder.mask_token"][0], 1 + grid**2, axis=0)
    y[0] = seen[0]
    y[1 + np.asarray(visible, dtype=int)] = seen[1:]
    y = y + places_out
    for i in range(c["decoder_num_hidden_layers"]):
        y = pre_norm_layer(w, f"decoder.decoder_layers.{i}", y, c, c["decoder_num_attention_heads"])
    patches = linear(w, "decoder.decoder_pred", norm(w, "decoder.decoder_norm", y, c["layer_norm_eps"])[1:])
    predicted, mask = np.zeros((side, side)), np.zeros((side, side), dtype=bool)
    for token in range(grid**2):
        row, column = divmod(token, grid)
        place = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
        predicted[place] = patches[token].reshape(size, size, -1).mean(-1)
        mask[place] = token not in set(visible)
    crop = np.s_[top : top + window.shape[0], left : left + window.shape[1]]
    logits, pixels = predicted[crop], mask[crop].copy()
    pixels[:, scored] = True
    return {"latent": latent, "logits": logits, "mask": pixels, "loss": ((logits - window)[pixels] ** 2).mean()}
