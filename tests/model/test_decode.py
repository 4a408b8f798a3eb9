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

from brainlm_data import BrainLMError, Files, InputError, Patterns, call
from brainlm_model.decode import words
from brainlm_model.decode.alone import decode_alone
from brainlm_model.decode.autoencoder import tiny
from brainlm_model.decode.classifier import DIGITS
from brainlm_model.decode.diffusion import Painter, tiny_unet
from brainlm_model.decode.methods import LABELS, LESS, MEASURES
from brainlm_model.decode.scmbm import SCMBM as Network
from brainlm_model.decode.scmbm import sized
from brainlm_model.decode.stages import decode, diffusion, scmbm
from tests.model.test_diffusion import given_base

SCMBM = scmbm.Config(steps=15, batch_size=8)
DIFFUSION = diffusion.Config(autoencoder_steps=10, unet_steps=3, steps=8, batch_size=8)
DECODE = decode.Config(samples=3, sampling_steps=2, shown=3, start="ridge")


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


def learn_all(home: Path, patterns: Patterns, workdir: Path) -> dict[str, Path]:
    home.mkdir()
    files = {"trials": home / "trials.npz"}
    patterns.save(files["trials"])
    for stage, config in LEARNING:
        outputs = {name: artifact.path(home) for name, artifact in stage.artifacts.items()}
        facts = call(stage, Files(files, {"workdir": str(workdir / stage.name)}), outputs, config)
        assert stage.describe(facts)
        files |= outputs
    return files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    configs = {"scmbm": SCMBM, "diffusion": DIFFUSION, "decode": DECODE}
    sections = {name: config.model_dump(mode="json", exclude_unset=True) for name, config in configs.items()}
    return decode_alone(experiment(), tmp_path_factory.mktemp("decode") / "home", sections)


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
    with_and_without = ["decoded", "no_pretraining", "from_noise", "no_pretraining_from_noise"]
    assert [row["method"] for row in content["Ablations"]] == with_and_without
    assert [row["SC-MBM"] for row in content["Ablations"]] == [True, False, True, False]
    by = {name: content["methods"][name]["pixel_r"] for name in with_and_without}
    for name, other in zip(with_and_without[::2], with_and_without[1::2], strict=True):  # what starts alike
        difference = by[name]["value"] - by[other]["value"]
        assert by[name]["less_no_pretraining"]["value"] == pytest.approx(difference)
    assert all(row["comparable"].startswith("no: ") for row in content["Published"])
    assert "10 test patterns of 5 stimuli" in decode.describe(content)
    assert content["Published"][0]["ours"].endswith("5-way") and content["fid_64"] == content["fid"] == {}


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
    assert arrays["samples"].shape == (3, 3, 16, 16) and arrays["decoded"].shape == (3, 16, 16)
    assert (np.diff(arrays["pixel_r"]) <= 0).all()


def test_saved_networks_paint_the_same(made: dict[str, Path]) -> None:
    from brainlm_model.decode.methods import painted_samples
    from brainlm_model.decode.second_stage import Sampling

    patterns = experiment()
    encoder, _ = scmbm.learnt(patterns, SCMBM)
    fresh, _ = diffusion.learnt(patterns, encoder, False, DIFFUSION, painters=("decoded", "pca"))
    kept = diffusion.load(made)
    kept = replace(kept, painters={name: kept.painters[name] for name in fresh.painters})
    how = Sampling("pndm", 4, samples=1, seed=0, strength=0.5)
    first, second = (painted_samples(patterns, each, False, how) for each in (fresh, kept))
    assert set(first) == set(second) == {"decoded", "from_noise", "no_pattern", "pca"}
    for name, pictures in first.items():
        np.testing.assert_allclose(pictures, second[name], atol=1e-5)


def test_checkpoints_of_another_encoder_are_not_used(tmp_path: Path) -> None:
    """Other keys of `scmbm` in the same outdir are other painters."""
    patterns = experiment()
    tiny_steps = diffusion.Config(autoencoder_steps=1, unet_steps=1, steps=1, batch_size=2)
    made = []
    for seed in (0, 1):
        encoder, _ = scmbm.learnt(patterns, scmbm.Config(steps=1, batch_size=2, seed=seed))
        painted, _ = diffusion.learnt(patterns, encoder, False, tiny_steps, tmp_path, ["decoded"])
        made.append(painted.painters["decoded"].encoder.embed.weight)
    assert not made[0].equal(made[1])


