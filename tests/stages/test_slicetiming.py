from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import Refused
from brainlm_data.files.sidecar import write_facts
from brainlm_data.methods.slicetiming import SliceTimes, corrected, held
from brainlm_data.runner.call import call
from brainlm_data.stage import Facts, Files
from brainlm_data.stages import slicetiming

SHAPE, TR = (4, 5, 6), 2.0
TIMES = [0.0, 1.0, 0.35, 1.35, 0.7, 1.7]  # interleaved


def decide(folder: Path, metadata: dict[str, Any], motion: Facts | None = None, **section: Any) -> tuple[Facts, Files]:
    bold, out = folder / "b.nii.gz", Files({"slice_times": folder / "s.json"})
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 3), np.int16), np.eye(4)), bold)
    (folder / "m.tsv").touch()
    write_facts(folder / "m.tsv", {"RepetitionTime": TR, **(motion or {})})
    inputs = Files({"bold": bold, "motion_params": folder / "m.tsv"}, {"id": "x", "metadata": metadata})
    facts = call(slicetiming.STAGE, inputs, out, slicetiming.Config(**section))
    return facts, out


def series(times: SliceTimes, signal: Any, volumes: int) -> list[Any]:
    """Volumes whose slices see a signal when they are acquired."""
    shape = [1, 1, 1]
    shape[times.axis] = -1
    when = np.reshape(times.times_s, shape)
    return [np.broadcast_to(signal(k * times.tr_s + when), SHAPE).astype(np.float32) for k in range(volumes)]


@pytest.mark.parametrize("hz", [0.01, 0.05, 0.1])
@pytest.mark.parametrize(("axis", "times"), [(2, TIMES), (1, TIMES[:5])])
def test_slices_are_moved_to_one_time(hz: float, axis: int, times: list[float]) -> None:
    recipe = SliceTimes(axis, TR, tuple(times), 0.85)

    def wave(t: Any) -> Any:
        return 1000 + 10 * np.sin(2 * np.pi * hz * t + 0.3)

    acquired = series(recipe, wave, 80)
    out = np.stack(list(corrected(acquired, recipe)))
    assert len(out) == 80
    truth = wave(np.arange(80) * TR + recipe.reference_s).reshape(-1, 1, 1, 1)
    middle = slice(8, -8)
    error = np.abs(out - truth)[middle].max()
    assert error < 0.2, error
    assert np.abs(np.stack(acquired) - truth)[middle].max() > 5 * error  # it was needed


def test_what_does_not_change_stays_and_slices_at_the_reference_are_untouched() -> None:
    rng = np.random.default_rng(0)
    volumes = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(12)]
    recipe = SliceTimes(2, TR, (0.5, 0.5, 0.5, 0.2, 0.9, 0.5), 0.5)
    out = list(corrected(volumes, recipe))
    for before, after in zip(volumes, out, strict=True):
        np.testing.assert_allclose(after[..., [0, 1, 2, 5]], before[..., [0, 1, 2, 5]], atol=1e-5)
    constant = [np.full(SHAPE, 7, np.float32)] * 6
    np.testing.assert_allclose(np.stack(list(corrected(constant, recipe))), 7, rtol=1e-6)


@pytest.mark.parametrize("total", range(1, 14))
@pytest.mark.parametrize("steady", [0, 2])
def test_runs_of_any_length_keep_it(total: int, steady: int) -> None:
    recipe = SliceTimes(2, TR, tuple(TIMES), 0.85, steady)
    volumes = [np.full(SHAPE, 100.0 if t < steady else t, np.float32) for t in range(total)]
    out = list(corrected(iter(volumes), recipe))
    assert len(out) == total
    for t in range(min(steady, total)):
        assert (out[t] == 100).all()  # as they were
    for volume in out[steady:]:
        assert volume.max() < total + 1  # none of their brightness leaks into the others


def test_volumes_without_an_image_repeat_the_one_before() -> None:
    volumes = [np.full(SHAPE, v, np.float32) for v in (np.nan, 1, 2, np.nan, 4)]
    assert [float(v.max()) for v in held(volumes, {0, 3})] == [0, 1, 2, 2, 4]


def test_auto_corrects_where_metadata_say_how(tmp_path: Path) -> None:
    facts, out = decide(tmp_path, {"SliceTiming": TIMES}, {"NumberOfNonSteadyStates": 2})
    assert facts["Corrected"] and facts["ReferenceTime"] == 0.85 and "Sladky" in slicetiming.describe(facts)
    found = SliceTimes.load(out["slice_times"])
    assert found == SliceTimes(2, TR, tuple(TIMES), 0.85, 2)
    facts, out = decide(tmp_path, {"SliceTiming": TIMES, "SliceEncodingDirection": "k-"}, reference=0)
    assert SliceTimes.load(out["slice_times"]) == SliceTimes(2, TR, tuple(TIMES[::-1]), 0.0)


@pytest.mark.parametrize(
    ("metadata", "motion", "section", "reason"),
    [
        ({}, {}, {}, "no SliceTiming"),
        ({"SliceTiming": TIMES}, {"RepetitionTime": 0.8}, {}, "TR of 0.8 s is below 1 s"),
        ({"SliceTiming": TIMES}, {}, {"correct": "never"}, "never"),
        ({"SliceTiming": TIMES[:4]}, {}, {}, "4 times for 6 slices"),
        ({"SliceTiming": [1000 * t for t in TIMES]}, {}, {}, "milliseconds"),
        ({"SliceTiming": "fast"}, {}, {}, "no list of numbers"),
        ({"SliceTiming": TIMES, "SliceEncodingDirection": "up"}, {}, {}, "not i, j or k"),
    ],
)
def test_what_is_not_corrected_says_why(
    tmp_path: Path, metadata: dict[str, Any], motion: Facts, section: dict[str, Any], reason: str
) -> None:
    facts, out = decide(tmp_path, metadata, motion, **section)
    assert not facts["Corrected"] and reason in facts["Reason"] and reason in slicetiming.describe(facts)
    assert SliceTimes.load(out["slice_times"]) is None
    wrong = len(metadata.get("SliceTiming", TIMES)) != 6 or "milli" in reason or "not i" in reason
    assert bool(facts["Warnings"]) == wrong  # a list that cannot be right is more than an absent one
    if section.get("correct") != "never" and not motion:
        with pytest.raises(Refused, match=reason):
            decide(tmp_path, metadata, correct="always")


def test_weights() -> None:
    weights = SliceTimes(2, TR, tuple(TIMES), 0.85).weights()
    np.testing.assert_allclose(weights[3:6, 0], [-0.174213, 0.713173, 0.518975], atol=1e-5)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)


def test_golden(tmp_path: Path, golden: Callable[..., None]) -> None:
    facts, out = decide(tmp_path, {"SliceTiming": TIMES})
    golden(slicetiming.STAGE, out, facts)
