import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from brainlm_data import by_network, open_store
from brainlm_data.runner.call import call
from brainlm_model import figures
from brainlm_model.eval.masked import stage as evaluate
from brainlm_model.figures import (
    FIGURES,
    STAGE,
    Config,
    cohort,
    connectivity,
    masked_r2,
    reconstruction,
    sources_of,
    training,
)
from brainlm_model.figures.style import coded, style
from brainlm_model.training import stage as train
from tests.conftest import ROOT
from tests.model.results import NETWORKS, artifact, files


@pytest.fixture(autouse=True)
def _style():
    with style():
        yield
    plt.close("all")


def words(figure) -> str:
    return " | ".join(t.get_text() for t in figure.findobj(plt.Text) if t.get_text())


def test_the_stage_reads_what_its_figures_are_drawn_from():
    assert set(STAGE.inputs) == {source for name in FIGURES for source in sources_of(name)}


def test_the_same_tables_give_the_same_bytes(finished, tmp_path):
    again = files(tmp_path, STAGE.outputs)
    call(STAGE, files(finished, STAGE.inputs), again, Config(dpi=60))
    for name in STAGE.outputs:
        assert again[name].read_bytes() == artifact(finished, name).read_bytes(), name
        assert again[name].stat().st_size > 5000


def test_svg_files_hold_no_date(finished):
    for name in FIGURES:
        assert not re.search(r"<dc:date>|20\d\d-\d\d-\d\d", artifact(finished, f"{name}_svg").read_text())


def test_dpi_is_that_of_the_png(finished, tmp_path):
    small, large = (plt.imread(artifact(finished, "cohort_png")), files(tmp_path, STAGE.outputs))
    call(STAGE, files(finished, STAGE.inputs), large, Config(dpi=120))
    assert plt.imread(large["cohort_png"]).shape[0] == 2 * small.shape[0]


def test_masked_r2_shows_the_numbers_of_the_table(finished):
    table = pd.read_csv(artifact(finished, "masked_csv"))
    figure = masked_r2.draw(artifact(finished, "masked_csv"))
    flat = table[(table["metric"] == "r2_flat") & (table["masking"] == "random")]
    drawn = {c.get_label(): c.lines[0].get_ydata() for c in figure.axes[0].containers}
    for label, rows in flat.groupby("label"):
        np.testing.assert_allclose(drawn[label], np.maximum(rows["value"], masked_r2.FLOOR))
    text = words(figure)
    assert "Random masking" in text and "Future masking" in text
    assert "6 held-out subjects" in text and "0.01 to 0.45 Hz" in text
    below = flat.loc[flat["value"] < masked_r2.FLOOR, "value"]
    assert len(below) and all(f"{value:.2f}" in text for value in below)  # off the axis, but written out


def outside(figure) -> list[str]:
    """Texts of legends and titles that leave the figure."""
    figure.draw_without_rendering()
    whole = figure.bbox
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    texts = [t for legend in legends for t in legend.get_texts()] + [axes.title for axes in figure.axes]
    found = []
    for text in texts:
        box = text.get_window_extent()
        if box.x0 < whole.x0 - 1 or box.x1 > whole.x1 + 1 or box.y0 < whole.y0 - 1 or box.y1 > whole.y1 + 1:
            found.append(text.get_text())
    return found


@pytest.mark.parametrize("kinds", [["random"], ["random", "future"]])
def test_the_legend_of_masked_r2_is_within_the_figure(finished, tmp_path, kinds):
    table = pd.read_csv(artifact(finished, "masked_csv"))
    table[table["masking"].isin(kinds)].to_csv(tmp_path / "masked.csv", index=False)
    assert outside(masked_r2.draw(tmp_path / "masked.csv")) == []


def test_the_legend_of_training_covers_no_curve(finished):
    figure = training.draw(artifact(finished, "train_log"))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_legend().get_window_extent().y0 >= axes.bbox.y1 - 1 and outside(figure) == []


def test_columns_that_name_their_codes():
    assert coded("sex_1m_2f") == ("sex", {"1": "male", "2": "female"})
    assert coded("dx_1asd_2control") == ("dx", {"1": "asd", "2": "control"})
    for plain in ("age", "site", "visit_1a", "group_2", "_1a_2b", ""):
        assert coded(plain) == (plain, {})


def test_training_without_validation_subjects_says_so(finished, tmp_path):
    log = pd.read_csv(artifact(finished, "train_log"))
    assert "trained" in words(training.draw(artifact(finished, "train_log")))
    log.assign(validation_r2=np.nan).to_csv(tmp_path / "log.csv")
    assert "no validation subjects" in words(training.draw(tmp_path / "log.csv"))


def test_reconstruction_shows_truth_and_both_methods(finished):
    text = words(reconstruction.draw(artifact(finished, "masked_example")))
    for word in ("Truth", "Visible to every method", "Model: R²", "Conditional Gaussian: R²", "time (s)", *NETWORKS):
        assert word in text


def test_mean_connectivity_is_the_mean_of_correlations(finished):
    store = open_store(artifact(finished, "store"))
    ids = ["sub-00_task-rest", "sub-01_task-rest"]
    found = connectivity.mean_connectivity(store, ids)
    pair = [np.arctanh(np.corrcoef(store.series(i)[:, 3], store.series(i)[:, 7])[0, 1]) for i in ids]
    assert found[3, 7] == pytest.approx(np.tanh(np.mean(pair)))
    outside = connectivity.mean_connectivity(store, ["sub-17_task-rest"])  # parcel 5 has no data
    assert np.isnan(outside[5]).all() and np.isfinite(outside[3, 7])
    assert "18 recordings of 18 subjects" in words(connectivity.draw(artifact(finished, "store")))


def test_cohort_counts_refused_and_excluded_recordings(finished, tmp_path):
    text = words(cohort.draw(artifact(finished, "recordings")))
    assert "20 recordings: 18 done, 1 excluded, 1 refused" in text
    assert "train\n(n = 10)" in text and "excluded\n(n = 1)" in text
    table = pd.read_parquet(artifact(finished, "recordings")).drop(columns="median_tsnr")
    table.to_parquet(tmp_path / "recordings.parquet")
    assert "not measured" in words(cohort.draw(tmp_path / "recordings.parquet"))


def test_parcels_are_ordered_by_network_with_unassigned_ones_last():
    order, groups = by_network(["Visual", "n/a", "Control", "Visual", ""])
    assert order.tolist() == [2, 0, 3, 1, 4]
    assert groups == [("Control", 0, 1), ("Visual", 1, 3), ("unassigned", 3, 5)]


def test_drawing_needs_nothing_but_its_table(finished, tmp_path):
    shutil.copy(artifact(finished, "masked_csv"), tmp_path / "masked.csv")
    assert masked_r2.draw(tmp_path / "masked.csv").axes
    assert figures.STAGE.describe({"Figures": ["a"], "DotsPerInch": 1})


def test_golden(finished, golden):
    golden(STAGE, {name: artifact(finished, name) for name in STAGE.outputs}, after=[train.STAGE, evaluate.STAGE])


def test_the_tutorial_draws_the_figure_of_the_run_again(finished, tmp_path, monkeypatch):
    page = (ROOT / "docs/tutorials/figure-again.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code.replace("/data/out/metrics/masked.csv", str(artifact(finished, "masked_csv"))), {})
    assert (tmp_path / "masked_r2.svg").read_bytes()
