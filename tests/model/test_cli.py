import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainlm_data import open_store
from brainlm_data.errors import InputError
from brainlm_data.runner.verify import verify
from brainlm_model.cli import main
from tests.model.cohort import PARCELS, make, series
from tests.model.test_train import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cli")
    run(make(home / "cohort"), home / "model", steps=1)
    table = pd.read_parquet(home / "cohort" / "recordings.parquet")
    table["age"], table["sex"] = range(20, 20 + len(table)), ["F", "M", *(["F"] * (len(table) - 2))]
    table.to_parquet(home / "cohort" / "recordings.parquet")
    return home


def test_embeds_a_store(home, tmp_path, capsys):
    out = tmp_path / "tables" / "embeddings.tsv"
    assert main(["embed", str(home / "model"), str(home / "cohort" / "store.zarr"), "--out", str(out)]) == 0
    table = pd.read_csv(out, sep="\t", index_col="id")
    assert table.shape == (9, 16) and np.isfinite(table).all(axis=None)
    assert "left out: sub-05_task-rest: embed: 150 steps" in capsys.readouterr().out
    assert embed(home, out, "--split", "test", "--force") == 0
    pd.testing.assert_frame_equal(
        pd.read_csv(out, sep="\t", index_col="id"), table.loc[["sub-08_task-rest", "sub-09_task-rest"]]
    )


def test_embeds_files(home, tmp_path):
    values = series(np.random.default_rng(1))
    np.save(tmp_path / "a.npy", values)
    pd.DataFrame(values).to_csv(tmp_path / "b.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.9g")
    files = [str(tmp_path / name) for name in ("a.npy", "b.tsv")]
    assert main(["embed", str(home / "model"), *files, "--out", str(tmp_path / "out.tsv")]) == 0
    table = pd.read_csv(tmp_path / "out.tsv", sep="\t", index_col="id")
    np.testing.assert_array_equal(table.loc["a"], table.loc["b"])


def embed(home: Path, out: Path, *arguments: str) -> int:
    return main(["embed", str(home / "model"), str(home / "cohort" / "store.zarr"), "--out", str(out), *arguments])


def test_every_format_holds_the_same(home, tmp_path, capsys):
    for name, kind in (("c.tsv", "cls"), ("m.tsv", "mean"), ("m.parquet", "mean"), ("p.parquet", "parcels")):
        assert embed(home, tmp_path / name, "--kind", kind, "--batch", "3") == 0
    assert embed(home, tmp_path / "all.zarr") == 0
    assert embed(home, tmp_path / "all.zarr", "--batch", "3") == 2  # never silently in place of the first
    assert "there already\n  try: give another name, or --force" in capsys.readouterr().err
    assert embed(home, tmp_path / "all.zarr", "--batch", "3", "--force") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = xr.open_zarr(tmp_path / "all.zarr").load()
    assert found["parcels"].shape == (9, PARCELS, 16) and found["parcels"].dims == ("recording", "parcel", "dim")
    assert list(found["subject"].values) == [f"{n:02d}" for n in range(10) if n != 5]
    assert str(found["id"][0].item()) == "sub-00_task-rest" and str(found["parcel"][3].item()) == "p3"
    cls = pd.read_csv(tmp_path / "c.tsv", sep="\t", index_col="id").to_numpy()
    np.testing.assert_allclose(found["cls"], cls, atol=1e-5)
    table = pd.read_parquet(tmp_path / "m.parquet")
    assert list(table.columns[:6]) == ["id", "subject", "session", "task", "run", "split"]
    known = open_store(home / "cohort" / "store.zarr").recordings.query("status == 'done'").set_index("id")
    for column in ("split", "age", "sex"):  # for a classifier on the table alone
        assert table[column].tolist() == known.loc[table["id"], column].tolist() == found[column].to_numpy().tolist()
    np.testing.assert_allclose(found["mean"], table.filter(regex=r"^mean_\d{3}$").to_numpy(dtype=float), atol=1e-5)
    np.testing.assert_allclose(
        found["mean"], pd.read_csv(tmp_path / "m.tsv", sep="\t", index_col="id").to_numpy(), atol=1e-5
    )
    rows = pd.read_parquet(tmp_path / "p.parquet")
    assert len(rows) == 9 * PARCELS and list(rows["parcel"][:2]) == ["p0", "p1"]
    values = rows.filter(like="parcel_").to_numpy(dtype=float).reshape(9, PARCELS, 16)
    np.testing.assert_allclose(found["parcels"], values, atol=1e-5)
    assert not list(tmp_path.glob(".*"))  # nothing is left behind
    assert "stated (9 recordings)" in capsys.readouterr().out


def test_damaged_embeddings_are_noticed(home, tmp_path):
    """A flipped bit of any file by `verify`; of a chunk also by whoever reads it."""
    out = tmp_path / "e.zarr"
    assert embed(home, out) == 0
    files = [file for file in out.rglob("*") if file.is_file() and file.name != "SHA256SUMS"]
    chunks = [file for file in files if file.name != "zarr.json"]
    assert len(chunks) == 9
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match="missing or changed"):
            verify(out)
        if file in chunks:
            with pytest.raises(ValueError, match="checksum"):
                xr.open_zarr(out).load()
        file.write_bytes(content)
    verify(out)


def test_impossible_output_is_refused_before_anything_is_computed(home, tmp_path, capsys):
    assert embed(home, tmp_path / "x.csv") == embed(home, tmp_path / "x.tsv", "--kind", "all") == 2
    (tmp_path / "taken.zarr").mkdir()
    assert embed(home, tmp_path / "taken.zarr") == 2
    np.save(tmp_path / "a.npy", series(np.random.default_rng(1)))
    twice = [str(tmp_path / "a.npy")] * 2
    assert main(["embed", str(home / "model"), *twice, "--out", str(tmp_path / "y.tsv")]) == 2
    text = capsys.readouterr().err
    for said in ("not .tsv, .parquet, .zarr", "cannot hold kind all", "not a Zarr group", "two recordings are named a"):
        assert said in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "taken.zarr"]


def test_errors_are_one_line_with_a_remedy(home, tmp_path, capsys):
    (tmp_path / "x.tsv").write_text("not\ta\nseries\tat all\n")
    assert main(["embed", str(home / "model"), str(tmp_path / "x.tsv"), "--out", str(tmp_path / "o.tsv")]) == 2
    assert main(["embed", str(tmp_path), str(tmp_path / "x.tsv"), "--out", str(tmp_path / "o.tsv")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("embed: 1 recording")]
    assert [line[:7] for line in lines] == ["error: ", "  try: "] * 2


def test_help_lists_the_stages(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "evaluate", "figures", "report", "embed"))
