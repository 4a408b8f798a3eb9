from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.sidecar import write_facts
from brainlm_data.files.tables import read_table
from brainlm_data.methods import rigid
from brainlm_data.stage import Files
from brainlm_data.stages import sample
from tests.stages import phantom, sampled

T = 4


@pytest.fixture
def motion() -> NDArray[Any]:
    return phantom.motions(phantom.walk(T))


@pytest.fixture(autouse=True)
def route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainlm_data.methods.sampling.to_boldref", sampled.to_boldref)


def prepare(folder: Path, motion: NDArray[Any], data: NDArray[Any] | None = None) -> Files:
    data = phantom.series(motion) if data is None else data
    return sampled.prepare(folder, phantom.save(folder / "b.nii.gz", data), motion, data[..., 0])


def expected(inputs: Files, motion: NDArray[Any], points: NDArray[Any], order: int = 3) -> NDArray[Any]:
    """Values (T, n) by scipy, from the raw image and the composed transforms."""
    image = nib.load(inputs["bold"])
    data, back = image.get_fdata(), np.linalg.inv(image.affine)
    boldref = sampled.to_boldref(inputs, points)
    out = []
    for t, matrix in enumerate(motion):
        m = back @ matrix
        out.append(ndimage.map_coordinates(data[..., t], (boldref @ m[:3, :3].T + m[:3, 3]).T, order=order,
                                           mode="mirror"))  # fmt: skip
    return np.stack(out)


@pytest.mark.parametrize(("interpolation", "order"), [("cubic", 3), ("linear", 1)])
def test_parcel_means_are_one_composed_interpolation(
    tmp_path: Path, motion: NDArray[Any], interpolation: str, order: int
) -> None:
    inputs = prepare(tmp_path, motion)
    facts, out = sampled.run(inputs, interpolation=interpolation)
    labels = np.asarray(nib.load(inputs["atlas_dseg"]).dataobj)
    points = np.argwhere(labels > 0) @ sampled.GRID[:3, :3].T + sampled.GRID[:3, 3]
    values, parcel = expected(inputs, motion, points, order), labels[labels > 0]
    names, series = read_table(out["parcels_raw"])
    assert names == [f"P{v}" for v in np.unique(parcel)] and series.shape == (T, len(names))
    assert (read_table(out["coverage"])[1] == 1).all()
    for name, column in zip(names, series.T, strict=True):
        np.testing.assert_allclose(column, values[:, parcel == int(name[1:])].mean(1), rtol=1e-5)
    assert facts["AtlasName"] == "blocks" and facts["Space"] == "Phantom" and facts["Warnings"] == ["careful"]
    assert facts["RepetitionTime"] == 2.0 and facts["NumberOfVolumes"] == T
    assert "blocks" in sample.describe(facts) and "Phantom" in sample.describe(facts)


