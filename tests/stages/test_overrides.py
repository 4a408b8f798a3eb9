"""Verdicts that a person sets: the table, what it does, what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.tables import read_table
from brainlm_data.methods.overrides import overridden, read_overrides
from brainlm_data.methods.regression import Regression
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import confounds, denoise, filter, qc
from tests.stages import fitted, measured

IDS = ("sub-01_task-rest", "sub-02_task-rest")
HEADER = "recording\tcomponent\tclassification\tnote\n"


def table(folder: Path, text: str) -> Path:
    (folder / "overrides.tsv").write_text(text)
    return folder / "overrides.tsv"


def test_rows_go_to_their_recordings(tmp_path: Path) -> None:
    rows = "sub-02_task-rest\tica_07\trejected\ta vein\n\nsub-02_task-rest\tica_01\taccepted\n"
    found = read_overrides(table(tmp_path, HEADER + rows), IDS)
    assert list(found) == ["sub-02_task-rest"]
    assert found["sub-02_task-rest"]["overrides"] == [
        {"component": "ica_01", "classification": "accepted", "note": ""},
        {"component": "ica_07", "classification": "rejected", "note": "a vein"},
    ]
    # what counts is the same wherever the rows stand, and in any order of columns
    other = "classification\trecording\tcomponent\naccepted\tsub-01_task-rest\tica_00\n"
    other += "accepted\tsub-02_task-rest\tica_01\n"
    again = read_overrides(table(tmp_path, other), IDS)
    assert read_overrides(table(tmp_path, other.replace("\t", ",")), IDS) == again
    assert again["sub-02_task-rest"]["overrides"] == found["sub-02_task-rest"]["overrides"][:1]
    assert again["sub-02_task-rest"]["_overrides_at"] == {"ica_01": f"{tmp_path}/overrides.tsv line 3"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty table"),
        ("recording component classification\n", "line 1: its columns are recording component classification"),
        (HEADER.replace("note", "notes"), "line 1: its columns are .*notes"),
        (HEADER + "sub-01_task-rst\tica_00\taccepted\n", "line 2: no recording .* allowed: sub-01_task-rest, "),
        (HEADER + "sub-01_task-rest\tica_00\tnoise\n", "line 2: classification 'noise' -> allowed: accepted, rejected"),
        (HEADER + "sub-01_task-rest\tica_00\n", "line 2: classification '' -> allowed: accepted, rejected"),
        (HEADER + "sub-01_task-rest\t\taccepted\n", "line 2: no component"),
        (HEADER + 2 * "sub-01_task-rest\tica_00\taccepted\n", "line 3: component ica_00 .* a second time"),
    ],
)
def test_rows_that_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"overrides\.tsv:? {words}"):
        read_overrides(table(tmp_path, text), IDS)


def test_no_file_and_no_components(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_overrides(tmp_path / "none.tsv", IDS)
    with pytest.raises(ValidationError, match="without it there are no components"):
        denoise.Config(overrides=tmp_path / "none.tsv", strategy=None)


def test_the_file_is_no_part_of_the_signature(tmp_path: Path) -> None:
    config = denoise.Config(overrides=tmp_path / "any.tsv")
    assert denoise.STAGE.signature(config) == denoise.STAGE.signature(denoise.Config())


def test_the_verdict_of_a_person_counts(tmp_path: Path) -> None:
    files, _ = fitted.recording(tmp_path)
    files = fitted.run(filter.STAGE, fitted.run(confounds.STAGE, files)[1])[1]
    before, out = fitted.run(denoise.STAGE, files, fits=1)
    first = pd.read_csv(out["ica_metrics"], sep="\t", keep_default_na=False).set_index("component")
    noise, signal = (list(first.index[first["classification"] == kind]) for kind in ("rejected", "accepted"))
    rows = (noise[0], "accepted", "language network"), (signal[0], "rejected", ""), (signal[1], "accepted", "looked at")
    text = "".join("\t".join((files.meta["id"], *row)) + "\n" for row in rows)
    said = read_overrides(table(tmp_path, HEADER + text), [files.meta["id"]])[files.meta["id"]]
    facts, out = fitted.run(denoise.STAGE, Files(files, {**files.meta, **said}), fits=1)
    second = pd.read_csv(out["ica_metrics"], sep="\t", keep_default_na=False).set_index("component")
    assert second.loc[noise[0], ["classification", "rationale"]].tolist() == ["accepted", "user: language network"]
    assert second.loc[signal[0], ["classification", "rationale"]].tolist() == ["rejected", "user"]
    assert second.loc[signal[1], ["classification", "rationale"]].tolist() == ["accepted", "user: looked at"]
    others = first.index.difference([noise[0], *signal[:2]])
    assert second.loc[others].equals(first.loc[others])
    assert facts["UserVerdicts"][noise[0]]["automatic_rationale"] == first.loc[noise[0], "rationale"]
    assert facts["NumberOfNoiseComponents"] == before["NumberOfNoiseComponents"]  # one came, one went
    # D keeps what was accepted and takes away what was rejected
    names, mixing = read_table(out["ica_mixing"])
    d = Regression.load(out["denoise_recipe"])
    for component, left in ((noise[0], 1.0), (signal[0], 0.0)):
        course = mixing[:, [names.index(component)]]
        assert d.apply(course).var() / course.var() == pytest.approx(left, abs=1e-6)
    # in the mean over several decompositions the verdict holds for the components that look like it
    several = fitted.run(denoise.STAGE, Files(files, {**files.meta, **said}), fits=3)[1]
    for component, left in ((noise[0], 1.0), (signal[0], 0.0)):
        course = mixing[:, [names.index(component)]]
        after = Regression.load(several["denoise_recipe"]).apply(course)
        assert after.var() / course.var() == pytest.approx(left, abs=0.2)
    sentence = denoise.STAGE.describe(facts)
    assert "2 verdicts on components were overridden by the user (1 to signal, 1 to noise)" in sentence
    assert "overridden" not in denoise.STAGE.describe(before)


def test_a_component_that_is_not_there_refuses_the_recording() -> None:
    meta = {"id": IDS[0], "overrides": [{"component": "ica_9", "classification": "accepted", "note": ""}]}
    meta["_overrides_at"] = {"ica_9": "my.tsv line 4"}
    with pytest.raises(Refused, match=r"my.tsv line 4: sub-01_task-rest has no component ica_9 -> allowed: ica_00 to"):
        overridden(["ica_00", "ica_01"], ["", "csf"], meta)
    noise, rationale, by_hand = overridden(["ica_00", "ica_01"], ["", "csf"], {"id": IDS[0]})
    assert (noise.tolist(), rationale, by_hand) == ([False, True], ["", "csf"], {})


@pytest.mark.usefixtures("words_only")
def test_the_page_shows_what_the_user_set(tmp_path: Path) -> None:
    inputs = measured.recording(tmp_path)
    verdicts = pd.read_csv(inputs["ica_metrics"], sep="\t", keep_default_na=False)
    verdicts["rationale"] = verdicts["rationale"].astype(object).where(verdicts.index != 4, "user: " + 30 * "vein ")
    verdicts.to_csv(inputs["ica_metrics"], sep="\t", na_rep="n/a", index=False)
    outputs = Files({"qc_metrics": tmp_path / "qc.json", "qc_page": tmp_path / "report.html"}, inputs.meta)
    call(qc.STAGE, inputs, outputs, qc.Config(n_components_shown=2))
    shown, folded = outputs["qc_page"].read_text().split("<summary>The other 2 components</summary>")
    titles = re.findall(r"<h3>(.*?)</h3>", shown)
    assert len(titles) == 3 and len(re.findall("<h3>", folded)) == 2
    assert titles[2].startswith("ica_04: kept (user: vein vein") and len(titles[2]) < 90
