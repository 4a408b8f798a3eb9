"""Stage events: conditions of all recordings in one table, in the time of their series; and the same of an import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brainlm_data import read_events
from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import write_facts
from brainlm_data.graph.dag import Dag
from brainlm_data.graph.edges import load_job
from brainlm_data.pipeline import STAGES
from brainlm_data.runner.call import call
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Files
from brainlm_data.stages import events
from brainlm_data.stages.events import Config
from tests.conftest import write_bids
from tests.imports.made import abide, run

FACES = "onset\tduration\ttrial_type\n12.5\t4\tface\n2\t4\thouse\nn/a\t4\tface\n30\tn/a\tface\n40\t4\tn/a\n"


def gathered(folder: Path, tables: dict[str, str], **section: Any) -> tuple[pd.DataFrame, dict[str, Any], Files]:
    """What the stage makes of recordings `a` (slices moved to 1 s), `b`, and `c`, which was refused."""
    files, recordings = {}, []
    for name, start_s in (("a", 1.0), ("b", None), ("c", 0.0)):
        parcels = folder / f"{name}.tsv"
        parcels.write_text("p\n1\n")
        write_facts(parcels, {"StartTime": start_s})
        status = "refused" if name == "c" else "done"
        recordings.append({"id": name, "status": status, "files": {"parcels": str(parcels)}})
        if name in tables:
            files[name] = folder / f"{name}_events.tsv"
            files[name].write_text(tables[name])
    outputs = Files({"events": folder / "events.tsv"})
    meta = {"id": "cohort", "recordings": recordings}
    facts = call(events.STAGE, Files(files, meta), outputs, Config(**section))
    return read_events(outputs["events"]), facts, outputs


def test_onsets_are_in_the_time_of_the_series(tmp_path: Path, golden: Callable[..., None]) -> None:
    table, facts, out = gathered(tmp_path, {"a": FACES, "b": FACES, "c": FACES})
    rows = table[table["recording"] == "a"][["onset_s", "duration_s", "trial_type"]].to_numpy().tolist()
    assert rows == [[1.0, 4.0, "house"], [11.5, 4.0, "face"], [29.0, 0.0, "face"]]
    assert table[table["recording"] == "b"]["onset_s"].tolist() == [2.0, 12.5, 30.0]
    assert facts["Events"] == 6 and facts["Conditions"] == {"face": 4, "house": 2}
    assert facts["Warnings"] == ["4 rows are no events: without an onset or a trial_type"]
    golden(events.STAGE, dict(out), facts)


def test_a_study_of_rest_has_an_empty_table(tmp_path: Path) -> None:
    table, facts, _ = gathered(tmp_path, {})
    assert table.empty and facts["Events"] == 0
    assert events.describe(facts) == "No recording had events of a task."


def test_one_table_in_place_of_many(tmp_path: Path) -> None:
    listed = tmp_path / "all.csv"
    listed.write_text("recording,onset,duration,what\nb,3,1,go\nz,3,1,go\na,3,1,stop\n")
    table, facts, _ = gathered(tmp_path, {"a": FACES}, table=listed, column="what")
    assert facts["Warnings"] == ["1 events are of no recording here, such as z"]
    assert table.to_numpy().tolist() == [["a", 2.0, 1.0, "stop"], ["b", 3.0, 1.0, "go"]]
    with pytest.raises(InputError, match="no column trial_type"):
        gathered(tmp_path, {}, table=listed)
    listed.write_text("recording,onset,duration,what\nz,3,1,go\n")
    with pytest.raises(InputError, match="no event of any of 2 recordings"):
        gathered(tmp_path, {}, table=listed, column="what")
    with pytest.raises(InputError, match="line 2: a duration below 0"):
        gathered(tmp_path, {"a": "onset\tduration\ttrial_type\n1\t-1\tx\n"})


def test_the_plan_knows_the_table_of_each_run(tmp_path: Path) -> None:
    bids = write_bids(tmp_path, tasks=("see", "rest"))
    (bids / "task-see_events.tsv").write_text(FACES)
    own = bids / "sub-02" / "func" / "sub-02_task-see_events.tsv"
    own.write_text(FACES)
    dag = Dag({"bids_dir": str(bids), "outdir": str(tmp_path / "out")}, STAGES)
    dag.prepare()
    job = load_job(STAGES, "events", tmp_path / "out", COHORT, dag["events"].signature)
    told = job.units[0]["meta"]["events_of"]
    assert {name: Path(path).name for name, (path, *_) in told.items()} == {
        "sub-01_task-see": "task-see_events.tsv",
        "sub-02_task-see": own.name,
    }
    own.write_text(FACES + "60\t4\tface\n")  # another size: what the job reads has changed
    dag = Dag({"bids_dir": str(bids), "outdir": str(tmp_path / "out")}, STAGES)
    dag.prepare()
    assert load_job(STAGES, "events", tmp_path / "out", COHORT, dag["events"].signature).listing != job.listing


def test_an_import_takes_events_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, listed, out = abide(tmp_path / "in"), tmp_path / "events.tsv", tmp_path / "out"
    listed.write_text("recording\tonset\tduration\ttrial_type\nnobody\t3\t1\tgo\n")
    assert run("abide", file, out, "--events", str(listed)) == 2
    assert "no event of any of 15 recordings" in capsys.readouterr().err and not out.exists()
    # as a spreadsheet writes it, with a row that is no event, and one of somebody else
    lines = ["recording\tonset\tduration\ttrial_type", "A_0000\t3\t1\tgo", "A_0000\tn/a\t1\tgo", "nobody\t3\t1\tgo", ""]
    listed.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert run("abide", file, out, "--events", str(listed)) == 0
    said = capsys.readouterr().err
    assert "events.tsv: 1 rows are no events: without an onset or a trial_type" in said
    assert "events.tsv: 1 events are of no recording here, such as nobody" in said
    assert read_events(out / "events.tsv").to_numpy().tolist() == [["A_0000", 3.0, 1.0, "go"]]
    assert run("abide", file, out, "--force") == 0  # another store: the events of the old one are not its own
    assert not (out / "events.tsv").exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [("r\tn/a\t1\tgo", "no onset_s"), ("r\t1\t1\t", "no trial_type"), ("r\t1\t-1\tgo", "a duration below 0")],
)
def test_a_table_beside_a_store_that_somebody_wrote(tmp_path: Path, row: str, said: str) -> None:
    file = tmp_path / "events.tsv"
    file.write_text(f"recording\tonset_s\tduration_s\ttrial_type\nr\t5\tn/a\tgo\n{row}\n")
    with pytest.raises(InputError, match=f"line 3: {said}"):
        read_events(file)
    file.write_text(file.read_text().replace(row + "\n", ""))
    assert read_events(file).to_numpy().tolist() == [["r", 5.0, 0.0, "go"]]
