"""Denoising strategies: every shipped one on a recording, what they may be, and what they must not bring back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from brainlm_data import strategies
from brainlm_data.config import section_from
from brainlm_data.errors import ConfigError, InputError, Refused
from brainlm_data.files.tables import read_table, write_table
from brainlm_data.methods.operators import Recipe, Temporal, cosines
from brainlm_data.methods.regression import Regression
from brainlm_data.stage import Files
from brainlm_data.stages import confounds, denoise, filter
from tests.conftest import ROOT
from tests.stages import fitted

MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
SIGNALS = ["csf", "white_matter", "global_signal"]
TERMS = ("", "_derivative1", "_power2", "_derivative1_power2")
# strategy: the columns that it regresses out, in any order (acompcor's cosines apart)
COLUMNS: dict[str, set[str]] = {
    "none": set(),
    "ica": set(),
    "scrubbing": set(),
    "24P": {f"{name}{term}" for name in MOTION for term in TERMS},
    "36P": {f"{name}{term}" for name in [*MOTION, *SIGNALS] for term in TERMS},
    "acompcor": {f"{name}{term}" for name in MOTION for term in TERMS[:2]}
    | {f"{mask}_comp_cor_{i:02d}" for mask in "cw" for i in range(5)},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Inputs of stage filter; two volumes are dropped."""
    files, _ = fitted.recording(tmp_path_factory.mktemp("strategies"), non_steady=2, noise=15)
    return fitted.run(confounds.STAGE, files, n_compcor=5)[1]


def run(files: Files, method: str = "butterworth", censor: float | None = 0.5, **section: Any) -> Any:
    files = fitted.run(filter.STAGE, files, method=method, censor_fd_mm=censor)[1]
    return fitted.run(denoise.STAGE, files, **section)


def test_all_are_tested() -> None:
    assert set(strategies.names()) == set(COLUMNS)
    for name in COLUMNS:
        strategy = strategies.shipped(name)
        assert strategy.name == name and strategy.summary and strategy.text.endswith(".")
        assert all("doi:10." in source for source in strategy.citations)
        assert strategy.citations or name == "none"
        for source in strategy.citations:  # the prose names what the list spells out
            assert source.split(" et al.")[0] in strategy.text
        assert f"| {name} |" in (ROOT / "docs/stages/denoise.md").read_text()


@pytest.mark.parametrize("method", ["butterworth", "cosine"])
@pytest.mark.parametrize("name", [*COLUMNS, "ica+24P", "36P+scrubbing", "ica+acompcor+scrubbing"])
def test_every_strategy_runs_and_brings_no_filtered_frequency_back(files: Files, name: str, method: str) -> None:
    facts, out = run(files, method, strategy=name, fits=1)
    parts = name.split("+")
    expected = set().union(*(COLUMNS[part] for part in parts))
    found = {c for c in facts["Confounds"] + facts["ConfoundsOutsideBand"] if not c.startswith("cosine")}
    assert found == expected and facts["Strategy"] == name
    assert (facts["NumberOfComponents"] > 0) == ("ica" in parts) == facts["Ica"]
    assert len(facts["Confounds"]) == len(set(facts["Confounds"]))
    d = Regression.load(out["denoise_recipe"])
    # one column each, and further ones where singular values had to be limited
    columns = facts["NumberOfNoiseComponents"] + len(facts["Confounds"])
    assert d.noise.shape[1] == columns or (facts["SingularValueLimit"] and d.noise.shape[1] > columns)
    text = denoise.describe(facts)
    assert all(strategies.shipped(part).text in text for part in parts)
    assert facts["Citations"] == sorted({c for part in parts for c in strategies.shipped(part).citations})

    # below the high-pass edge there is nothing before D, and nothing after it
    recipe = Recipe.load(out["filter_recipe"])
    series = read_table(out["parcels_raw"])[1][:, :7]
    before = Temporal(recipe, Regression(d.noise[:, :0], d.readout[:0]), 1.0).apply(series)[recipe.dropped :]
    after = Temporal(recipe, d, 1.0).apply(series)[recipe.dropped :]
    edge = 0.01 if method == "cosine" else 0.005
    slow = cosines(len(after), fitted.TR, edge)
    raw = series[recipe.dropped :] - series[recipe.dropped :].mean(0)

    def share(x: Any) -> float:
        return float((slow.T @ x).std() ** 2 / (slow.T @ raw).std() ** 2)

    limit = 1e-12 if method == "cosine" else 5e-3  # a Butterworth filter of 138 volumes leaves something at the ends
    assert share(before) < limit and share(after) < limit
    assert np.abs(after.mean(0)).max() < 0.02 * before.std(0).max()
    if facts["Confounds"] or facts["Ica"]:
        assert after.var(0).sum() < before.var(0).sum() and (after.var(0) < before.var(0) * (1 + 1e-6)).all()
    else:
        np.testing.assert_allclose(after, before, atol=1e-9)


