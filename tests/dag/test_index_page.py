"""index.html: what is in an outdir, linked; what was refused and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainlm_data import paths
from brainlm_data.files.sidecar import write_record
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.index_page import write_index
from brainlm_data.runner.manifest import describe_output
from brainlm_model.stages import ALL_STAGES
from tests.attacks.test_names import PLAIN, Page
from tests.browser import Browser
from tests.conftest import write_bids

SIGNATURE = json.dumps({"version": 1, "config": {}, "names": {}, "watched": {}})
HEAD = {"stage": "", "bundle": "", "signature": SIGNATURE, "listing": "", "upstream": {}, "content": ""}
REASON = "sub-02_task-rest: cut <off> & short -> copy it again"


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Dag, Path]:
    """A run of which one recording was refused."""
    bids, outdir = write_bids(tmp_path / "bids"), tmp_path / "out"
    description = json.loads((bids / "dataset_description.json").read_text())
    (bids / "dataset_description.json").write_text(json.dumps({**description, "Name": "Sleep & <wake>"}))
    dag = Dag({"bids_dir": str(bids), "outdir": str(outdir), "bundle_size": 2}, ALL_STAGES)
    page = outdir / "derivatives" / "sub-01" / "func" / "sub-01_task-rest_desc-qc_report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<title>one</title>")
    for file in ("qc.html", "qc.tsv", "report.html", "recordings.parquet", "metrics/masked.csv", "figures/cohort.svg",
                 "figures/cohort.png", "models/tiny/config.json", "models/other/config.json", "card.md"):  # fmt: skip
        (outdir / file).parent.mkdir(parents=True, exist_ok=True)
        (outdir / file).write_text("x")
    done = {"status": "done", "reason": "", "outputs": {"qc_page": describe_output(page, outdir)}}
    units = {"sub-01_task-rest": done, "sub-02_task-rest": {"status": "refused", "reason": REASON, "outputs": {}}}
    (bundle,) = dag.bundles.by_level["recording"]
    for name in ("parcels", "qc_page"):
        write_record(paths.manifest_path(outdir, dag.producers[name].name, bundle), {**HEAD, "units": units})
    return dag, outdir


def test_all_that_is_there_is_linked(finished: tuple[Dag, Path]) -> None:
    dag, outdir = finished
    write_index(dag)
    found = Page((outdir / "index.html").read_text())
    linked = {address for address in found.addresses if not address.startswith("#")}
    there = {path.relative_to(outdir).as_posix() for path in outdir.rglob("*") if path.is_file()}
    made = {name for name in there if not name.startswith("work/") and name not in {"index.html", "figures/cohort.png"}}
    assert linked == {*made, "derivatives/"}
    for text in ("1 of 2 recordings went through", REASON, "Sleep & <wake>", "Last run: 20"):
        assert text in " ".join(found.text.split())


def test_a_run_of_some_people_keeps_the_pages_of_the_others(finished: tuple[Dag, Path]) -> None:
    dag, outdir = finished
    config = {"bids_dir": str(dag.source), "outdir": str(outdir), "select": {"subject": ["02"]}}
    write_index(Dag(config, ALL_STAGES))
    page = Page((outdir / "index.html").read_text(encoding="utf-8"))
    assert "derivatives/sub-01/func/sub-01_task-rest_desc-qc_report.html" in page.addresses
    assert "sub-01_task-rest (an earlier run)" in page.text


def test_before_anything_was_made(tmp_path: Path) -> None:
    dag = Dag({"bids_dir": str(write_bids(tmp_path / "bids")), "outdir": str(tmp_path / "out")}, ALL_STAGES)
    write_index(dag)
    text = (tmp_path / "out" / "index.html").read_text()
    assert "0 of 2 recordings went through" in text and "Nothing has been made yet" in text and PLAIN not in text


@pytest.mark.parametrize("width", [1400, 420])
def test_in_a_browser(finished: tuple[Dag, Path], browser: Browser, width: int) -> None:
    write_index(finished[0])
    browser.open(finished[1] / "index.html", width)
    assert browser.audit() == []
