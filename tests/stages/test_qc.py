from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainlm_data.files.sidecar import write_facts
from brainlm_data.quality import mosaic
from brainlm_data.quality.alignment import Alignment
from brainlm_data.quality.measures import tsnr_of
from brainlm_data.quality.plots import Volume
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import qc
from brainlm_data.stages.qc import Config
from tests.browser import Browser
from tests.stages import measured


def run(inputs: Files, **section: Any) -> tuple[dict[str, Any], dict[str, Any], Path]:
    folder = inputs["atlas_table"].parent
    outputs = Files({"qc_metrics": folder / "qc.json", "qc_page": folder / "report.html"}, inputs.meta)
    facts = call(qc.STAGE, inputs, outputs, Config(**section))
    return json.loads(outputs["qc_metrics"].read_text()), facts, outputs["qc_page"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, tuple[dict[str, Any], dict[str, Any], Path]]:
    """A recording, and what the stage makes of it with all of its figures."""
    inputs = measured.recording(tmp_path_factory.mktemp("drawn"), shift=(1, 0, 0))
    return inputs, run(inputs)


@pytest.mark.usefixtures("words_only")
def test_metrics(tmp_path: Path) -> None:
    metrics, facts, page = run(measured.recording(tmp_path), pages=False)
    assert not page.exists()
    assert metrics["n_volumes"] == measured.T
    assert metrics["mean_fd_mm"] == pytest.approx((58 * 0.1 + 2) / 59)
    assert metrics["max_fd_mm"] == 2
    assert metrics["fd_over_05"] == pytest.approx(1 / 59)
    assert (metrics["n_ica"], metrics["n_ica_noise"], metrics["n_non_steady"], metrics["n_censored"]) == (5, 2, 1, 3)
    assert (metrics["coverage_min"], metrics["n_missing_parcels"]) == (0, 1)
    assert metrics["median_tsnr"] == pytest.approx(87, rel=0.05)  # mean about 870, noise 10
    assert sorted(facts["Warnings"]) == sorted(metrics["warnings"])
    assert metrics["warnings"] == [
        "coverage_min 0 is below 0.5: a parcel is largely outside the field of view",
        "the header's TR was wrong",
    ]


def test_tsnr_does_not_fall_with_drift() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (400, 50)).astype(np.float32)
    drift = np.linspace(-50, 50, 400, dtype=np.float32)[:, None]
    np.testing.assert_allclose(tsnr_of(500 + drift + noise, 0), 250, rtol=0.15)
    assert tsnr_of(np.ones((9, 2), np.float32), 0).tolist() == [0, 0]


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, 0, 0), (0, -2, 1), (-1, 1, 2)])
def test_offset_is_found(shift: tuple[int, int, int]) -> None:
    """In both contrasts, with a bias field and noise; masks of brain and template overlap whatever the shift."""
    tissues, mask, affine = measured.anatomy()
    rng = np.random.default_rng(0)
    for levels in ((900, 700, 1300), (600, 1000, 200)):
        image = measured.contrast(shift, levels) + rng.normal(0, 60, mask.shape)
        found = Alignment(image, tissues, mask, affine)
        np.testing.assert_allclose(found.offset, 4 * np.array(shift), atol=0.8)
    assert (found.r2 > 0.5) == (shift == (0, 0, 0))


def test_a_registration_that_failed_is_noticed(tmp_path: Path) -> None:
    metrics, _, _ = run(measured.recording(tmp_path, shift=(0, 2, -1)), pages=False)
    assert any(w.startswith("epi_offset_mm") for w in metrics["warnings"])
    assert any(w.startswith("t1w_offset_mm") for w in metrics["warnings"])


@pytest.mark.usefixtures("words_only")
def test_without_t1w_there_is_nothing_to_say_about_it(tmp_path: Path) -> None:
    metrics, _, page = run(measured.recording(tmp_path, t1w=False), n_components_shown=0)
    assert "t1w_offset_mm" not in metrics
    assert "T1w normalized" not in page.read_text() and "subject&#39;s own T1w" not in page.read_text()


def test_page_is_one_file_that_shows_everything(drawn: Any) -> None:
    inputs, (metrics, _, page) = drawn
    html = page.read_text()
    # registration 8, regions 2, motion 1, carpet 1, tSNR 1, parcels 2, components 5
    assert html.count("data:image/") == html.count("<img") == 20
    assert len(html) < 3e6
    assert 'src="http' not in html and "<script src" not in html and "<link" not in html
    for text in (
        "sub-01_task-rest", "T1w normalized to the template", "subject&#39;s own T1w", "Rigid motion",
        "before and after filtering", "5 components, 2 of them noise",
        "ica_00: noise, removed (motion)", "ica_01: kept",
        "Below 0.5: p0, p3.", *metrics["warnings"][:1], "the header&#39;s TR was wrong",
        "Series were scaled.", "The band was chosen.",
    ):  # fmt: skip
        assert text in html, text
    first = page.read_bytes()
    run(inputs)
    assert page.read_bytes() == first