def test_scrubbing_needs_the_filter_s_censoring(files: Files) -> None:
    for censor in (None, 0.6):
        with pytest.raises(InputError, match=r"scrubbing needs filter\.censor_fd_mm of 0\.5 or less, not (None|0\.6)"):
            run(files, censor=censor, strategy="24P+scrubbing")
    facts, out = run(files, censor=0.3, strategy="scrubbing")
    assert Recipe.load(out["filter_recipe"]).censored and facts["Confounds"] == []


def test_cosines_count_only_where_the_filter_leaves_them(files: Files) -> None:
    facts, _ = run(files, "cosine", strategy="acompcor")
    assert facts["ConfoundsOutsideBand"] == ["cosine00", "cosine01", "cosine02"]
    facts, _ = fitted.run(denoise.STAGE, fitted.run(filter.STAGE, files, low_hz=None)[1], strategy="acompcor")
    assert facts["ConfoundsOutsideBand"] == [] and "cosine02" in facts["Confounds"]


def test_an_own_file(files: Files, tmp_path: Path) -> None:
    """Its content is what the checked section holds, so that an edit of the file reruns the stage."""
    file = tmp_path / "mine.yaml"
    content = {"name": "mine", "columns": ["csf", "rot_?"], "text": "CSF and rotations were regressed out."}
    file.write_text(yaml.safe_dump(content))
    for value in (str(file), [str(file)], content, [content]):
        config = denoise.Config.model_validate({"strategy": value})
        assert denoise.Config.model_validate(json.loads(config.model_dump_json())) == config
        assert strategies.resolve(config.strategy)[0].columns == ("csf", "rot_?")
    first = denoise.STAGE.signature(denoise.Config(strategy=["ica", str(file)]))
    file.write_text(yaml.safe_dump(content | {"columns": ["csf"]}))
    assert denoise.STAGE.signature(denoise.Config(strategy=["ica", str(file)])) != first
    facts, _ = run(files, strategy=["scrubbing", str(file)], confounds=["white_matter"])
    assert facts["Strategy"] == "scrubbing+mine" and facts["Confounds"] == ["csf", "white_matter"]
    assert "CSF and rotations were regressed out. 1 further confound (white_matter)" in denoise.describe(facts)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("27P", "unknown strategy '27P': 24P, 36P, acompcor, ica, none, scrubbing, joined by +, or a .yaml file"),
        ("ica+", "unknown strategy ''"),
        (3, "unknown strategy 3"),
        ("none+24P", "none goes with no other strategy"),
        ("absent.yaml", "absent.yaml: not readable"),
        ({"name": "x", "text": "No end", "ica": True}, "strategy: text: String should match"),
        ({"name": "x", "text": "A.", "colums": []}, "strategy: colums: Extra inputs are not permitted; keys: name"),
    ],
)
def test_errors_are_one_line(value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section_from({"strategy": value}, denoise.STAGE)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("config: denoise.strategy: ")


def test_words_for_nothing() -> None:
    for value in (None, "none", "null", ["none"]):
        assert denoise.Config(strategy=value).strategy is None
    with pytest.raises(ValidationError):
        denoise.Config(strategy=["none", "ica"])


def test_a_column_that_says_nothing(files: Files, tmp_path: Path) -> None:
    names, table = read_table(files["confounds"])
    table[:, names.index("csf")] = np.nan
    write_table(tmp_path / "confounds_timeseries.tsv", names, table)
    filtered = fitted.run(filter.STAGE, files)[1]
    changed = Files({**filtered, "confounds": tmp_path / "confounds_timeseries.tsv"}, files.meta)
    with pytest.raises(Refused, match="csf n/a in every volume"):
        fitted.run(denoise.STAGE, changed, strategy=None, confounds=["csf"])
