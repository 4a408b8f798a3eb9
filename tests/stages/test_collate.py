from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from brainlm_data import Card, open_store, prepare
from brainlm_data.dataset.gather import Config, Exclude
from brainlm_data.errors import InputError
from brainlm_data.files import sidecar
from brainlm_data.files.sidecar import digest, write_facts
from brainlm_data.files.tables import write_table
from brainlm_data.methods.operators import Recipe
from brainlm_data.runner.call import call
from brainlm_data.stage import Files
from brainlm_data.stages import collate

NAMES = ["p1", "p2", "p3"]
SUBJECTS, STEPS = 10, 30
OUTPUTS = {
    "store": "store.zarr", "recordings": "recordings.parquet", "scaler": "scaler.npz", "card_data": "card.json",
    "card": "card.md", "checksums": "SHA256SUMS",
}  # fmt: skip


def cohort(folder: Path, rates: tuple[float, ...] = (1.0,)) -> Files:
    """Two recordings of ten subjects; the last one was refused by a stage before; subject 3 moved."""
    rows = []
    for number in range(2 * SUBJECTS):
        subject, name = f"{number // 2:02d}", f"sub-{number // 2:02d}_run-{number % 2 + 1}"
        rng = np.random.default_rng(number)
        files = {"parcels": folder / f"{name}_timeseries.tsv", "qc_metrics": folder / f"{name}_qc.json"}
        write_table(files["parcels"], NAMES, rng.normal(0, [1, 2, 3], (STEPS, 3)).astype(np.float32))
        facts = {
            "SamplingFrequency": rates[number % len(rates)], "RepetitionTime": 2.0, "NumberOfVolumes": 15,
            "InvalidSteps": [0, 1], "EffectiveBand": [0.01, 0.25], "Units": "grand mean 10000",
        }  # fmt: skip
        write_facts(files["parcels"], facts)
        metrics = {
            "mean_fd_mm": 0.9 if subject == "03" else 0.1, "mean_dvars": 20.0, "median_tsnr": 60.0, "coverage_min": 0.8,
            "coverage_mean": 0.95, "epi_offset_mm": 1.0, "n_ica": 20, "warnings": ["look"],
        }  # fmt: skip
        files["qc_metrics"].write_text(json.dumps(metrics))
        rows.append({
            "id": name, "prefix": "", "subject": subject, "session": None, "task": "rest", "run": str(number % 2 + 1),
            "phenotypes": {"age": 20 + number // 2, "sex": "F", "task": "x"}, "status": "done", "reason": "",
            "files": {k: str(v) for k, v in files.items()},
            "methods": {
                "motion": {"version": 3, "template": "Motion was {fd_mm:.2f} mm (Power et al., 2012).",
                           "fields": {"fd_mm": 0.1 + number / 100}},
                "qc": "Checked.",
            },
        })  # fmt: skip
    rows[-1] |= {"status": "refused", "reason": "no TR", "files": {}, "methods": {}}
    atlas = pd.DataFrame({"index": [1, 2, 3], "name": NAMES, "hemisphere": "L", "network": "N"})
    atlas[["x", "y", "z"]] = [[1.0, 2.0, 3.0]] * 3
    atlas.to_csv(folder / "atlas.tsv", sep="\t", index=False)
    facts = {"AtlasName": "three", "Sha256": "abc", "Space": "MNI", "NetworkSource": "me"}
    write_facts(folder / "atlas.tsv", facts)
    return Files({"atlas_table": folder / "atlas.tsv"}, {"recordings": rows})


def run(inputs: Files, folder: Path, **section: Any) -> dict[str, Any]:
    outputs = Files({name: folder / file for name, file in OUTPUTS.items()})
    return call(collate.STAGE, inputs, outputs, Config(**section))


def test_store_tables_scaler_and_card(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    facts = run(inputs, tmp_path / "out", exclude={"mean_fd_mm": 0.5})
    assert (facts["Recordings"], facts["Excluded"], facts["Refused"]) == (17, 2, 1)
    table = pd.read_parquet(tmp_path / "out" / "recordings.parquet").set_index("id")
    assert len(table) == 20
    assert table.loc["sub-09_run-2", ["status", "reason"]].tolist() == ["refused", "no TR"]
    assert table.loc["sub-03_run-1", "status"] == "excluded"
    assert "mean_fd_mm 0.9 is above collate.exclude.mean_fd_mm 0.5" in table.loc["sub-03_run-1", "reason"]
    done = table[table["status"] == "done"]
    assert set(done["split"]) == {"train", "validation", "test"}
    assert done.groupby("subject")["split"].nunique().max() == 1
    assert table.loc[table["status"] != "done", "split"].isna().all()
    assert done["n_steps"].eq(STEPS).all()
    assert done.iloc[0][["task", "task_participants", "age"]].tolist() == ["rest", "x", 20]
    assert pd.isna(table.loc["sub-09_run-2", "start"])

    store = open_store(tmp_path / "out" / "store.zarr")
    name = done.index[3]
    written = np.loadtxt(inputs.meta["recordings"][3]["files"]["parcels"], skiprows=1).astype(np.float32)
    np.testing.assert_array_equal(store.series(name), written)
    assert store.valid(name)[:3].tolist() == [False, False, True]
    assert store["bold"].to_numpy()[done.loc[name, "start"]].tolist() == written[0].tolist()
    assert store.attrs["atlas_sha256"] == "abc"

    pooled = np.concatenate(
        [(s := store.series(i).astype(float))[store.valid(i)] - s.mean(0) for i in done.index[done["split"] == "train"]]
    )
    assert store.scaler is not None
    np.testing.assert_allclose(store.scaler.median, np.median(pooled, 0), rtol=1e-4)
    np.testing.assert_allclose(store.scaler.iqr, np.subtract(*np.quantile(pooled, [0.75, 0.25], 0)), rtol=1e-4)

    card = (tmp_path / "out" / "card.md").read_text()
    assert "Motion was 0.10 to 0.28 mm (Power et al., 2012)." in card
    assert card.count("Checked.") == 1
    assert "sub-09_run-2: refused, no TR" in card
    known = Card.read(tmp_path / "out")
    assert known.markdown() == card and known.cohort is not None and known.cohort.left_out == 3
    assert (known.rate_hz, known.band_high_hz.high, known.atlas, known.subjects) == (1, 0.25, "three", 10)
    motion = known.stages[0]
    assert (motion.stage, motion.version, motion.recordings) == ("motion", 3, 19)
    assert motion.fields["fd_mm"].model_dump() == {"low": 0.1, "high": pytest.approx(0.28)}
    assert store.attrs["card_data"] == known.model_copy(update={"cohort": None}).content()


def test_thresholds_and_splits_change_no_byte_of_the_store(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    run(inputs, tmp_path / "a")
    run(inputs, tmp_path / "b", exclude={"mean_fd_mm": 0.5}, seed=3, test=0.3, threads=2)
    assert digest(tmp_path / "a" / "store.zarr") == digest(tmp_path / "b" / "store.zarr")
    assert digest(tmp_path / "a" / "recordings.parquet") != digest(tmp_path / "b" / "recordings.parquet")


def test_every_threshold_excludes() -> None:
    row = {"mean_fd_mm": 0.3, "fd_over_05": 0.2, "median_tsnr": 40.0, "coverage_mean": 0.9, "epi_offset_mm": 1.0,
           "t1w_offset_mm": 3.0, "n_volumes": 100, "tr_s": 2.0}  # fmt: skip
    loose = {"mean_fd_mm": 0.3, "fd_over_05": 0.2, "median_tsnr": 40.0, "coverage_mean": 0.9, "offset_mm": 3.0}
    assert Exclude().reason(row) == "" == Exclude(**loose, seconds=200.0).reason(row)
    strict = {"mean_fd_mm": 0.2, "fd_over_05": 0.1, "median_tsnr": 50.0, "coverage_mean": 0.95, "offset_mm": 2.0}
    for key, limit in {**strict, "seconds": 300.0}.items():
        reason = Exclude.model_validate({key: limit}).reason(row)
        assert reason.startswith(key) and f"collate.exclude.{key} {limit:g}" in reason
    no_epi = {key: value for key, value in row.items() if key != "epi_offset_mm"}
    assert "offset_mm was not measured" in Exclude(offset_mm=9.0).reason(no_epi)
    no_t1w = {key: value for key, value in row.items() if key != "t1w_offset_mm"}
    assert Exclude(offset_mm=2.0).reason(no_t1w) == ""


def test_displacement_without_breathing_excludes_only_where_that_is_asked_for() -> None:
    """Of a recording at a long TR, which has none, the plain one counts."""
    row = {"mean_fd_mm": 0.3, "fd_over_05": 0.2, "n_volumes": 100, "tr_s": 0.8}
    short = row | {"mean_fd_filtered_mm": 0.1, "fd_filtered_over_05": 0.3}
    plain, filtered = (Exclude.model_validate({"mean_fd_mm": 0.2, "fd": fd}) for fd in ("plain", "filtered"))
    assert plain.reason(short) == plain.reason(row) == filtered.reason(row) != ""
    assert filtered.reason(short) == ""
    reason = Exclude(fd_over_05=0.25, fd="filtered").reason(short)
    assert reason == "fd_filtered_over_05 0.3 is above collate.exclude.fd_over_05 0.25"


def test_test_subjects_have_no_part_in_the_scaler(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    run(inputs, tmp_path / "a")
    table = pd.read_parquet(tmp_path / "a" / "recordings.parquet").set_index("id")
    for row in inputs.meta["recordings"]:
        if table.loc[row["id"], "split"] in {"test", "validation"}:
            write_table(Path(row["files"]["parcels"]), NAMES, np.full((STEPS, 3), 1e6))
    run(inputs, tmp_path / "b")
    assert digest(tmp_path / "a" / "scaler.npz") == digest(tmp_path / "b" / "scaler.npz")


def test_an_external_group_is_in_no_other_split_and_not_in_the_scaler(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    facts = run(inputs, tmp_path / "a", external={"age": [21, 25]}, exclude={"mean_fd_mm": 0.5})
    assert facts["Subjects"]["external"] == 2 and "2 external" in collate.STAGE.describe(facts)
    table = pd.read_parquet(tmp_path / "a" / "recordings.parquet").set_index("id")
    assert set(table.loc[table["split"] == "external", "subject"]) == {"01", "05"}
    card = (tmp_path / "a" / "card.md").read_text()
    assert "- external: 2 subjects, 4 recordings" in card and "age 21, 25." in card
    for row in inputs.meta["recordings"]:
        if row["subject"] in {"01", "05"}:
            write_table(Path(row["files"]["parcels"]), NAMES, np.full((STEPS, 3), 1e6))
    run(inputs, tmp_path / "b", external={"age": ["21", "25"]}, exclude={"mean_fd_mm": 0.5})
    assert digest(tmp_path / "a" / "scaler.npz") == digest(tmp_path / "b" / "scaler.npz")
    with pytest.raises(InputError, match="no column site"):
        run(inputs, tmp_path / "c", external={"site": ["X"]})
    with pytest.raises(InputError, match="nobody's age is 99"):
        run(inputs, tmp_path / "c", external={"age": ["99"]})


def test_whose_group_is_not_known_is_on_the_card(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    run(inputs, tmp_path / "a", external={"age": [21]})
    assert "whole groups" in (tmp_path / "a" / "card.md").read_text()
    for row in inputs.meta["recordings"]:
        if row["subject"] in {"04", "07"}:
            row["phenotypes"] = {"age": None}
    run(inputs, tmp_path / "b", external={"age": [21]})
    card = (tmp_path / "b" / "card.md").read_text()
    assert "whole groups" not in card and "the age of 2 subjects is not known (04, 07)" in card
    cohort_of = Card.read(tmp_path / "b").cohort
    assert cohort_of is not None and cohort_of.external_unknown == {"age": ["04", "07"]}
    assert Card.read(tmp_path / "b").markdown() == card


def test_what_did_not_join_and_what_was_taken_for_what_is_on_the_card(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    inputs.meta["unjoined"] = ["participants.tsv: no row for 1 of 10 people (07)"]
    inputs.meta["columns"] = {"age": "89+ as 89", "task": "x", "gone": "y"}
    run(inputs, tmp_path / "a")
    known = Card.read(tmp_path / "a")
    assert known.warnings == ["participants.tsv: no row for 1 of 10 people (07)"]
    assert known.columns == {"age": "89+ as 89", "task_participants": "x"}
    for line in ("- Column age: 89+ as 89", "- Warning: participants.tsv: no row for 1 of 10 people (07)"):
        assert line in known.markdown().splitlines()
    assert open_store(tmp_path / "a" / "store.zarr").attrs["card_data"]["columns"] == known.columns


def test_names_of_the_tables_columns_do_not_depend_on_the_recording(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    for number, row in enumerate(inputs.meta["recordings"]):
        row["phenotypes"] = {"n_ica": 7, "rate_hz": 3, "_hidden": number, "mixed": 2.0 if number % 2 else "b"}
    run(inputs, tmp_path / "a")
    table = pd.read_parquet(tmp_path / "a" / "recordings.parquet").set_index("id")
    assert table["n_ica_participants"].eq(7).all() and table["rate_hz_participants"].eq(3).all()
    assert table["n_ica"].isna().sum() == 1 and table["hidden_participants"].tolist() == list(range(20))
    assert set(table["mixed"]) == {"2", "b"}


def test_what_cannot_be_one_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"differ in rate_hz: 1.0, 2.0"):
        run(cohort(tmp_path, (1.0, 2.0)), tmp_path / "out")
    with pytest.raises(InputError, match=r"no recording is left .* mean_fd_mm"):
        run(cohort(tmp_path), tmp_path / "out", exclude={"mean_fd_mm": 0.01})
    inputs = cohort(tmp_path)
    write_table(Path(inputs.meta["recordings"][0]["files"]["parcels"]), ["p1", "p3", "p2"], np.zeros((STEPS, 3)))
    with pytest.raises(InputError, match="columns are not the parcels"):
        run(inputs, tmp_path / "out")
    with pytest.raises(ValidationError, match="no subject for training"):
        Config(validation=0.5, test=0.5)


def test_prepare_checks_a_file_against_the_card(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    run(inputs, tmp_path / "out")
    file = Path(inputs.meta["recordings"][0]["files"]["parcels"])
    scaled = prepare(file, tmp_path / "out")
    store = open_store(tmp_path / "out" / "store.zarr")
    np.testing.assert_allclose(scaled, prepare(store.series("sub-00_run-1"), store.scaler), rtol=1e-5)
    facts = sidecar.read_facts(file)
    write_facts(file, {**facts, "EffectiveBand": [0.01, 0.09]})
    with pytest.raises(InputError, match=r"band_high_hz is 0.09, the card says 0.25"):
        prepare(file, tmp_path / "out")
    write_facts(file, {**facts, "SamplingFrequency": 0.5})
    with pytest.raises(InputError, match=r"rate_hz is 0.5, the card says 1"):
        prepare(file, tmp_path / "out")


def test_an_atlas_in_another_space_is_on_the_card_and_in_the_store(tmp_path: Path) -> None:
    inputs, mismatch = cohort(tmp_path), "atlas in MNI152NLin6Asym, template MNI"
    write_facts(inputs["atlas_table"], {**inputs.facts("atlas_table"), "SpaceMismatch": mismatch})
    run(inputs, tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text()
    assert open_store(tmp_path / "out" / "store.zarr").attrs["space_mismatch"] == mismatch
    assert f"- space_mismatch: {mismatch}\n" in card and "some millimetres off" in card
    file = Path(inputs.meta["recordings"][0]["files"]["parcels"])
    known = sidecar.read_facts(file) | {"Space": "MNI"}
    write_facts(file, known)
    with pytest.raises(InputError, match=f"space_mismatch is none, the card says {mismatch}"):
        prepare(file, tmp_path / "out")
    write_facts(file, {**known, "SpaceMismatch": mismatch})
    prepare(file, tmp_path / "out")


def test_sentences_that_differ_in_numbers_become_one(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    for number, row in enumerate(inputs.meta["recordings"]):
        took = {"template": "Took {n} of 40 (X et al., 2012), MNI152, band .01.", "fields": {"n": 7 + number}}
        row["methods"] = {"a": took if number < 16 else "Nothing.", "b": ""}
    run(inputs, tmp_path / "out")
    lines = (tmp_path / "out" / "card.md").read_text().splitlines()
    assert "- a: Took 7 to 22 of 40 (X et al., 2012), MNI152, band .01. (16 recordings)" in lines
    assert "- a: Nothing. (3 recordings)" in lines and not any(line.startswith("- b:") for line in lines)


def test_the_filter_is_on_the_card_as_data(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    for row in inputs.meta["recordings"]:
        if row["files"]:
            row["files"]["filter_recipe"] = str(tmp_path / f"{row['id']}_recipe.json")
            Recipe(2.0, 15, method="cosine", low_hz=0.01).save(Path(row["files"]["filter_recipe"]))
    run(inputs, tmp_path / "out")
    known = Card.read(tmp_path / "out" / "card.json").filter
    assert known is not None and known.method == "cosine"
    Recipe(2.0, 15, low_hz=0.01).save(Path(inputs.meta["recordings"][0]["files"]["filter_recipe"]))
    with pytest.raises(InputError, match=r"differ in filter.method: butterworth, cosine"):
        run(inputs, tmp_path / "other")


def test_the_filter_of_imported_images_is_on_the_card(tmp_path: Path) -> None:
    inputs = cohort(tmp_path)
    for row in inputs.meta["recordings"]:
        if row["files"]:
            series = Path(row["files"]["parcels"])
            write_facts(series, json.loads(series.with_suffix(".json").read_text()) | {"FilterMethod": "butterworth"})
    run(inputs, tmp_path / "out")
    known = Card.read(tmp_path / "out" / "card.json").filter
    assert known is not None and known.method == "butterworth"


def test_describe(tmp_path: Path) -> None:
    sentence = collate.STAGE.describe(run(cohort(tmp_path), tmp_path / "out"))
    assert "19 recordings were used (0 were excluded" in sentence
    assert "training subjects alone" in sentence


def test_golden(tmp_path: Path, golden: Callable[..., None]) -> None:
    facts = run(cohort(tmp_path), tmp_path / "out")
    golden(collate.STAGE, {name: tmp_path / "out" / file for name, file in OUTPUTS.items()}, facts)