@pytest.mark.parametrize("width", [1400, 420])
def test_page_in_a_browser(drawn: Any, browser: Browser, width: int) -> None:
    page = drawn[1][2]
    browser.open(page, width)
    found = browser.audit()
    assert all(text.startswith("leads nowhere") for text in found), found  # the other pages of an outdir
    pair = "document.querySelector('.pair')"
    images = f"[...{pair}.querySelectorAll('img')].map(e => e.getBoundingClientRect())"
    first, second = browser.evaluate(f"{images}.map(b => [b.x, b.y, b.width, b.height])")
    assert first == second  # one lies on the other
    hidden = f"getComputedStyle({pair}.querySelectorAll('span')[1]).visibility"
    assert browser.evaluate(hidden) == "hidden"
    browser.evaluate(f"{pair}.querySelector('button').click()")
    assert browser.evaluate(hidden) == "visible"


def test_left_and_right_of_a_picture() -> None:
    """What is on the right of the head is on the right of the picture, whatever the order of the voxels."""
    for flip in (1, -1):
        data = np.zeros((20, 24, 18), np.float32)
        data[1:-1, 1:-1, 1:-1] = 0.2
        x_mm = flip * (np.arange(20) * 4 - 38)
        data[x_mm > 20, 8:16, 6:12] = 1.0
        affine = np.diag([4.0 * flip, 4, 4, 1])
        affine[:3, 3] = [-38 * flip, -46, -34]
        volume = Volume(data, affine)
        rows = mosaic.cuts_of(volume, axes=(2, 1), count=3, width=900)
        pixels = np.asarray(Image.open(io.BytesIO(mosaic.picture(volume, rows, limits=(0, 1)))).convert("L"))
        height = rows[0][0].pixels[1] // mosaic.FINE
        for part in (pixels[:height, 300:600], pixels[height:, 300:600]):  # cuts through the middle
            inside = part[25:-25]  # without what is written on it
            assert inside[:, 150:].max() > 240 and inside[:, :150].max() < 80


def test_a_contour_is_where_its_volume_crosses_the_level() -> None:
    affine = np.diag([2.0, 2, 2, 1])
    data = np.zeros((40, 40, 40), np.float32)
    data[10:30, 10:30, 10:30] = 1
    cut = mosaic.cuts_of(Volume(np.ones_like(data), affine), axes=(2,), count=3, width=1200)[0][1]
    edge = mosaic.Contour(Volume(data, affine), "#FFFFFF").edge(cut)
    mm = np.argwhere(edge) / edge.shape * [cut.high[i] - cut.low[i] for i in (1, 0)]
    np.testing.assert_allclose(np.ptp(mm, axis=0), 40, atol=1)  # 20 voxels of 2 mm


@pytest.mark.usefixtures("words_only")
@pytest.mark.parametrize(
    ("facts", "said"),
    [({}, "Not done: slice timing correction, susceptibility distortion correction."),
     ({"SliceTimingCorrected": True}, "Not done: susceptibility distortion correction."),
     ({"Image": "nipreps/fmriprep"}, "")],
)  # fmt: skip
def test_what_is_not_done_is_said(tmp_path: Path, facts: dict[str, Any], said: str) -> None:
    inputs = measured.recording(tmp_path)
    write_facts(inputs["parcels_raw"], {**inputs.facts("parcels_raw"), **facts})
    inputs.meta["metadata"] = {"PhaseEncodingDirection": "j-"} if facts else {}
    html = run(inputs, n_components_shown=0)[2].read_text()
    assert said in html and ("Not done" in html) == bool(said)
    assert ("phase encoding j-" in html) == bool(facts)


@pytest.mark.usefixtures("words_only")
def test_warnings_of_earlier_stages_are_on_the_page(tmp_path: Path) -> None:
    inputs, warning = measured.recording(tmp_path), "atlas in MNI152NLin6Asym, template MNI: look"
    write_facts(inputs["atlas_table"], {"Warnings": [warning]})
    metrics, facts, page = run(inputs, n_components_shown=0)
    assert warning in metrics["warnings"] and warning in facts["Warnings"] and warning in page.read_text()


@pytest.mark.usefixtures("words_only")
def test_runs_that_are_short_or_have_no_components(tmp_path: Path) -> None:
    inputs = measured.recording(tmp_path)
    table = pd.read_csv(inputs["ica_metrics"], sep="\t").iloc[:0]
    table.to_csv(inputs["ica_metrics"], sep="\t", index=False)
    metrics, _, page = run(inputs)
    assert metrics["n_ica"] == 0
    assert "Independent components" not in page.read_text()


@pytest.mark.usefixtures("words_only")
def test_describe(tmp_path: Path) -> None:
    _, facts, _ = run(measured.recording(tmp_path), pages=False, min_tsnr=None)
    sentence = qc.STAGE.describe(facts)
    assert "mean framewise displacement above 0.5 mm" in sentence
    assert "tSNR" not in sentence


def test_golden(drawn: Any, golden: Callable[..., None]) -> None:
    _, facts, page = drawn[1]
    golden(qc.STAGE, {"qc_metrics": page.with_name("qc.json"), "qc_page": page}, facts)
