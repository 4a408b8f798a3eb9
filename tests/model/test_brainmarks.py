"""A model in Brainmarks: what it gives there is what `embed` gives, of samples of every length and TR."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from brainlm_data import InputError, ParcelSeries, resample_series
from brainlm_model import TrainedModel, load
from brainlm_model.trained import brainmarks
from brainlm_model.trained.brainmarks import Transform, Wrapper
from tests.model.api_example import make_results
from tests.model.cohort import PARCELS, series

WINDOW = 200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load(make_results(tmp_path_factory.mktemp("brainmarks")) / "results" / "models" / "tiny")


@pytest.fixture(autouse=True)
def a_space_of_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(brainmarks.SPACES, PARCELS, "toy")


def sample(values: np.ndarray, tr: float = 1.0) -> dict[str, object]:
    """As Brainmarks has it: z-scored in time, with mean and SD beside it."""
    values = torch.from_numpy(np.asarray(values, np.float64))
    mean, std = values.mean(0, keepdim=True), values.std(0, keepdim=True, correction=0)
    return {"bold": (values - mean) / std, "mean": mean, "std": std, "tr": tr, "target": 1}


def made(model: TrainedModel, *samples: dict[str, object], fit: bool = False) -> tuple[torch.Tensor, ...]:
    transform, wrapper = Transform(model), Wrapper(model)
    if fit:
        transform.fit(samples)
    with torch.inference_mode():
        return wrapper(default_collate([transform(one) for one in samples]))


def test_it_gives_what_embed_gives(model: TrainedModel) -> None:
    rng = np.random.default_rng(0)
    recordings = [series(rng, 2 * WINDOW), series(rng, 2 * WINDOW)]
    cls, connectivity, parcels = made(model, *(sample(one) for one in recordings))
    assert cls.shape == (2, 1, 16) and parcels.shape == (2, PARCELS, 16)
    for row, recording in enumerate(recordings):
        np.testing.assert_allclose(cls[row, 0], model.embed(recording, "cls"), atol=1e-4)
        np.testing.assert_allclose(parcels[row], model.embed(recording, "parcels"), atol=1e-4)
        np.testing.assert_allclose(connectivity[row, 0], model.embed(recording, "connectivity"), atol=1e-4)


def test_another_tr_is_resampled(model: TrainedModel) -> None:
    values = series(np.random.default_rng(1), 150)
    cls, *_ = made(model, sample(values, tr=2.0))
    same = model.embed(resample_series(ParcelSeries(values, rate_hz=0.5), 1.0), "cls")
    np.testing.assert_allclose(cls[0, 0], same, atol=1e-4)


@pytest.mark.parametrize("steps", [16, 40, 160])
def test_short_samples_are_known_as_far_as_they_go(model: TrainedModel, steps: int) -> None:
    values = series(np.random.default_rng(2), steps)
    windows = Transform(model)(sample(values))["bold"]
    patch = model.config.patch
    known = torch.isfinite(windows[0]).all(0)
    assert windows.shape == (1, PARCELS, WINDOW) and int(known.sum()) == -(-steps // patch) * patch
    for part in made(model, sample(values)):
        assert torch.isfinite(part).all()


def test_units_do_not_matter_once_it_was_fitted(model: TrainedModel) -> None:
    rng = np.random.default_rng(3)
    recordings = [series(rng, WINDOW) for _ in range(3)]
    plain = made(model, *(sample(one) for one in recordings), fit=True)
    scaled = made(model, *(sample(1000 + 37 * one) for one in recordings), fit=True)
    for one, other in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_parcel_that_does_not_vary(model: TrainedModel) -> None:
    values = series(np.random.default_rng(4), WINDOW)
    still = sample(values)
    still["bold"][:, 3], still["std"][:, 3] = 0, 0
    for part in made(model, still, sample(values), fit=True):
        assert torch.isfinite(part).all()


def test_only_spaces_that_brainmarks_has(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(brainmarks.SPACES, PARCELS)
    with pytest.raises(InputError, match=rf"a model of {PARCELS} parcels -> its spaces have 424 \(a424\)"):
        Wrapper(model)


def test_it_registers_itself(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = pytest.importorskip("brainmarks.models.registry", reason="Brainmarks is not installed")
    monkeypatch.delenv("BRAINLM_MODEL", raising=False)
    assert "brainlm_pipeline" in registry.list_models() and "brainmarks.models.brainlm_pipeline" in sys.modules
    with pytest.raises(ValueError, match="which model"):
        registry.create_model("brainlm_pipeline")
    folder = model.save_pretrained(tmp_path / "tiny")
    transform, wrapper = registry.create_model("brainlm_pipeline", model=str(folder))
    assert wrapper.__space__ == "toy"
    assert wrapper(default_collate([transform(sample(series(np.random.default_rng(5), 30)))])).cls_embeds.ndim == 3
