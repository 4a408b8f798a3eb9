"""What jobs ask of a cluster: by the size of what they read, by attempt, by configuration."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.bids.index import RawFile
from brainlm_data.errors import InputError
from brainlm_data.graph import needs
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.needs import uncompressed_mb
from brainlm_data.stage import UNMEASURED
from brainlm_model.stages import ALL_STAGES
from tests.conftest import write_bids

Asked = tuple[int, int]  # MB, minutes


def asked(dag: Dag, stage: str, bundle: str = "cohort", attempt: int = 1) -> Asked:
    resources, wildcards = dag[stage].resources, argparse.Namespace(bundle=bundle)
    return resources["mem_mb"](wildcards, attempt=attempt), resources["runtime"](wildcards, attempt=attempt)


def planned(folder: Path, **config: Any) -> Dag:
    bids = folder / "bids"
    return Dag({"bids_dir": str(bids), "outdir": str(folder / "out"), **config}, ALL_STAGES)


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Four recordings; the first as large on disk as 1 GB would be, and sparse."""
    write_bids(tmp_path / "bids", subjects=("01", "02", "03", "04"))
    with (tmp_path / "bids/sub-01/func/sub-01_task-rest_bold.nii.gz").open("r+b") as stream:
        stream.truncate(500_000_000)
    return tmp_path


def test_every_stage_says_what_it_needs() -> None:
    assert [stage.name for stage in ALL_STAGES if stage.need is UNMEASURED] == []


def test_a_larger_recording_asks_for_more_memory_and_time(four: Path) -> None:
    dag = planned(four)
    for stage in ("motion", "sample"):
        large, small = (asked(dag, stage, f"sub-{s}_task-rest") for s in ("01", "02"))
        assert large[0] > small[0] + 500 and large[1] > small[1]


def test_a_bundle_asks_for_its_largest_recording_and_the_time_of_all(four: Path) -> None:
    one, all_four = asked(planned(four), "motion", "sub-01_task-rest"), asked(planned(four, bundle_size=4), "motion",
                                                                              "bundle-00001")  # fmt: skip
    assert one[0] == all_four[0] and one[1] < all_four[1]


def test_each_attempt_asks_for_twice_as_much(four: Path) -> None:
    dag = planned(four)
    first, second = (asked(dag, "motion", "sub-01_task-rest", attempt) for attempt in (1, 2))
    assert abs(second[0] - 2 * first[0]) <= 1 and abs(second[1] - 2 * first[1]) <= 1


def test_no_attempt_asks_for_more_time_than_a_partition_allows(four: Path) -> None:
    assert [asked(planned(four), "train", attempt=n)[1] for n in (1, 2, 3)] == [24 * 60] * 3
    assert asked(planned(four, jobs={"max_hours": 48}), "train", attempt=2)[1] == 48 * 60


def test_further_attempts_ask_for_no_more_memory_than_a_node_has(four: Path) -> None:
    """An attempt that was lost for its time must not then ask for a node that there is not."""
    dag = planned(four, jobs={"max_mb": 9000})
    assert [asked(dag, "train", attempt=n)[0] for n in (1, 2, 3)] == [8600, 9000, 9000]


def test_the_configuration_scales_what_is_asked_for_and_reruns_nothing(four: Path) -> None:
    plain, more = planned(four), planned(four, jobs={"memory": 3, "time": 2})
    a, b = asked(plain, "collate"), asked(more, "collate")
    assert abs(b[0] - 3 * a[0]) <= 3 and abs(b[1] - 2 * a[1]) <= 2
    assert all(plain[s.name].signature == more[s.name].signature for s in ALL_STAGES if s.level == "cohort")


