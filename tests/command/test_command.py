"""The words of the command `brainlm`: mistakes, completion, one door to everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainlm import options
from brainlm.cli import main
from brainlm.completion import candidates
from brainlm.run import _planned


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "out"], ["no folder", "nowhere"]),
        (
            ["bids", "out", "--atlas", "demo424", "--set", "filter.hi_hz=1"],
            ["unknown key filter.hi_hz", "did you mean"],
        ),
        (["bids/sub-01", "out"], ["is ", "/bids the dataset? expected"]),
        (["bids", "out", "--participant-label", "1", "9"], ["no recording of subject 1, 9", "did you mean 01?"]),
        (["bids", "out", "--set", "filter.high_hz", "1"], ["filter.high_hz: there is no = in it"]),
        (["bids", "out", "--input", "fmripep"], ["'fmripep' is none of", "did you mean fmriprep?"]),
        (
            ["bids", "out", "--atlas", "demo424", "--target", "train", "--set", "train.device=cuda"],
            ["train.device: cuda, train.processes: 1: no GPU is on this machine"],
        ),
        (["bids", "out", "--target", "trian"], ["no such stage", "did you mean train?"]),
        (["bids", "out", "--taks-id", "rest"], ["no option --taks-id", "did you mean --task-id?"]),
        (["bids", "bids"], ["is the dataset itself"]),
        (["model", "train", "x", "--out", "y", "--store", "z"], ["there is no option --store"]),
        (["bids", "out", "--profile", "slrum"], ["no such folder", "did you mean slurm?"]),
        (["bids", "out", "--config", "dmeo"], ["no such file", "did you mean demo?"]),
        (["bids", "bids/dataset_description.json/out"], ["cannot be written"]),
        (["bids", "out", "--atlas", "demo24"], ["name demo24 is not known", "did you mean demo424?"]),
        (
            ["bids", "out", "--atlas", "no/a.nii.gz", "--atlas-labels", "no/a.tsv"],
            ["atlas.path: there is no file", "atlas.labels: there is no file", "bring the files there"],
        ),
        (["bids", "out/put", "--", "--bad-option"], ["unrecognized arguments: --bad-option", "snakemake --help"]),
        (["dmeo"], ["did you mean demo?"]),
        (["dat", "index", "bids"], ["no command and no dataset dat", "did you mean data?"]),
        (
            ["data", "run", "motion", "--bids-dir", "bids", "--outdir", "out", "--recording", "sub-9"],
            ["no sub-9 in bids"],
        ),
    ],
)
def test_mistakes_are_two_lines_and_nothing_runs(
    words: list[str], said: list[str], bids: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bids.parent)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    try:
        status = main(words)
    except SystemExit as stop:  # as argparse ends
        status = int(str(stop.code))
    text = "".join(capfd.readouterr())
    assert status == 2, text
    assert text.count("\n") == 2 and text.startswith("error: ") and "\n  try: " in text, text
    for part in said:
        assert part in text
    assert [path.name for path in bids.parent.iterdir()] == [bids.name]  # nothing is left of it


@pytest.mark.parametrize(
    "words",
    [
        ["participant", "-n"],
        ["-n", "participant"],
        ["--task-id", "rest", "participant"],
        ["--task-id", "rest", "-n", "participant"],
        ["participant", "--set", "a=1"],
    ],
)
def test_the_level_may_stand_anywhere_behind_the_two_folders(words: list[str]) -> None:
    arguments = options.parse(["bids", "out", *words])
    assert arguments.level == "participant" and arguments.bids == Path("bids")
    assert arguments.task_id in (None, ["rest"])
    assert options.parse(["group", "participant"]).level == "group"  # folders of such names
    assert options.parse(["bids", "out", "--task-id", "group"]).task_id == ["group"]


def test_a_change_that_makes_nothing_again_is_called_so_where_that_is_known() -> None:
    changes = ["bundle_size: 6 -> 3", "jobs.time: 1 -> 2", "bids_dir: /a -> /b", "filter.high_hz: null -> 0.1"]
    lines = _planned(changes, ["filter.high_hz: null -> 0.1: filter, denoise of 2 recordings"])
    assert lines == [
        "bundle_size: 6 -> 3 (other jobs; recordings that are finished are not processed again)",
        "jobs.time: 1 -> 2 (nothing is made again)",
        "bids_dir: /a -> /b",
        "filter.high_hz: null -> 0.1: filter, denoise of 2 recordings",
    ]


def test_completion_knows_commands_options_stages_and_keys() -> None:
    assert candidates(["da"]) == ["data"]
    assert candidates(["data", "ind"]) == ["index"]
    assert candidates(["model", "run", "trai"]) == ["train"]
    assert candidates(["/ds", "/out", "part"]) == ["participant"]
    assert candidates(["/ds", "/out", "group", "--target", "figu"]) == ["figures"]
    assert candidates(["/ds", "/out", "--set", "filter.high"]) == ["filter.high_hz="]
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0


def test_one_door(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["data", "--help"], ["model", "--help"], ["--version"], ["demo", "--help"], ["data", "index", "-h"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0 and "brainlm" in capsys.readouterr().out
    assert main(["--help"]) == 0 and "participant" in capsys.readouterr().out