def test_each_painter_starts_from_the_ridge_of_its_own_pairs(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of shuffled pairs never sees a right one; nothing but `FROM_NOISE` starts without ridge."""
    from brainlm_model.decode import methods, second_stage
    from brainlm_model.decode.baselines import ridge

    started = {}

    def watched(painter: Any, x_NV: Any, autoencoder: Any, how: Any, start: Any = None) -> Any:
        started[len(started)] = (float(x_NV.abs().max()), how.strength, start)
        return np.zeros((1, 1))

    monkeypatch.setattr(second_stage, "samples", watched)
    patterns, painted = experiment(), diffusion.load(made)
    train, test = patterns.of("train"), patterns.of("test")
    for strength in (0.5, 1.0):
        started.clear()
        drawn = methods.painted_samples(patterns, painted, False, second_stage.Sampling("ddim", 2, 1, 0, strength))
        by_name = dict(zip(("decoded", *list(drawn)[1:]), started.values(), strict=True))
        if strength == 1.0:
            assert list(drawn) == list(diffusion.PAINTERS)
            assert all(start is None for _, _, start in by_name.values())
            continue
        assert list(drawn) == [
            "decoded", "from_noise", "no_pattern", "no_pretraining", "no_pretraining_from_noise", "pca", "shuffled",
        ]  # fmt: skip
        assert by_name["from_noise"][1:] == by_name["no_pretraining_from_noise"][1:] == (1.0, None)
        assert by_name["no_pattern"][0] == 0
        z = painted.autoencoder.encoded(train.seen() / 255)
        assert (train.stimulus[painted.partner] != train.stimulus).all()
        for name, target in (("decoded", z), ("no_pattern", z), ("pca", z), ("shuffled", z[painted.partner])):
            np.testing.assert_allclose(by_name[name][2], ridge(train.patterns.astype(float), target,
                                                               test.patterns.astype(float)))  # fmt: skip


def test_fid_64_only_where_weights_are_given(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from brainlm_model.decode.judges import STEM

    seen = experiment().of("test").rows(np.arange(3))
    assert decode.fids(None, {}, {}, seen) == {"fid_64": {}, "fid": {}}
    weights = {}
    for (name, _, _), before, after in zip(STEM, (3, 32, 32), (32, 32, 64), strict=True):
        weights[f"{name}.conv.weight"] = torch.ones(after, before, 3, 3) / (9 * before)
        weights |= {f"{name}.bn.{key}": torch.zeros(after) for key in ("bias", "running_mean")}
        weights |= {f"{name}.bn.{key}": torch.ones(after) for key in ("weight", "running_var")}
    save_file(weights, tmp_path / "inception.safetensors")
    pictures = seen.seen() / 255
    found = decode.fids(tmp_path / "inception.safetensors", {"decoded": 1 - pictures[None]}, {"mean": pictures}, seen)
    assert list(found["fid_64"]) == ["decoded", "mean"] and not found["fid"]  # of which the layers are not there
    assert found["fid_64"]["mean"] == pytest.approx(0, abs=1e-4) and found["fid_64"]["decoded"] > 0.1


def test_no_test_row_reaches_any_training(made: dict[str, Path], tmp_path: Path) -> None:
    """With other test patterns and other test pictures every network has the same bytes."""
    patterns, rng = experiment(), np.random.default_rng(5)
    test = patterns.split == "test"
    values, pictures = patterns.patterns.copy(), patterns.pictures.copy()
    values[test] = rng.normal(size=values[test].shape)
    pictures[np.isin(patterns.names, patterns.stimulus[test])] = 77
    other = learn_all(tmp_path / "home", replace(patterns, patterns=values, pictures=pictures), tmp_path / "work")
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
    row = {key: {"value": 0.1, "low": 0.05, "high": 0.2} for key in LESS} | {"value": 0.7, "low": 0.6, "high": 0.8}
    table = dict.fromkeys(("decoded", "shuffled"), dict.fromkeys(("two_way", "pixel_r"), row))
    assert words.headline(table)[1] == (
        "In two-way identification, the diffusion model is better than ridge regression to the pixels (difference "
        "+0.100, +0.050 to +0.200) and is better than ridge to the latents (difference +0.100, +0.050 to +0.200)."
    )


def test_patterns_of_ones_own_need_pictures_and_known_keys(tmp_path: Path) -> None:
    nothing = replace(experiment(), names=np.empty(0, np.str_), pictures=np.empty((0, 0, 0), np.uint8))
    for patterns, sections, said in (
        (nothing, {}, "there are no pictures in it"),
        (experiment(), {"scmbn": {}}, "no section scmbn -> there are: scmbm, diffusion, decode"),
        (experiment(), {"scmbm": {"step": 3}}, "unknown key scmbm.step"),
    ):
        with pytest.raises(BrainLMError, match=said):
            decode_alone(patterns, tmp_path / "out", sections)
    assert not (tmp_path / "out").exists()


def test_digits_judge_no_photographs_without_a_word() -> None:
    patterns, table = experiment(), {"shuffled": {"two_way": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    facts = {"TestStimuli": 60, "Repeats": [1, 1], "Transductive": False, "Judge": DIGITS.name}
    colour = replace(patterns, pictures=np.repeat(patterns.pictures[..., None], 3, axis=3))
    for given, is_said in ((patterns, False), (colour, True)):
        lines = words.warnings(given, given.of("test").seen() / 255, table, facts)
        assert any("no judge of photographs" in line for line in lines) is is_said


def test_patterns_of_one_split_alone_are_refused(tmp_path: Path) -> None:
    for split, missing in (("train", "test"), ("test", "train")):
        experiment().of(split).save(tmp_path / "trials.npz")
        with pytest.raises(InputError, match=f"trials.npz: no row of split {missing}"):
            scmbm.read(tmp_path / "trials.npz")


def test_a_given_base_is_saved_and_loaded(tmp_path: Path) -> None:
    """Its configuration holds the folder that it came from, which is no part of the result."""
    patterns = experiment()
    encoder, _ = scmbm.learnt(patterns, scmbm.Config(steps=1, batch_size=2))
    config = diffusion.Config(base=given_base(tmp_path / "base"), steps=1, batch_size=2)
    painted, _ = diffusion.learnt(patterns, encoder, False, config)
    files = {name: tmp_path / name for name in diffusion.ARTIFACTS}
    diffusion.save(painted, files, {})
    assert str(tmp_path) not in files["diffusion_config"].read_text()
    kept, pictures = diffusion.load(files), patterns.seen()[:2] / 255
    np.testing.assert_allclose(kept.autoencoder.encoded(pictures), painted.autoencoder.encoded(pictures), atol=1e-5)
    assert kept.painters["decoded"].unet.conv_in.weight.equal(painted.painters["decoded"].unet.conv_in.weight)


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
