"""Both ways of the conditions, the frozen autoencoder, loss and sampling against plain versions, kills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from brainlm_data import InputError
from brainlm_model.decode import autoencoder, diffusion, second_stage
from brainlm_model.decode.learn import Recipe, descend
from brainlm_model.decode.scmbm import SCMBM, Size
from brainlm_model.models.masking import generator

SIZE = Size(width=16, depth=1, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2)
LATENT = (8, 2, 2)


@pytest.fixture(scope="module")
def painter() -> diffusion.Painter:
    torch.manual_seed(0)
    schedule = diffusion.noise_schedule()
    return diffusion.Painter(SCMBM(SIZE, 5), diffusion.tiny_unet(LATENT), schedule, LATENT).eval()


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Patterns (12, 80), and pictures (12, 20, 20) of a bright bar."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((12, 20, 20))
    for number in range(12):
        pictures[number, :, number : number + 5] = 1
    return rng.normal(size=(12, 80)).astype(np.float32), pictures


def test_each_way_alone_changes_what_is_predicted(painter: diffusion.Painter) -> None:
    z, time = torch.randn(3, *LATENT), torch.tensor([10, 500, 900])
    context, vector = painter.conditions(torch.randn(3, 80))
    other_context, other_vector = painter.conditions(torch.randn(3, 80))
    with torch.no_grad():
        plain = painter(z, time, context, vector)
        assert (painter(z, time, other_context, vector) - plain).abs().max() > 1e-5
        assert (painter(z, time, context, other_vector) - plain).abs().max() > 1e-5


def test_the_gradient_reaches_both_ways_and_the_encoder(painter: diffusion.Painter) -> None:
    painter.learns(everything=False)
    for way in ("context", "vector"):
        painter.zero_grad()
        context, vector = painter.conditions(torch.randn(3, 80))
        if way == "context":
            vector = vector.detach()
        else:
            context = context.detach()
        painter.loss(torch.randn(3, *LATENT), context, vector, generator(0)).backward()
        assert painter.encoder.embed.weight.grad is not None
        assert painter.encoder.embed.weight.grad.abs().max() > 0
        for part, used in (
            (painter.conditioning.to_vector[0], way == "vector"),
            (painter.conditioning.to_channels, True),
        ):
            assert (part.weight.grad is not None) is used


def test_what_learns_is_what_the_paper_lets_learn(painter: diffusion.Painter) -> None:
    painter.learns(everything=False)
    learning = {name for name, parameter in painter.unet.named_parameters() if parameter.requires_grad}
    assert learning and all(
        ".attn2." in name or ".norm2." in name or name.startswith("class_embedding.") for name in learning
    )
    assert not any("resnets" in name for name in learning)
    assert not any(p.requires_grad for p in painter.encoder.decoder_blocks.parameters())
    assert all(p.requires_grad for p in painter.encoder.blocks.parameters())
    painter.learns(everything=True)
    assert all(parameter.requires_grad for parameter in painter.unet.parameters())


def test_loss_is_the_velocity_of_a_cosine_schedule(painter: diffusion.Painter) -> None:
    z, draws = torch.randn(4, *LATENT), generator(3)
    noise, time = torch.randn(z.shape, generator=draws), torch.randint(1000, (4,), generator=draws)
    # betas of Nichol & Dhariwal (2021), capped at .999, whose product is the share of the signal
    level = torch.cos((torch.arange(1001) / 1000 + 0.008) / 1.008 * torch.pi / 2).double() ** 2
    signal = torch.cumprod((level[1:] / level[:-1]).clamp(min=1 - 0.999), dim=0)[time].float().view(-1, 1, 1, 1)
    noisy = signal.sqrt() * z + (1 - signal).sqrt() * noise
    velocity = signal.sqrt() * noise - (1 - signal).sqrt() * z
    with torch.no_grad():
        conditions = painter.conditions(torch.randn(4, 80))
        plain = (painter(noisy, time, *conditions) - velocity).square().mean()
        assert painter.loss(z, *conditions, generator(3)).item() == pytest.approx(plain.item(), rel=1e-4)


def test_sampling_is_plain_ddim(painter: diffusion.Painter) -> None:
    schedule = diffusion.noise_schedule()
    ddim = diffusion.sampler("ddim", schedule)
    x = torch.randn(2, 80)
    ours = painter.sample(x, ddim, 4, generator(5))
    z = torch.randn((2, *LATENT), generator=generator(5))
    signal = schedule.alphas_cumprod
    with torch.no_grad():
        for time in (750, 500, 250, 0):
            velocity = painter(z, torch.full((2,), time), *painter.conditions(x))
            a = signal[time]
            clean, noise = a.sqrt() * z - (1 - a).sqrt() * velocity, a.sqrt() * velocity + (1 - a).sqrt() * z
            before = signal[time - 250] if time else torch.tensor(1.0)
            z = before.sqrt() * clean + (1 - before).sqrt() * noise
    torch.testing.assert_close(ours, z, atol=1e-3, rtol=1e-3)


def test_guidance_goes_beyond_what_the_condition_says(painter: diffusion.Painter) -> None:
    """A step of weight 0 is that without a condition, of 1 that with it, and others are on the line through both."""
    ddim, x = diffusion.sampler("ddim", diffusion.noise_schedule()), torch.randn(2, 80)
    none, full, beyond = (painter.sample(x, ddim, 1, generator(5), guidance=weight) for weight in (0, 1, 3))
    torch.testing.assert_close(none, painter.sample(0 * x + 1, ddim, 1, generator(5), guidance=0))
    assert not torch.allclose(none, full, atol=1e-5)
    torch.testing.assert_close(beyond, none + 3 * (full - none), atol=1e-4, rtol=1e-4)


def test_autoencoder_is_frozen_and_gives_pictures_of_their_own_shape(rows: Any) -> None:
    patterns, seen = rows
    made, log = autoencoder.learnt(seen, Recipe(30, 6, 5e-3), seed=0)
    assert np.mean([row["loss"] for row in log[-5:]]) < log[0]["loss"]
    z = made.encoded(seen)
    assert z.shape == (12, 8, 4, 4)
    assert (z.mean(), z.std()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))
    decoded = made.decoded(z)
    assert decoded.shape == seen.shape and decoded.min() >= 0 and decoded.max() <= 1
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    schedule = diffusion.noise_schedule()
    x = second_stage.as_input(patterns, SIZE)
    painter = diffusion.Painter(
        second_stage.untrained(SIZE, x, 0), diffusion.tiny_unet(z.shape[1:]), schedule, z.shape[1:]
    )
    latents = torch.from_numpy(z).float()
    second_stage.learn_pictures(painter, latents, Recipe(2, 4, 1e-3), 0)
    other = second_stage.painter_from(painter, painter.encoder)
    second_stage.learn_to_paint(
        "p", other, x, latents, Recipe(3, 4, 1e-3), 0, noise=0.1, guess=1.0, everything=False
    )  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in made.network.state_dict().items())
    assert torch.equal(other.unet.conv_in.weight, painter.unet.conv_in.weight)  # frozen
    assert not torch.equal(other.encoder.embed.weight, painter.encoder.embed.weight)
    how = second_stage.Sampling("ddim", 3, samples=2, seed=1)
    drawn = second_stage.samples(other, x[:3], made, how)
    assert drawn.shape == (2, 3, 20, 20)
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn, second_stage.samples(other, x[:3], made, how))


def test_colour_goes_through_and_back() -> None:
    torch.manual_seed(0)
    made = autoencoder.Autoencoder(autoencoder.tiny((18, 20, 3)), (18, 20, 3))
    pictures = np.random.default_rng(0).random((2, 18, 20, 3))
    assert made.decoded(made.encoded(pictures)).shape == (2, 18, 20, 3)
    inside = autoencoder.inside(pictures, square=1)
    assert inside.shape == (2, 3, 32, 32)
    np.testing.assert_allclose(inside[:, :, :18, :20].permute(0, 2, 3, 1), pictures * 2 - 1, atol=1e-6)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    x = second_stage.as_input(np.random.default_rng(1).normal(size=(6, 80)).astype(np.float32), SIZE)
    recipe = Recipe(10, 4, 1e-3)
    whole = second_stage.untrained(SIZE, x, 0)
    second_stage.pretrain(whole, x, 0.5, 0.2, recipe, 0)

    class Killed(Exception):
        pass

    stopped = second_stage.untrained(SIZE, x, 0)
    calls = []

    def dies(draws: torch.Generator) -> torch.Tensor:
        if len(calls) == 6:
            raise Killed
        calls.append(draws)
        from brainlm_model.decode.learn import drawn_rows
        from brainlm_model.decode.scmbm import drawn_visible, sparsified

        part = x[drawn_rows(len(x), recipe.batch, draws)]
        visible = drawn_visible(len(part), stopped.tokens, 0.5, draws)
        return stopped(sparsified(part, 0.2, draws), visible).loss

    with pytest.raises(Killed):
        descend("scmbm", stopped, dies, recipe, 0, tmp_path, {"data": 1})
    again = second_stage.untrained(SIZE, x, 7)
    log = second_stage.pretrain(again, x, 0.5, 0.2, recipe, 0, (tmp_path, {"data": 1}))
    assert [row["step"] for row in log] == list(range(10))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    other = second_stage.untrained(SIZE, x, 7)  # a checkpoint of other data is not used
    log = second_stage.pretrain(other, x, 0.5, 0.2, recipe, 0, (tmp_path, {"data": 2}))
    assert len(log) == 10 and not torch.equal(other.embed.weight, whole.embed.weight)


def test_a_given_unet_gets_the_second_way(tmp_path: Path) -> None:
    import diffusers

    plain = diffusers.UNet2DConditionModel(sample_size=(2, 2), in_channels=8, out_channels=8, **diffusion.TINY_UNET)
    plain.save_pretrained(tmp_path / "unet")
    unet = diffusion.given_unet(tmp_path / "unet", (8, 2, 2))
    assert unet.class_embedding is not None
    assert torch.equal(unet.conv_in.weight, plain.conv_in.weight)
    with pytest.raises(InputError, match="cannot be read"):
        diffusion.given_unet(tmp_path / "none", (8, 2, 2))


def given_base(folder: Path) -> Path:
    """A small base as diffusers saves one: grey pictures, an eighth of noise, no embedding of a vector."""
    import diffusers

    torch.manual_seed(3)
    vae = diffusers.AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.5,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(sample_size=(8, 8), in_channels=4, out_channels=4, **diffusion.TINY_UNET)
    schedule = diffusers.DDPMScheduler(
        num_train_timesteps=200, beta_start=0.001, beta_end=0.03, beta_schedule="scaled_linear"
    )
    for network, name in ((vae, "vae"), (unet, "unet"), (schedule, "scheduler")):
        network.save_pretrained(folder / name)
    return folder


def test_a_given_base_keeps_its_schedule_and_its_scale(tmp_path: Path) -> None:
    base = given_base(tmp_path)
    schedule = diffusion.noise_schedule(base)
    betas = torch.linspace(0.001**0.5, 0.03**0.5, 200) ** 2
    torch.testing.assert_close(schedule.betas, betas)
    assert schedule.config.prediction_type == "epsilon"
    for kind in ("ddim", "pndm"):
        made = diffusion.sampler(kind, schedule)
        torch.testing.assert_close(made.alphas_cumprod, schedule.alphas_cumprod)
        assert made.config.prediction_type == "epsilon"
        made.set_timesteps(4)
        assert made.timesteps.max() < 200
    pictures = np.random.default_rng(0).random((5, 14, 16))
    vae = autoencoder.given(base, pictures)
    x = autoencoder.inside(pictures, vae.multiple, square=1)
    with torch.no_grad():
        z = vae.network.encode(x).latent_dist.mode() * 0.5
    torch.testing.assert_close(vae.latents(x), z)
    assert vae.decoded(vae.encoded(pictures)).shape == pictures.shape
    with pytest.raises(InputError, match="it takes 4 channels, the autoencoder gives 3"):
        diffusion.given_unet(base / "unet", (3, 8, 8))
    (base / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(InputError, match=r"scheduler_config.json: there is no such file"):
        diffusion.noise_schedule(base)


def test_loss_of_a_given_base_is_that_of_its_noise(tmp_path: Path, painter: diffusion.Painter) -> None:
    schedule = diffusion.noise_schedule(given_base(tmp_path))
    other = diffusion.Painter(painter.encoder, painter.unet, schedule, LATENT).eval()
    z, draws = torch.randn(4, *LATENT), generator(3)
    noise, time = torch.randn(z.shape, generator=draws), torch.randint(200, (4,), generator=draws)
    signal = torch.cumprod(1 - torch.linspace(0.001**0.5, 0.03**0.5, 200) ** 2, dim=0)[time].view(-1, 1, 1, 1)
    with torch.no_grad():
        conditions = other.conditions(torch.randn(4, 80))
        noisy = signal.sqrt() * z + (1 - signal).sqrt() * noise
        plain = (other(noisy, time, *conditions) - noise).square().mean()
        assert other.loss(z, *conditions, generator(3)).item() == pytest.approx(plain.item(), rel=1e-4)


def test_samples_from_latents_are_noised_and_denoised_by_the_last_steps(painter: diffusion.Painter) -> None:
    schedule = diffusion.noise_schedule()
    x, start = torch.randn(2, 80), torch.randn(2, *LATENT)
    ours = painter.sample(x, diffusion.sampler("ddim", schedule), 4, generator(5), start, strength=0.5)
    signal = schedule.alphas_cumprod
    z = signal[250].sqrt() * start + (1 - signal[250]).sqrt() * torch.randn((2, *LATENT), generator=generator(5))
    with torch.no_grad():
        for time in (250, 0):
            velocity = painter(z, torch.full((2,), time), *painter.conditions(x))
            a = signal[time]
            clean, noise = a.sqrt() * z - (1 - a).sqrt() * velocity, a.sqrt() * velocity + (1 - a).sqrt() * z
            before = signal[0] if time else torch.tensor(1.0)
            z = before.sqrt() * clean + (1 - before).sqrt() * noise
    torch.testing.assert_close(ours, z, atol=1e-3, rtol=1e-3)


def test_pndm_makes_its_second_step_twice_wherever_it_begins() -> None:
    made = diffusion.sampler("pndm", diffusion.noise_schedule())
    made.set_timesteps(5)
    assert made.timesteps.tolist() == [800, 600, 600, 400, 200, 0] or len(made.timesteps) == 6
    each = sorted(set(made.timesteps.tolist()), reverse=True)
    assert diffusion.last(made.timesteps, 1.0).tolist() == made.timesteps.tolist()
    assert diffusion.last(made.timesteps, 0.6).tolist() == [each[2], each[3], each[3], each[4]]
    assert diffusion.last(made.timesteps, 0.1).tolist() == [each[4]]


def test_pca_is_one_token_of_the_training_patterns_axes(rows: Any) -> None:
    from brainlm_model.decode import pca

    patterns, _ = rows
    x = second_stage.as_input(patterns, SIZE)
    made = pca.fitted(SIZE, x)
    tokens = made.encode(x)
    assert tokens.shape == (12, 1, 11) and made.width == 11
    centred = (patterns - patterns.mean(0)).astype(np.float64)
    # all axes of 12 patterns: their inner products are kept, and the scores are uncorrelated
    np.testing.assert_allclose(tokens[:, 0] @ tokens[:, 0].T, centred @ centred.T, atol=1e-3)
    covariance = np.cov(tokens[:, 0].numpy(), rowvar=False)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    assert (np.diff(np.diag(covariance)) <= 1e-4).all()
