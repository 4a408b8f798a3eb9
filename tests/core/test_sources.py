"""A recording from any file, as a card says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from brainlm_data import BrainLMError, InputError, Refused, prepare, read_series
from brainlm_data.dataset.card import COMPARED, Card
from brainlm_data.files.tables import write_table
from brainlm_data.methods.operators import Recipe, high_pass, low_pass, resample
from brainlm_data.reading.nifti import find_atlas
from brainlm_data.reading.sources import compare_store

TR, VOLUMES, PARCELS, SHAPE = 0.8, 240, 6, (12, 10, 8)
AFFINE = np.array([[2.0, 0, 0, -12], [0, 2, 0, -10], [0, 0, 2, -8], [0, 0, 0, 1]])
FACTS = {
    "made_by": "a test", "recordings": 2, "subjects": 1, "stages": [], "tr_s": {"low": 1, "high": 1},
    "atlas": "blocks", "space": "MNI152NLin6Asym", "parcels": PARCELS, "rate_hz": 1, "band_low_hz": 0.01,
    "band_high_hz": 0.45, "units": "grand mean 10000",
}  # fmt: skip


def labels() -> NDArray[np.int32]:
    """Six slabs along x, numbered 2, 4, ...; a rim without labels."""
    image = np.zeros(SHAPE, np.int32)
    for parcel in range(PARCELS):
        image[2 * parcel : 2 * parcel + 2, 1:-1, 1:-1] = 2 * parcel + 2
    return image


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "blocks.nii.gz"
    nib.save(nib.Nifti1Image(labels(), AFFINE), path)
    return path


def card(labels: Path | None = None, **facts: Any) -> Card:
    """A card; an edge of the band may be one number or two."""
    sha = {} if labels is None else {"atlas_sha256": hashlib.sha256(labels.read_bytes()).hexdigest()}
    content = {**FACTS, **sha, **facts}
    for key in ("band_low_hz", "band_high_hz"):
        low, high = content[key] if isinstance(content[key], tuple) else (content[key], content[key])
        content[key] = {"low": low, "high": high}
    return Card.model_validate(content)


def courses(seed: int = 0) -> NDArray[np.float64]:
    """(volume, parcel), about 500."""
    rng = np.random.default_rng(seed)
    time = np.arange(VOLUMES) * TR
    slow = np.stack([np.sin(2 * np.pi * f * time + p) for p, f in enumerate(np.linspace(0.02, 0.3, PARCELS))], 1)
    return 500 + 3 * slow + 4 * np.linspace(-1, 1, VOLUMES)[:, None] + rng.normal(0, 0.5, (VOLUMES, PARCELS))


def image(
    folder: Path, data: NDArray[Any], name: str = "sub-01_task-rest_space-MNI152NLin6Asym_bold", **side: Any
) -> Path:
    path = folder / f"{name}.nii.gz"
    made = nib.Nifti1Image(data.astype(np.float32), AFFINE)
    made.header.set_xyzt_units("mm", "sec")
    made.header["pixdim"][4] = TR
    nib.save(made, path)
    (folder / f"{name}.json").write_text(json.dumps({"RepetitionTime": TR, **side}))
    return path


def painted(series: NDArray[Any]) -> NDArray[np.float32]:
    """A 4-D image whose parcels have these series; a gradient within each that its mean does not see; rest 100."""
    data = np.full((*SHAPE, len(series)), 100, np.float32)
    for parcel in range(PARCELS):
        place = labels() == 2 * parcel + 2
        within = np.linspace(-5, 5, place.sum())
        data[place] = series[:, parcel] + within[:, None]
    return data


def test_an_image_becomes_what_the_card_says(tmp_path: Path, atlas: Path) -> None:
    series = courses()
    found = read_series(image(tmp_path, painted(series)), card(atlas), atlas)
    scaled = series * 10000 / series.mean()
    expected = resample(high_pass(scaled, Recipe(TR, VOLUMES, low_hz=0.01)), TR, 1.0)
    np.testing.assert_allclose(found.values, expected, atol=0.01)
    assert found.values.shape == (int((VOLUMES - 1) * TR) + 1, PARCELS)
    text = "; ".join(found.stated)
    for said in ("high-pass 0.01 Hz (butterworth), no low-pass", "resampled from TR 0.8 s to 1 Hz",
                 "scaled from a mean of 500 of the atlas's voxels", "denoised already"):  # fmt: skip
        assert said in text


def test_a_low_pass_of_the_training_data_and_cosines_are_repeated(tmp_path: Path, atlas: Path) -> None:
    series, path = courses(), image(tmp_path, painted(courses()))
    scaled = series * 10000 / series.mean()
    recipe = Recipe(TR, VOLUMES, low_hz=0.01, high_hz=0.1)
    low = read_series(path, card(atlas, band_high_hz=0.1), atlas)
    np.testing.assert_allclose(low.values, resample(low_pass(high_pass(scaled, recipe), recipe), TR, 1.0), atol=0.01)
    recipe = Recipe(TR, VOLUMES, method="cosine", low_hz=0.01)
    found = read_series(path, card(atlas, filter={"method": "cosine"}), atlas)
    np.testing.assert_allclose(found.values, resample(high_pass(scaled, recipe), TR, 1.0), atol=0.01)


def test_at_the_cards_own_rate_nothing_is_resampled(tmp_path: Path, atlas: Path) -> None:
    own = card(atlas, rate_hz=1.25, band_high_hz=0.625)
    found = read_series(image(tmp_path, painted(courses())), own, atlas)
    assert len(found.values) == VOLUMES and "resampled" not in "; ".join(found.stated)


def test_another_grid_gives_nearly_the_same(tmp_path: Path, atlas: Path) -> None:
    fine = np.repeat(np.repeat(painted(courses()), 2, 0), 2, 1)
    affine = AFFINE @ np.diag([0.5, 0.5, 1, 1])
    affine[:3, 3] += AFFINE[:3, :3] @ [-0.25, -0.25, 0]
    made = nib.Nifti1Image(fine, affine)
    made.header.set_xyzt_units("mm", "sec")
    path = tmp_path / "x_space-MNI152NLin6Asym_bold.nii.gz"
    nib.save(made, path)
    found = read_series(path, card(atlas), atlas, tr=TR)
    same = read_series(image(tmp_path, painted(courses())), card(atlas), atlas)
    difference = found.values - same.values
    assert np.nanstd(difference) < 0.05 * np.nanstd(same.values)


def test_parcels_outside_the_image_and_empty_volumes(tmp_path: Path, atlas: Path) -> None:
    data = painted(courses())
    data[:2] = 0  # the first parcel
    data[..., :3] = np.nan  # dropped volumes
    data[..., 100] = 0
    found = read_series(image(tmp_path, data), card(atlas), atlas)
    assert np.isnan(found.values[:, 0]).all() and np.isnan(found.values[:2]).all()
    assert np.isfinite(found.values[3:, 1:]).all()
    text = "; ".join(found.stated)
    assert "1 of 6 parcels are outside" in text and "3 volumes at the start" in text and "1 empty volumes" in text


def test_a_brain_mask_beside_the_image_gives_the_grand_mean(tmp_path: Path, atlas: Path) -> None:
    data = painted(courses())
    path = image(tmp_path, data, "sub-01_space-MNI152NLin6Asym_desc-preproc_bold")
    plain = read_series(path, card(atlas), atlas)
    mask = np.ones(SHAPE, np.uint8)
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "sub-01_space-MNI152NLin6Asym_desc-brain_mask.nii.gz")
    found = read_series(path, card(atlas), atlas)
    np.testing.assert_allclose(found.values * data.mean() / 500, plain.values, rtol=1e-3, atol=0.02)
    assert "not denoised" in found.stated[-1]


def test_an_image_that_is_scaled_and_filtered_is_left_alone(tmp_path: Path, atlas: Path) -> None:
    series = courses() - courses().mean(0)
    path = image(tmp_path, painted(series), Units="grand mean of the recording scaled to 10000")
    found = read_series(path, card(atlas), atlas)
    np.testing.assert_allclose(found.values, resample(series, TR, 1.0), atol=0.01)
    assert "neither was done again" in "; ".join(found.stated)
    with pytest.raises(Refused, match="its mean was removed"):
        read_series(image(tmp_path, painted(series)), card(atlas), atlas)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"space": "MNI152NLin2009cAsym"}, "space is MNI152NLin6Asym, the card says MNI152NLin2009cAsym"),
        ({"band_high_hz": 0.6, "rate_hz": 2}, None),
        ({"band_high_hz": 0.9, "rate_hz": 2}, "band_high_hz is 0.625, the card says 0.9"),
        ({"atlas_sha256": "0" * 64}, "sha256 .* the card's atlas blocks has 000"),
        ({"parcels": 6, "units": "scanner units"}, None),
    ],
)  # fmt: skip
def test_what_contradicts_the_card_is_refused(
    tmp_path: Path, atlas: Path, facts: dict[str, Any], message: str | None
) -> None:
    path = image(tmp_path, painted(courses()))
    if message is None:
        assert read_series(path, card(atlas, **facts), atlas).values.shape[1] == PARCELS
    else:
        with pytest.raises(InputError, match=message):
            read_series(path, card(atlas, **facts), atlas)


def test_errors_name_their_remedy(tmp_path: Path, atlas: Path) -> None:
    path = image(tmp_path, painted(courses()))
    for call, message in (
        (lambda: read_series(path, card(atlas)), "does not come with this package.*atlas"),
        (lambda: read_series(path, None, atlas), "does not say how its data were made"),
        (lambda: read_series(tmp_path / "none.tsv", card()), "no such file"),
        (lambda: read_series(atlas.with_suffix(".txt"), card()), "no such file"),
    ):
        with pytest.raises(BrainLMError, match=message):
            call()
    (tmp_path / "x.txt").write_text("1")
    (tmp_path / "x.npy").write_bytes(b"no")
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    for name, message in (("x.txt", "not a kind of file"), ("x.npy", "npy"), ("text.npy", "real numbers")):
        with pytest.raises(InputError, match=message):
            read_series(tmp_path / name, card())


def test_the_embedded_atlas_is_found_by_name() -> None:
    from brainlm_data.spaces.demo424 import embedded_atlas

    own = np.asarray(embedded_atlas()[0].dataobj)
    sha = hashlib.sha256(own.astype("<i4").tobytes()).hexdigest()
    found, _ = find_atlas(card(atlas="demo424", atlas_sha256=sha), None)
    np.testing.assert_array_equal(found, own)
    with pytest.raises(InputError, match="the card's atlas demo424 has none"):
        find_atlas(card(atlas="demo424"), None)


@pytest.mark.parametrize("suffix", [".tsv", ".npy"])
def test_series_are_compared_by_their_sidecar(tmp_path: Path, suffix: str) -> None:
    values = courses()
    path = tmp_path / f"x_timeseries{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        write_table(path, [f"p{i}" for i in range(PARCELS)], values)
    found = read_series(path, card())
    np.testing.assert_allclose(found.values, values, rtol=1e-8)
    assert len(found.stated) == 1 and all(key in found.stated[0] for key in COMPARED)
    assert "could be compared" in read_series(path, None).stated[0]
    side = {"SamplingFrequency": 1.0, "EffectiveBand": [0.01, 0.45], "AtlasName": "blocks",
            "Space": "MNI152NLin6Asym", "Units": "grand mean 10000"}  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(side))
    assert read_series(path, card()).stated == []
    path.with_suffix(".json").write_text(json.dumps({**side, "SamplingFrequency": 0.5}))
    with pytest.raises(InputError, match=r"rate_hz is 0\.5, the card says 1"):
        read_series(path, card())


def test_ptseries(tmp_path: Path) -> None:
    values = courses().astype(np.float32)
    cells = [np.array([[i, 0, 0]]) for i in range(PARCELS)]
    parcels = nib.cifti2.ParcelsAxis(
        [f"area{i}" for i in range(PARCELS)], cells, [{} for _ in cells], affine=AFFINE, volume_shape=SHAPE
    )

    def write(step: float) -> Path:
        axis = nib.cifti2.SeriesAxis(0, step, VOLUMES)
        nib.save(nib.Cifti2Image(values, header=(axis, parcels)), tmp_path / "x.ptseries.nii")
        return tmp_path / "x.ptseries.nii"

    found = read_series(write(1.0), card())
    np.testing.assert_allclose(found.values, values)
    assert "area0 ... area5" in found.stated[-1] and "band_low_hz" in found.stated[0]
    with pytest.raises(InputError, match=r"rate_hz is 1\.38889"):
        read_series(write(0.72), card())
    with pytest.raises(InputError, match="6 parcels, the card says 424"):
        read_series(write(1.0), card(parcels=424))


def test_a_store_is_compared_by_its_own_card() -> None:
    def stored(**facts: Any) -> dict[str, Any]:
        return {"card_data": card(**facts).content()}

    assert compare_store(stored(), card(), "store") == []
    assert compare_store(stored(band_high_hz=(0.2, 0.45)), card(band_high_hz=(0.1, 0.45)), "s") == []
    for facts in (
        {"rate_hz": 2},
        {"atlas": "other"},
        {"band_high_hz": (0.1, 0.45)},
        {"space_mismatch": "atlas in X"},
        {"atlas_sha256": "1"},
    ):
        with pytest.raises(InputError, match=next(iter(facts))):
            compare_store(stored(**facts), card(atlas_sha256="0"), "store")
    assert "units" in compare_store({"rate_hz": 1.0}, card(), "store")[0]
    with pytest.raises(InputError, match=r"store: its card is text alone \(an earlier release\) -> run `snakemake"):
        compare_store({"card": card().markdown(), "rate_hz": 1.0}, card(), "store")
    damaged = {"card_data": {**card().content(), "rate_hz": "fast"}}
    with pytest.raises(InputError, match="store: rate_hz: Input should be a valid number"):
        compare_store(damaged, card(), "store")


def test_prepare_still_refuses_a_file_without_sidecar(tmp_path: Path) -> None:
    np.savez(tmp_path / "scaler.npz", median=np.zeros(PARCELS), iqr=np.ones(PARCELS))
    (tmp_path / "card.md").write_text(card().markdown())
    write_table(tmp_path / "x.tsv", ["a"] * PARCELS, courses())
    with pytest.raises(InputError, match=r"card.md without card.json, made by an earlier release -> run `snakemake"):
        prepare(tmp_path / "x.tsv", tmp_path)
    card().save(tmp_path / "card.json", tmp_path / "card.md")
    with pytest.raises(InputError, match="no sidecar"):
        prepare(tmp_path / "x.tsv", tmp_path)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(InputError, match=r"card\.json: .*Expecting"):
        prepare(tmp_path / "x.tsv", tmp_path)


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((9, PARCELS), 1e200))
    with pytest.raises(InputError, match=r"a\.npy: values beyond those of 32-bit floats"):
        read_series(tmp_path / "a.npy", None)


def test_nobody_is_advised_to_unpickle(tmp_path: Path) -> None:
    file = tmp_path / "sub-01_task-rest.npy"
    np.save(file, np.array([{"a": 1}], dtype=object))
    for content in (file.read_bytes(), b"no array at all"):
        file.write_bytes(content)
        with pytest.raises(InputError, match="Python objects, which are never loaded") as error:
            read_series(file, None)
        assert "pickle" not in str(error.value)
