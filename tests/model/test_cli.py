from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainlm_model.cli import main
from tests.model.cohort import make, series
from tests.model.test_train import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cli")
    run(make(home / "cohort"), home / "model", steps=1)
    return home


def test_embeds_a_store(home, tmp_path, capsys):
    out = tmp_path / "tables" / "embeddings.tsv"
    assert main(["embed", str(home / "model"), str(home / "cohort" / "store.zarr"), "--out", str(out)]) == 0
    table = pd.read_csv(out, sep="\t", index_col="id")
    assert table.shape == (9, 16) and np.isfinite(table).all(axis=None)
    assert "sub-05_task-rest (150 steps)" in capsys.readouterr().out
    assert (
        main(["embed", str(home / "model"), str(home / "cohort" / "store.zarr"), "--split", "test", "--out", str(out)])
        == 0
    )
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


def test_errors_are_one_line_with_a_remedy(home, tmp_path, capsys):
    (tmp_path / "x.tsv").write_text("not\ta\nseries\tat all\n")
    assert main(["embed", str(home / "model"), str(tmp_path / "x.tsv"), "--out", str(tmp_path / "o.tsv")]) == 2
    assert main(["embed", str(tmp_path), str(tmp_path / "x.tsv"), "--out", str(tmp_path / "o.tsv")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line[:7] for line in lines] == ["error: ", "  try: "] * 2


def test_help_lists_the_stages(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "evaluate", "figures", "report", "embed"))
