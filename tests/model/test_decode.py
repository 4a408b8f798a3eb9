"""The three stages on a small experiment whose patterns say linearly what was seen: controls, page, no leak."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")

from brainlm_data import Files, InputError, Patterns, call
from brainlm_model.decode import words
from brainlm_model.decode.autoencoder import tiny
from brainlm_model.decode.diffusion import Painter, tiny_unet
from brainlm_model.decode.methods import LABELS, MEASURES
from brainlm_model.decode.scmbm import SCMBM as Network
from brainlm_model.decode.scmbm import sized
from brainlm_model.decode.stages import decode, diffusion, scmbm

SCMBM = scmbm.Config(steps=15, batch_size=8)
DIFFUSION = diffusion.Config(autoencoder_steps=10, unet_steps=3, steps=8, batch_size=8)
DECODE = decode.Config(samples=3, sampling_steps=2, shown=3)


def experiment() -> Patterns:
    """Bars of 16 x 16 at 20 places, seen by two people; 90 voxels are a linear code of the pixels, with noise."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((20, 16, 16), np.uint8)
    for number in range(20):
        pictures[number, :, number % 10 : number % 10 + 3] = 255
        pictures[number, (number // 10) * 6 : (number // 10) * 6 + 2] = 180
    code = rng.normal(size=(256, 90))
    place = np.tile(np.arange(20), 2)
    patterns = (pictures[place].reshape(40, -1) / 255) @ code
    patterns = (patterns - patterns.mean(0)) / patterns.std(0) + 0.1 * rng.normal(size=(40, 90))
    names = np.array([f"bar{number:02d}" for number in range(20)])
    return Patterns(
        patterns=patterns.astype(np.float32), stimulus=names[place], category=np.array(["bar"] * 40),
        split=np.where(place % 4 == 1, "test", "train"), run=np.array(["1"] * 40),
        subject=np.repeat(["01", "02"], 20), repeats=np.where(place % 4 == 1, 3, 1), pictures=pictures, names=names,
        windows=rng.normal(size=(6, 90)).astype(np.float32),
    )  # fmt: skip


TOLD = ("conv_out", "to_vector", "straight")  # of hundreds of tensors, those that the golden file holds
INNER = tuple(
    name
    for network in (tiny((16, 16)), Painter(Network(sized("scmbm-tiny"), 6), tiny_unet((8, 2, 2)), None, (8, 2, 2)))
    for name in network.state_dict()
    if not any(told in name for told in TOLD)
)
LEARNING = ((scmbm.STAGE, SCMBM), (diffusion.STAGE, DIFFUSION))


def run_all(
    home: Path, patterns: Patterns, workdir: Path | None = None, stages: Any = (*LEARNING, (decode.STAGE, DECODE))
) -> dict[str, Path]:
    home.mkdir()
    files = {"trials": home / "trials.npz"}
    patterns.save(files["trials"])
    for stage, config in stages:
        outputs = {name: artifact.path(home) for name, artifact in stage.artifacts.items()}
        meta = {} if workdir is None else {"workdir": str(workdir / stage.name)}
        facts = call(stage, Files(files, meta), outputs, config)
        assert stage.describe(facts)
        files |= outputs
    return files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run_all(tmp_path_factory.mktemp("decode") / "home", experiment())


def test_every_method_has_every_measure_with_its_interval(made: dict[str, Path]) -> None:
    content = json.loads(made["decode_json"].read_text())
    assert list(content["methods"]) == list(LABELS)
    for by_measure in content["methods"].values():
        assert list(by_measure) == list(MEASURES)
        for row in by_measure.values():
            assert row["value"] is not None and {"low", "high", "less_ridge", "subjects_low"} <= set(row)
    ridge = content["methods"]["ridge_pixels"]
    assert ridge["two_way"]["value"] > 0.9  # the code is linear
    assert ridge["two_way"]["less_ridge"]["value"] == 0
    assert content["methods"]["mean"]["two_way"]["value"] == pytest.approx(0.5)
    assert [row["method"] for row in content["Ablations"]] == ["decoded", "no_pretraining"]
    assert all(row["comparable"].startswith("no: ") for row in content["Published"])


def test_warnings_say_what_to_doubt(made: dict[str, Path]) -> None:
    text = " ".join(json.loads(made["decode_json"].read_text())["Warnings"])
    for said in (
        "5 test stimuli",
        "1 of 1 test categories are training categories",
        "participation ratio",
        "means of 3",
    ):
        assert said in text


def test_page_and_figure(made: dict[str, Path]) -> None:
    page = made["decode_page"].read_text()
    assert page.count("data:image/svg+xml;base64,") == 1
    assert all(label.replace("'", "&#39;") in page for label in LABELS.values())
    assert "Before you believe it" in page and "MinD-Vis on GOD" in page
    arrays = np.load(made["decode_arrays"])
    assert arrays["samples"].shape == (3, 3, 16, 16)
    assert (np.diff(arrays["pixel_r"]) <= 0).all()


def test_saved_networks_paint_the_same(made: dict[str, Path]) -> None:
    from brainlm_model.decode.methods import painted_samples

    patterns = experiment()
    encoder, _ = scmbm.learnt(patterns, SCMBM)
    fresh, _ = diffusion.learnt(patterns, encoder, False, DIFFUSION)
    kept = diffusion.load(made)
    first, second = (painted_samples(patterns, each, False, "pndm", 2, 1, 0) for each in (fresh, kept))
    for name in diffusion.PAINTERS:
        np.testing.assert_allclose(first[name], second[name], atol=1e-5)


def test_no_test_row_reaches_any_training(made: dict[str, Path], tmp_path: Path) -> None:
    """With other test patterns and other test pictures every network has the same bytes."""
    patterns, rng = experiment(), np.random.default_rng(5)
    test = patterns.split == "test"
    values, pictures = patterns.patterns.copy(), patterns.pictures.copy()
    values[test] = rng.normal(size=values[test].shape)
    pictures[np.isin(patterns.names, patterns.stimulus[test])] = 77
    other = run_all(
        tmp_path / "home", replace(patterns, patterns=values, pictures=pictures), tmp_path / "work", LEARNING
    )
    for name in ("scmbm_model", *(n for n in diffusion.ARTIFACTS if n not in ("diffusion_log", "diffusion_checksums"))):
        assert other[name].read_bytes() == made[name].read_bytes(), name


def test_transductive_is_off_and_said_where_it_is_on() -> None:
    assert not scmbm.Config().transductive
    table = {"shuffled": {"two_way": {"value": 0.9, "low": 0.8, "high": 0.95}}}
    patterns = experiment()
    facts = {"TestStimuli": 60, "Repeats": [1, 1], "Transductive": True}
    lines = words.warnings(patterns, patterns.of("test").seen() / 255, table, facts)
    assert any("transductive" in line for line in lines)
    assert any("look for a leak" in line for line in lines)


def test_one_picture_under_two_names_is_said() -> None:
    patterns, table = experiment(), {"shuffled": {"two_way": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    facts = {"TestStimuli": 60, "Repeats": [1, 1], "Transductive": False}
    seen = patterns.of("test").seen() / 255
    assert not any("of another name" in line for line in words.warnings(patterns, seen, table, facts))
    pictures, place = patterns.pictures.copy(), patterns.names.tolist().index
    pictures[place(patterns.of("test").stimulus[0])] = pictures[place(patterns.of("train").stimulus[3])]
    lines = words.warnings(replace(patterns, pictures=pictures), seen, table, facts)
    assert any(line.startswith("1 test stimuli have the same picture") for line in lines)


def test_words_follow_the_interval_of_the_difference() -> None:
    def said(low: float, high: float) -> str:
        return words.compared("a", "b", {"value": (low + high) / 2, "low": low, "high": high})

    assert "a is better than b" in said(0.1, 0.2)
    assert "a is worse than b" in said(-0.2, -0.1)
    assert "not distinguishable" in said(-0.1, 0.2)
    assert "not distinguishable" in said(float("nan"), float("nan"))


def test_dimensions_of_pictures() -> None:
    rng = np.random.default_rng(0)
    assert words.dimensions(np.ones((5, 3, 3))) == 0
    line = rng.normal(size=(50, 1)) * rng.normal(size=(1, 9))
    assert words.dimensions(line.reshape(50, 3, 3)) == pytest.approx(1)
    assert words.dimensions(rng.normal(size=(5000, 2, 2))) == pytest.approx(4, rel=0.02)


def test_shuffled_pairs_never_keep_their_own_picture() -> None:
    stimulus = np.array(["a", "a", "b", "c", "c", "d", "e"])
    partner = diffusion.deranged(stimulus, 3)
    assert sorted(partner) == list(range(7))
    assert (stimulus[partner] != stimulus).all()
    # nor the category, which names may sort by: as often the same one as by chance
    category = np.repeat(["6", "9"], 50)
    named = np.array([f"{kind}/{row:03d}" for row, kind in enumerate(category)])
    same = [(category[diffusion.deranged(named, seed)] == category).mean() for seed in range(20)]
    assert 0.42 < np.mean(same) < 0.56
    with pytest.raises(InputError, match="3 of 4 training patterns are of one stimulus"):
        diffusion.deranged(np.array(["a", "a", "a", "b"]), 0)


@pytest.mark.parametrize(("stage", "after"), [(scmbm, []), (diffusion, [scmbm]), (decode, [scmbm, diffusion])])
def test_golden(made: dict[str, Path], golden: Callable[..., None], stage: Any, after: list[Any]) -> None:
    outputs = {name: made[name] for name in stage.ARTIFACTS}
    before = [each.STAGE for each in after]
    golden(stage.STAGE, outputs, after=before, rtol=0.05, ignore=INNER if stage is diffusion else ())
