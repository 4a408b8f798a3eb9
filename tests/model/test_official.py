"""The official architectures: against the official code's own outputs, and against a forward written in numpy."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import conv2d

from benchmarks.fixtures import check
from benchmarks.plain_official import PlainBrainLM
from brainlm_data import InputError
from brainlm_model.models.official import PRESETS, OfficialBrainLM, build
from brainlm_model.models.official.config import BrainLMConfig, ViTMAEConfig, from_hf, to_hf
from brainlm_model.models.official.files import DEAD
from brainlm_model.models.official.parts import convolve
from tests.conftest import ROOT, SHARED
from tests.model import official_spec as spec

FIXTURES = SHARED / "fixtures" / "brainlm"
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
         "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 4,
         "decoder_intermediate_size": 20, "layer_norm_eps": 1e-12, "mask_ratio": 0.5}  # fmt: skip
BRAINLM = BrainLMConfig(
    **SIZES, num_brain_voxels=5, num_timepoints_per_voxel=12, timepoint_patching_size=3, loss_fn="mse",
    segment_means_seq_len=64, num_landmarks=64, conv_kernel_size=7, patch_size=2,
)  # fmt: skip
VITMAE = ViTMAEConfig(**SIZES, image_size=24, patch_size=4, num_brain_voxels=18, num_timepoints_per_voxel=14)


def network(config: Any, seed: int = 0, kind: Any = None) -> Any:
    """A network none of whose weights is 0 or 1."""
    torch.manual_seed(seed)
    made = build(config) if kind is None else kind(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made.eval()


def state(made: Any) -> dict[str, Any]:
    return {key: value.double().numpy() for key, value in made.state_dict().items()}


def inputs(seed: int, config: Any, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    parcels, steps = config.num_brain_voxels, config.num_timepoints_per_voxel
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    tokens = parcels * steps // getattr(config, "timepoint_patching_size", 1)
    return draw(batch, parcels, steps), 30 * draw(batch, parcels, 3), torch.rand(batch, tokens, generator=random)


@pytest.mark.parametrize(
    ("name", "plain", "arrays"),
    [
        ("brainlm_exact", False, 63),
        ("brainlm_exact", True, 63),
        ("brainlm_nystrom", False, 26),
        ("brainlm_nystrom", True, 26),
        ("vitmae_pad", False, 28),
    ],
)
def test_every_output_of_the_official_code(name, plain, arrays):
    if not (FIXTURES / f"{name}.npz").is_file():
        pytest.skip("the official code's outputs (fixtures/brainlm) are not at hand")
    found = check(str(FIXTURES / name), plain)
    assert found["not_within"] == [] and found["unknown"] == {}
    assert found["within"] is True and found["arrays"] == arrays
    assert found["max_abs"] < 2e-5


@pytest.mark.parametrize("kind", [OfficialBrainLM, PlainBrainLM])
@pytest.mark.parametrize(("seed", "ratio"), [(0, 0.5), (1, 0.2), (2, 0.9), (3, 0.0)])
def test_brainlm_is_its_description(kind, seed, ratio):
    rng = np.random.default_rng(seed)
    patch, parcels, patches = (int(n) for n in rng.integers(2, 6, 3))
    loss = ("mse", "mae")[seed % 2]
    config = replace(
        BRAINLM, num_brain_voxels=parcels, num_timepoints_per_voxel=patch * patches, timepoint_patching_size=patch,
        loss_fn=loss,
    )  # fmt: skip
    signal, xyz, noise = inputs(seed, config)
    model = network(config, seed, kind).double()
    found = model(signal, xyz, noise, ratio, details=True)
    expected = spec.brainlm(
        state(model), asdict(config), signal.numpy(), xyz.numpy(), noise.numpy(), ratio, (1, 1), (1, 1)
    )
    for name in ("loss", "logits", "latent", "mask"):
        ours = getattr(found, name).detach().numpy()
        np.testing.assert_allclose(ours, expected[name], rtol=2e-5, atol=2e-5, err_msg=name)  # the sinusoid is float32
    for number, hidden in enumerate(found.hidden_states):
        np.testing.assert_allclose(hidden.detach().numpy(), expected[f"hidden_{number}"], rtol=2e-5, atol=2e-5)
    assert bool(found.loss.isnan()) == (ratio == 0)
    assert len(found.attentions) == 2 and found.attentions[0].shape[-1] == found.latent.shape[1]


def test_landmarks_of_encoder_and_decoder_apart():
    signal, xyz, noise = inputs(5, BRAINLM)
    model = network(BRAINLM).double()
    model.set_landmarks((12, 3), (21, 7))  # CLS + int(20 * .55), CLS + 20
    found = model(signal, xyz, noise, 0.45, details=True)
    expected = spec.brainlm(
        state(model), asdict(BRAINLM), signal.numpy(), xyz.numpy(), noise.numpy(), 0.45, (12, 3), (21, 7)
    )
    for name in ("loss", "logits", "latent"):
        np.testing.assert_allclose(getattr(found, name).detach().numpy(), expected[name], rtol=2e-5, atol=2e-5)
    assert found.attentions[0].shape == (2, 2, 12, 3)
    with pytest.raises(InputError, match="segment_means_seq_len"):
        model(signal, xyz, noise, 0.5)


@pytest.mark.parametrize(
    ("mode", "ratio", "columns", "zeroed", "scored"),
    [  # the window is columns 5 to 18 of 24, patches of 4: its last ends at column 20
        ("predict_last", 0.3, [3, 4], [], []),  # 4 steps, columns 15 to 18
        ("predict_last", 0.5, [3, 4], [], []),  # 7 steps, from column 12
        ("predict_last_pixel", 0.3, [4], [15], [10]),  # 16 to 18 in the patch, 15 zeroed
        ("predict_last_pixel", 0.5, [3, 4], [], []),
        ("predict_last_pixel", 0.7, [3, 4], [10, 11], [5, 6]),  # 9 steps
    ],
)
def test_the_future_of_a_vitmae(mode, ratio, columns, zeroed, scored):
    signal, _, _ = inputs(1, VITMAE, batch=1)
    model = network(VITMAE).double()
    found = model(signal, None, ratio, mode)
    order = found.ids_restore.argsort(1)[0]
    visible = [token for token in order.tolist() if token % 6 not in columns]
    assert order.tolist()[: len(visible)] == visible
    expected = spec.vitmae(state(model), asdict(VITMAE), signal[0].numpy(), visible, zeroed, scored)
    for name in ("loss", "logits", "latent", "mask"):
        ours = getattr(found, name).detach().numpy()
        np.testing.assert_allclose(ours if ours.ndim == 0 else ours[0], expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ratio", [0.2, 0.75])
def test_vitmae_is_its_description(ratio):
    signal, _, _ = inputs(2, VITMAE, batch=2)
    noise = torch.rand(2, 36, generator=torch.Generator().manual_seed(1))
    model = network(VITMAE).double()
    found = model(signal, noise, ratio, "auto_encode")
    keep, each = int(36 * (1 - ratio)), []
    for b in range(2):
        visible = noise[b].argsort()[:keep].tolist()
        each.append(spec.vitmae(state(model), asdict(VITMAE), signal[b].numpy(), visible, [], []))
        np.testing.assert_allclose(found.logits[b].detach().numpy(), each[b]["logits"], rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(found.mask[b].numpy() == 1, each[b]["mask"])
    weights = [e["mask"].sum() for e in each]
    assert found.loss.item() == pytest.approx(np.average([e["loss"] for e in each], weights=weights), rel=1e-9)


def test_gradients_are_those_of_finite_differences():
    signal, xyz, noise = inputs(3, BRAINLM)
    model = network(BRAINLM).double()
    model(signal, xyz, noise, 0.5).loss.backward()
    for name in ("vit.encoder.layer.0.attention.self.conv.weight", "decoder.mask_token", "vit.embeddings.cls_token"):
        parameter = dict(model.named_parameters())[name]
        direction, losses = torch.randn_like(parameter), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-6 * direction
                losses.append(float(model(signal, xyz, noise, 0.5).loss))
                parameter -= sign * 1e-6 * direction
        slope = float((parameter.grad * direction).sum())
        assert slope != 0 and (losses[0] - losses[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(("tokens", "kernel"), [(1, 65), (31, 3), (32, 7), (33, 1), (100, 65), (300, 65), (9, 21)])
def test_convolution_and_its_gradients_in_single_precision(tokens, kernel):
    """Against torch's conv2d in double precision; in single it has another gradient of the kernel on many CPUs."""
    random = torch.Generator().manual_seed(0)
    shapes = ((2, 4, tokens, 6), (4, 1, kernel, 1), (2, 4, tokens, 6))
    x, w, slope = (torch.randn(*shape, generator=random) for shape in shapes)
    ours = [x.clone().requires_grad_(), w.clone().requires_grad_()]
    theirs = [x.double().requires_grad_(), w.double().requires_grad_()]
    out, expected = convolve(*ours), conv2d(*theirs, padding=(kernel // 2, 0), groups=4)
    out.backward(slope)
    expected.backward(slope.double())
    for a, b in ((out, expected), *((p.grad, q.grad) for p, q in zip(ours, theirs, strict=True))):
        torch.testing.assert_close(a.detach().double(), b.detach(), rtol=1e-4, atol=1e-3)


def test_the_gradient_that_torch_gives_the_official_code_is_told_from_ours(tmp_path):
    config = replace(BRAINLM, num_brain_voxels=20, num_timepoints_per_voxel=12, conv_kernel_size=65)
    signal, xyz, noise = (x.float() for x in inputs(3, config))
    model = network(config, 3, PlainBrainLM)
    model(signal, xyz, noise, 0.2).loss.backward()
    key = "grad.vit.encoder.layer.0.attention.self.conv.weight"
    theirs = model.vit["encoder"]["layer"][0].attention["self"]["conv"].weight.grad
    write_fixture(tmp_path / "f", config, model, {
        "in.signal": signal.numpy(), "in.xyz": xyz.numpy(), "in.noise": noise.numpy(), f"mr0.2.{key}": theirs.numpy(),
    })  # fmt: skip
    ours = network(config, 3)
    ours(signal, xyz, noise, 0.2).loss.backward()
    mine = ours.vit["encoder"]["layer"][0].attention["self"]["conv"].weight.grad
    apart = not torch.allclose(mine, theirs, rtol=1e-5, atol=2e-5)  # depends on the CPU
    found = check(str(tmp_path / "f"))
    assert found["within"] and found["torch_conv2d"] == ([f"mr0.2.{key}"] if apart else [])


def write_fixture(prefix: Path, config: Any, model: Any, arrays: dict[str, Any]) -> None:
    np.savez(f"{prefix}.npz", **arrays)
    Path(f"{prefix}.json").write_text(json.dumps({"config": {**to_hf(config), "colour": "red"}}))
    weights = {key: value for key, value in model.state_dict().items() if key not in DEAD}
    save_file(weights, f"{prefix}.weights.safetensors")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A fixture of other sizes, its outputs from the numpy forward."""
    config = replace(BRAINLM, num_brain_voxels=4, num_timepoints_per_voxel=10, timepoint_patching_size=5)
    model = network(config, 7)
    signal, xyz, noise = (x.float() for x in inputs(7, config, batch=3))
    arrays: dict[str, Any] = {"in.signal": signal.numpy(), "in.xyz": xyz.numpy(), "in.noise": noise.numpy()}
    for name, ratio, loss in (("mr0.25", 0.25, "mse"), ("mae_mr.5", 0.5, "mae"), ("mr0.0", 0.0, "mse")):
        content = asdict(replace(config, loss_fn=loss))
        found = spec.brainlm(state(model), content, signal.numpy(), xyz.numpy(), noise.numpy(), ratio, (1, 1), (1, 1))
        arrays |= {f"{name}.{key}": np.asarray(value, np.float32) for key, value in found.items()}
        arrays[f"{name}.logits_rows1_3_f16"] = found["logits"][:, 1:3].astype(np.float16)
    write_fixture(tmp_path / "other", config, model, arrays)
    return tmp_path / "other"


def test_a_fixture_of_other_sizes(made):
    found = check(str(made))
    assert found["within"] and found["arrays"] == 3 * 8 and found["cases"]["mr0.0"]["loss"]["within"]
    assert set(found["keys_absent_in_weights"]) == set(DEAD)


@pytest.mark.parametrize("key", ["mr0.25.hidden_1", "mae_mr.5.loss", "mr0.0.mask", "mr0.25.logits_rows1_3_f16"])
def test_a_difference_is_found(made, key):
    with np.load(f"{made}.npz") as stored:
        arrays = dict(stored)
    arrays[key] = arrays[key] + np.array(1e-4 if arrays[key].dtype != np.float16 else 0.01, arrays[key].dtype)
    np.savez(f"{made}.npz", **arrays)
    found = check(str(made))
    assert not found["within"] and found["not_within"] == [key]


def test_the_benchmark_prints_one_object_and_says_by_its_status_whether_all_is_within(made):
    call = [sys.executable, "-m", "benchmarks.fixtures", str(made), "--json"]
    good = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, check=False)
    Path(f"{made}.weights.safetensors").unlink()
    bad = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, check=False)
    assert json.loads(good.stdout)["within"] is True and good.returncode == 0
    assert json.loads(bad.stdout)["within"] is False and bad.returncode == 1


@pytest.mark.parametrize(
    ("name", "count"),
    [("official-5m", 5.05e6), ("official-13m", 13.4e6), ("vitmae-111m", 111e6), ("vitmae-650m", 657e6)],
)
def test_published_sizes(name, count):
    with torch.device("meta"):
        model = build(name)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(count, rel=0.02)
    assert from_hf({**to_hf(PRESETS[name]), "use_bfloat16": False}) == PRESETS[name]


def test_same_noise_same_mask():
    signal, xyz, noise = inputs(0, BRAINLM)
    model = network(BRAINLM).double()
    assert torch.equal(model(signal, xyz, noise).logits, model(signal, xyz, noise).logits)
    assert not torch.equal(model(signal, xyz).mask, model(signal, xyz).mask)  # drawn
    assert model(signal, xyz, noise, 0.75).mask.sum(dim=(1, 2)).tolist() == [15, 15]


@pytest.mark.parametrize("shape", [(2, 6, 12), (2, 5, 13)])
def test_other_windows_are_refused(shape):
    with pytest.raises(InputError, match="parcels x"):
        network(BRAINLM)(torch.zeros(shape), torch.zeros(2, shape[1], 3))
    with pytest.raises(InputError, match="ViTMAE"):
        network(VITMAE)(torch.zeros(1, 18, 13))