@pytest.mark.parametrize(
    ("train", "partition", "expected"),
    [
        ({}, None, {}),
        ({"processes": 2}, "gpu", {"gpu": 2, "cpus_per_gpu": 2, "slurm_partition": "gpu"}),
        ({"processes": 2, "device": "cuda"}, None, {"gpu": 2, "cpus_per_gpu": 2}),
        ({"device": "cpu"}, "gpu", {}),
    ],
    ids=str,
)
def test_training_asks_for_a_gpu_a_process(four: Path, train: Any, partition: str | None, expected: Any) -> None:
    found = planned(four, train=train, jobs={"gpu_partition": partition})["train"].resources
    assert {key: found[key] for key in found.keys() - {"mem_mb", "runtime"}} == expected
    assert "gpu" not in planned(four, jobs={"gpu_partition": partition})["motion"].resources


def test_workers_of_a_bundle_are_asked_for(four: Path) -> None:
    """So many times the threads and the memory, a share of the time; never more than a bundle has recordings."""
    one, two = (planned(four, bundle_size=4, jobs={"workers": n}) for n in (1, 2))
    assert (one["motion"].threads, two["motion"].threads, two["collate"].threads) == (1, 2, 1)
    assert (two["motion"].threads_of_unit(None, 2), two["collate"].threads_of_unit(None, 2)) == (1, 2)
    a, b = (asked(dag, "motion", "bundle-00001") for dag in (one, two))
    assert b[0] > 1.5 * a[0] and b[1] < a[1]
    assert planned(four, jobs={"workers": 8})["motion"].threads == 1
    assert one["motion"].signature == two["motion"].signature


def test_memory_of_training_grows_with_its_processes(four: Path) -> None:
    one, two = (asked(planned(four, train={"processes": n}), "train") for n in (1, 2))
    assert two[0] > 1.5 * one[0]


def test_a_compressed_image_counts_as_what_it_is_in_memory(tmp_path: Path) -> None:
    file = RawFile("a.nii.gz", 10_000_000, 0)
    assert uncompressed_mb(file.path, file.size) == 2 * uncompressed_mb("a.nii", file.size) == 20


def test_fmriprep_asks_for_what_its_section_says(four: Path) -> None:
    mni6 = {"template": {"name": "MNI152NLin6Asym"}, "atlas": {"name": "A424"}, "preprocess": {"engine": "fmriprep"}}
    dag = planned(four, fmriprep={"mem_mb": 20000, "n_procs": 6}, **mni6)
    assert asked(dag, "fmriprep", "sub-01")[0] > 20000 and dag["fmriprep"].threads == 6


def test_a_job_of_a_cluster_takes_the_index_as_it_was_planned(four: Path) -> None:
    """It lists no files: a recording that came in the meantime is seen when the next run is planned."""
    planned(four)
    write_bids(four / "bids", subjects=("05",))
    raw = {"bids_dir": str(four / "bids"), "outdir": str(four / "out")}
    assert len(Dag(raw, ALL_STAGES, planning=False).index.recordings) == 4
    assert len(Dag(raw, ALL_STAGES).index.recordings) == 5


def test_reading_the_snakefile_does_not_load_torch() -> None:
    """Every job of a cluster reads it twice: torch would be 180 MB and a second each time."""
    code = "import sys, brainlm_model.stages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_does_not_fit_is_refused_with_the_number(
    bids: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dag = planned(bids.parent)
    dag.prepare()
    jobs = [("anat", bundle) for bundle in dag.bundles.by_level["subject"]]
    (line,) = dag.estimated()
    assert "core hours" in line and f"free in {dag.outdir}" in line and "without train and " in line
    needed = needs.estimate(dag, jobs, dag.plan.redone)
    assert needed.mb >= 50 and needed.seconds >= 120  # two people
    assert needs.estimate(dag, jobs, {"anat": set(dag.bundles.by_level["subject"])}).mb == 0  # what is replaced
    monkeypatch.setattr("brainlm_data.files.space.free_bytes", lambda _: 1e6)
    with pytest.raises(InputError, match=r"this run needs 50 MB, 1 MB are free there -> .*jobs\.disk"):
        dag.begin(jobs)
    assert "to do: up to 0.0 core hours, 50 MB of disk" in capsys.readouterr().err
    unchecked = planned(bids.parent, jobs={"disk": 0})
    unchecked.prepare()
    unchecked.begin(jobs).close()