def test_routes_through_the_real_registration_files(
    tmp_path: Path, motion: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same points by a known function, by bold_to_mni, and by t1w_to_mni then bold_to_t1w; with own tissues."""
    inputs = prepare(tmp_path, motion)
    known = sampled.series(sampled.run(inputs)[1])
    monkeypatch.undo()
    middle = rigid.about(np.array([-0.2, 0.1, 0.05]), np.array([5.0, 6, -7]), np.zeros(3))
    files = {name: tmp_path / f"{name}.txt" for name in ("bold_to_mni", "t1w_to_mni", "bold_to_t1w")}
    rigid.write_itk(files["bold_to_mni"], sampled.ROUTE[None])
    rigid.write_itk(files["t1w_to_mni"], middle[None])
    rigid.write_itk(files["bold_to_t1w"], (sampled.ROUTE @ np.linalg.inv(middle))[None])
    plain = {name: path for name, path in inputs.items() if name != "bold_to_mni"}
    _, out = sampled.run(Files({**plain, "bold_to_mni": files["bold_to_mni"]}, inputs.meta))
    np.testing.assert_allclose(sampled.series(out), known, rtol=1e-4)
    tissue = nib.load(inputs["template_probseg"]).get_fdata(dtype=np.float32)
    for index, name in enumerate(sample.TISSUES):  # tissues swapped, and moved to where the T1w is
        plain[name] = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(tissue[..., 2 - index], middle @ sampled.GRID), plain[name])
    del files["bold_to_mni"]
    facts, out = sampled.run(Files({**plain, **files}, inputs.meta))
    np.testing.assert_allclose(sampled.series(out), known, rtol=1e-4)
    assert facts["sample_probseg"]["Source"] == "T1w of the subject"
    probabilities = nib.load(out["sample_probseg"]).get_fdata()
    deep = ndimage.binary_erosion(np.asarray(nib.load(out["sample_mask"]).dataobj) > 0, iterations=2)
    np.testing.assert_allclose(probabilities[deep], np.tile([0.2, 0.3, 0.5, 0.3, 0.5], (deep.sum(), 1)), atol=1e-4)


def test_motion_is_taken_out(tmp_path: Path, motion: NDArray[Any]) -> None:
    """Of a head without any signal of its own, parcel means move much less with the transforms than without."""
    inputs = prepare(tmp_path, motion)
    _, out = sampled.run(inputs)
    right = np.ptp(sampled.series(out), axis=0)
    still = sampled.prepare(tmp_path, inputs["bold"], np.stack([np.eye(4)] * T), phantom.series(motion)[..., 0])
    _, out = sampled.run(still)
    assert np.median(right) < 0.1 * np.median(np.ptp(sampled.series(out), axis=0))


def test_voxel_sample(tmp_path: Path, motion: NDArray[Any]) -> None:
    inputs = prepare(tmp_path, motion)
    facts, out = sampled.run(inputs)
    image, mask = nib.load(out["voxel_sample"]), nib.load(out["sample_mask"])
    inside = np.asarray(mask.dataobj) > 0
    assert image.get_data_dtype() == np.int16 and mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert image.shape == (*mask.shape, T) and image.header.get_zooms() == (4, 4, 4, 2)
    points = np.argwhere(inside) @ image.affine[:3, :3].T + image.affine[:3, 3]
    values = expected(inputs, motion, points)
    np.testing.assert_allclose(image.get_fdata()[inside].T, values, atol=0.51 * values.max() / 32000 + 0.01)
    assert (image.get_fdata()[~inside] == 0).all()
    assert facts["GrandMean"] == pytest.approx(values.mean(), rel=1e-4)
    assert facts["voxel_sample"]["NumberOfVoxels"] == inside.sum() > 2000
    tissues = nib.load(out["sample_probseg"])
    assert tissues.shape == (*mask.shape, 5)
    deep = ndimage.binary_erosion(inside, iterations=2)
    np.testing.assert_allclose(
        tissues.get_fdata()[deep], np.tile([0.5, 0.3, 0.2, 0.3, 0.2], (deep.sum(), 1)), atol=1e-5
    )


def test_eroded_tissues_are_one_fine_voxel_smaller(tmp_path: Path, motion: NDArray[Any]) -> None:
    """White matter is a box: what is left of it has lost 2 mm on every side, and no voxel outside has any."""
    inputs = prepare(tmp_path, motion)
    image = nib.load(inputs["template_probseg"])
    tissue = np.zeros(image.shape, np.float32)
    x, y, z = (n // 2 for n in image.shape[:3])
    tissue[x - 6 : x + 6, y - 6 : y + 6, z - 6 : z + 6, 1] = 1
    nib.save(nib.Nifti1Image(tissue, image.affine), inputs["template_probseg"])
    _, out = sampled.run(inputs)
    shares = nib.load(out["sample_probseg"]).get_fdata()
    assert shares.shape[3] == len(sample.VOLUMES)
    volume = shares.sum((0, 1, 2)) * 4**3
    size = 12 * float(np.cbrt(abs(np.linalg.det(image.affine))))
    assert volume[1] == pytest.approx(size**3, rel=0.05)
    assert volume[3] == pytest.approx((size - 4) ** 3, rel=0.15)
    assert (shares[..., 3] <= shares[..., 1] + 1e-6).all() and (shares[..., [0, 2, 4]] == 0).all()


def test_a_parcel_leaves_the_field_of_view(tmp_path: Path) -> None:
    """One volume moves 26 mm: what it does not hold is missing in all volumes, and coverage says so."""
    params = np.zeros((T, 6))
    params[2, 2] = -26
    inputs = prepare(tmp_path, phantom.motions(params))
    facts, out = sampled.run(inputs, min_coverage=0.5)
    coverage = read_table(out["coverage"])[1][0]
    series = sampled.series(out)
    assert 0 < (coverage < 0.5).sum() < len(coverage) and (coverage == 1).any()
    np.testing.assert_array_equal(np.isnan(series).all(0), coverage < 0.5)
    assert np.isfinite(series[:, coverage >= 0.5]).all()
    assert len(facts["MissingParcels"]) == (coverage < 0.5).sum()
    _, out = sampled.run(inputs, min_coverage=0)
    assert np.isnan(sampled.series(out)).all(0).sum() == (coverage == 0).sum()


def test_voxels_without_data_count_for_nothing(tmp_path: Path, motion: NDArray[Any]) -> None:
    """NaN in one volume, or zeros in all of them, are outside the fixed voxel set; others keep their values."""
    data = phantom.series(motion)
    clean = sampled.series(sampled.run(prepare(tmp_path, motion, data))[1])
    data[:6, ..., 1] = np.nan
    data[22:] = 0
    _, out = sampled.run(prepare(tmp_path, motion, data), min_coverage=1)
    coverage, series = read_table(out["coverage"])[1][0], sampled.series(out)
    assert (coverage < 1).any() and (coverage == 1).any()
    whole = coverage == 1
    assert np.isfinite(series[:, whole]).all() and np.isnan(series[:, ~whole]).all()
    # the spline's support is local: only a rim of parcels beside the gap differs
    assert np.median(np.abs(series[:, whole] / clean[:, whole] - 1)) < 1e-4


def test_a_volume_without_an_image_costs_no_parcel(tmp_path: Path, motion: NDArray[Any]) -> None:
    data = phantom.series(motion)
    inputs = prepare(tmp_path, motion, data)
    clean = sampled.series(sampled.run(inputs)[1])
    data[..., 1] = np.nan
    inputs = prepare(tmp_path, motion, data)
    seen = {"RepetitionTime": 2.0, "EmptyVolumes": [1], "HasNonFinite": False}
    write_facts(inputs["motion_params"], seen)
    facts, out = sampled.run(inputs)
    found = sampled.series(out)
    others = [t for t in range(len(clean)) if t != 1]
    np.testing.assert_array_equal(found[others], clean[others])
    assert np.isfinite(found[1]).all() and facts["EmptyVolumes"] == [1]  # the volume before, to be censored


def test_slices_are_moved_before_the_interpolation(tmp_path: Path) -> None:
    """A head whose brightness changes in time, acquired slice after slice: afterwards all parcels agree in time."""
    total, tr = 40, 2.0
    times = np.linspace(0, 1.8, phantom.SHAPE[2])
    still = phantom.series(np.stack([np.eye(4)]), noise=0)

    def wave(t: Any) -> Any:
        return 1 + 0.1 * np.sin(2 * np.pi * 0.06 * t)

    data = np.stack([still[..., 0] * wave(k * tr + times) for k in range(total)], -1)
    inputs = prepare(tmp_path, np.stack([np.eye(4)] * total), data)
    before = sampled.series(sampled.run(inputs)[1])
    recipe = {"corrected": True, "axis": 2, "tr_s": tr, "times_s": times.tolist(), "reference_s": 0.9, "n_steady": 0}
    (tmp_path / "s.json").write_text(json.dumps(recipe))
    write_facts(tmp_path / "s.json", {"Warnings": ["odd"]})
    facts, out = sampled.run(Files({**inputs, "slice_times": tmp_path / "s.json"}, inputs.meta))
    truth = wave(np.arange(total) * tr + 0.9)[6:-6]

    def worst(series: NDArray[Any]) -> float:
        part = series[6:-6] / series[6:-6].mean(0) - (truth / truth.mean())[:, None]
        return float(np.abs(part).max())

    assert worst(sampled.series(out)) < 0.002 and worst(before) > 0.02
    assert facts["SliceTimingCorrected"] and facts["StartTime"] == 0.9 and facts["Warnings"] == ["careful", "odd"]


def test_storage_order_changes_nothing(tmp_path: Path, motion: NDArray[Any]) -> None:
    inputs = prepare(tmp_path, motion)
    _, out = sampled.run(inputs)
    first = sampled.series(out)
    image = nib.load(inputs["bold"])
    for codes in ("RAS", "PIR"):
        wanted = nib.orientations.axcodes2ornt(codes)
        turned = image.as_reoriented(
            nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), wanted)
        )
        bold = phantom.save(tmp_path / f"{codes}.nii.gz", turned.get_fdata(dtype=np.float32), turned.affine)
        _, out = sampled.run(sampled.prepare(tmp_path, bold, motion, turned.get_fdata()[..., 0]))
        np.testing.assert_allclose(sampled.series(out), first, rtol=1e-5)


def test_a_failed_registration_is_refused(tmp_path: Path, motion: NDArray[Any], monkeypatch: Any) -> None:
    inputs = prepare(tmp_path, motion)
    monkeypatch.setattr("brainlm_data.methods.sampling.to_boldref", lambda _, points: points + 60)
    with pytest.raises(Refused, match=r"b\.nii\.gz: its brain covers \d+% of the template's"):
        sampled.run(inputs)


def test_inputs_that_do_not_belong_together(tmp_path: Path, motion: NDArray[Any]) -> None:
    inputs = prepare(tmp_path, motion)
    with pytest.raises(Refused, match="3 transforms for 4 volumes"):
        sampled.run(sampled.prepare(tmp_path, inputs["bold"], motion[:3], phantom.series(motion[:1])[..., 0]))
    inputs = prepare(tmp_path, motion)
    inputs["atlas_table"].write_text("index\tname\n900\tA\n901\tB\n")
    with pytest.raises(InputError, match="holds no label"):
        sampled.run(inputs)


def test_golden(tmp_path: Path, motion: NDArray[Any], golden: Callable[..., None]) -> None:
    facts, out = sampled.run(prepare(tmp_path, motion))
    golden(sample.STAGE, out, facts)
