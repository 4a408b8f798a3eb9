"""The one door to run a stage: sidecars of every derivative, facts that inherit, provenance in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brainlm_data.errors import InputError
from brainlm_data.files.json import read_object
from brainlm_data.files.sidecar import digest, write_facts
from brainlm_data.runner.call import call, places
from brainlm_data.stage import Facts, Files, Stage, StageConfig

NAMES = {"space": "MNI", "seg": "atlas"}


def run(inputs: Files, outputs: Files, config: StageConfig) -> Facts:
    outputs["filter_recipe"].write_text('{"low_hz": 0.01}')
    outputs["parcels"].write_text("p1\n0\n")
    return {"SamplingFrequency": 1.0, "Space": "other", "Warnings": ["b", "c"], "parcels": {"Units": "none"}}


STAGE = Stage(
    "toy", 7, "recording", "Toy.", StageConfig, ("parcels_raw", "atlas_table"), ("filter_recipe", "parcels", "store"),
    run, lambda facts: f"TR {facts['RepetitionTime']:g} s.", optional=("store",),
)  # fmt: skip


@pytest.fixture
def inputs(tmp_path: Path) -> Files:
    paths = {"parcels_raw": tmp_path / "raw.tsv", "atlas_table": tmp_path / "atlas.tsv"}
    for path in paths.values():
        path.write_text(path.name)
    write_facts(paths["parcels_raw"], {"RepetitionTime": 2.0, "Space": "MNI", "GrandMean": 9.0, "Warnings": ["a", "b"]})
    write_facts(paths["atlas_table"], {"RepetitionTime": 3.0, "AtlasName": "atlas"})
    return Files(paths, {"id": "x"})


def test_what_is_true_of_an_input_is_true_of_the_output_unless_the_stage_says_otherwise(
    inputs: Files, tmp_path: Path
) -> None:
    outputs = places(STAGE, tmp_path / "out", NAMES)
    facts = call(STAGE, inputs, outputs, StageConfig(), NAMES)
    beside = Files(outputs).facts("parcels")
    for found in (facts, beside):
        assert (found["RepetitionTime"], found["AtlasName"], found["Space"]) == (2.0, "atlas", "other")
        assert found["Warnings"] == ["a", "b", "c"]
        assert "GrandMean" not in found  # true of the input alone
    assert beside["Units"] == "none" and facts["parcels"] == {"Units": "none"}


def test_a_document_holds_its_own_sidecar_and_other_files_have_one_beside_them(inputs: Files, tmp_path: Path) -> None:
    outputs = places(STAGE, tmp_path / "out", NAMES)
    call(STAGE, inputs, outputs, StageConfig(), NAMES)
    document: dict[str, Any] = json.loads(outputs["filter_recipe"].read_text())
    assert set(document) == {"low_hz", "Sidecar"} and document["low_hz"] == 0.01
    assert document["Sidecar"] == Files(outputs).facts("filter_recipe")
    assert "Units" not in document["Sidecar"]  # of the series alone
    beside = json.loads(outputs["parcels"].with_suffix(".json").read_text())
    for found in (document["Sidecar"], beside):
        made = found["GeneratedBy"]
        assert (made["Name"], made["StageVersion"], made["Description"]) == ("brainlm-data toy", 7, "TR 2 s.")
        assert found["SourceDigests"] == {path.name: digest(path) for path in inputs.values()}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [outputs["filter_recipe"].name, outputs["parcels"].name, outputs["parcels"].with_suffix(".json").name]
    )


def test_a_damaged_sidecar_is_named(inputs: Files, tmp_path: Path) -> None:
    (tmp_path / "raw.json").write_text('{"RepetitionTime": ')
    with pytest.raises(InputError, match=r"raw\.json: not readable JSON"):
        call(STAGE, inputs, places(STAGE, tmp_path / "out", NAMES), StageConfig(), NAMES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[1]", "a list, not a JSON object"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ' * 100_000, "nested too deep"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1, "a": 2}', "two values of a"),
        ('{"a": 1}'.encode("utf-16"), "not in UTF-8"),
        (b'{"a": "\0"}', "not readable JSON"),
        (b"\0" * 9, "not readable JSON"),
        (b'{"a": %s}' % (b"9" * 9999), "a number of 9999 digits"),
        (b'{"a": 1e400}', "1e400 is beyond the largest number"),
        (b"", "not readable JSON"),
        (b"null", "a NoneType, not a JSON object"),
    ],
)
def test_what_is_no_json_object_is_one_line_with_its_remedy(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: ") as caught:
        read_object(tmp_path / "x.json", remedy="do this")
    assert says in caught.value.message and "\n" not in str(caught.value)
    assert "do this" in caught.value.remedy or "UTF-8" in caught.value.remedy


def test_a_json_object_with_a_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1, "a": 1, "b": 1e300}')
    assert read_object(tmp_path / "x.json") == {"a": 1, "b": 1e300}
    with pytest.raises(InputError, match="there is no such file"):
        read_object(tmp_path / "y.json")
    with pytest.raises(InputError, match="not a file"):
        read_object(tmp_path)
