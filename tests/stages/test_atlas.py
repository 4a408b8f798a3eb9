from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import write_facts
from brainlm_data.spaces.demo424 import embedded_atlas
from brainlm_data.stage import Files
from brainlm_data.stages import atlas, sample
from tests.stages.space import run

AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -20], [0, 0, 2, -20], [0, 0, 0, 1]])


def template(folder: Path, space: str = "MNI152NLin2009aSym") -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "t1w.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), path)
    write_facts(path, {"Space": space})
    from nilearn.datasets import load_mni152_brain_mask

    nib.save(load_mni152_brain_mask(resolution=2), folder / "mask.nii.gz")
    return {"template_t1w": path, "template_mask": folder / "mask.nii.gz"}


def label_image(path: Path, labels: dict[int, tuple[int, int, int]], dtype: Any = np.float32) -> Path:
    data = np.zeros((20, 20, 20), dtype)
    for label, (x, y, z) in labels.items():
        data[x : x + 3, y : y + 3, z : z + 3] = label
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path


def test_the_embedded_atlas_is_the_same_bytes_everywhere() -> None:
    """Raise the stage's version when this digest changes."""
    image, table = embedded_atlas()
    labels = np.asarray(image.dataobj)
    assert atlas.STAGE.version == 5 and labels.dtype == np.int32
    digest = hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()
    assert digest.startswith("a17eddc392a45d83")
    np.testing.assert_array_equal(np.unique(labels), np.arange(425))
    np.testing.assert_array_equal(table["n_voxels"], np.bincount(labels.ravel())[1:])


def test_the_embedded_atlas_is_compact_and_keeps_the_hemispheres_apart() -> None:
    image, table = embedded_atlas()
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    label = np.asarray(image.dataobj)[tuple(voxels.T)]
    assert ((places[:, 0] >= 0) == (table["hemisphere"].to_numpy()[label - 1] == "R")).all()
    centres = table[["x", "y", "z"]].to_numpy()
    spread = np.sqrt(np.bincount(label, ((places - centres[label - 1]) ** 2).sum(1))[1:] / table["n_voxels"])
    ball = (3 * 8 * table["n_voxels"] / (4 * np.pi)) ** (1 / 3) * np.sqrt(3 / 5)  # RMS radius, were it a ball
    assert (spread / ball).median() < 1.6 and (spread < 20).all()
    assert table["name"].is_unique and table["network"].nunique() == 7
    assert table["n_voxels"].between(100, 1100).all()
    assert table["network"].str.endswith(" (stand-in)").all()
    visual = table[table["network"] == "Visual (stand-in)"]
    assert (visual["y"] < -45).all()


def test_demo424(tmp_path: Path) -> None:
    out, facts = run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="demo424")
    table = pd.read_csv(out["atlas_table"], sep="\t")
    assert list(table) == atlas.COLUMNS and len(table) == facts["NumberOfParcels"] == 424
    assert nib.load(out["atlas_dseg"]).get_data_dtype() == np.int32
    assert "stand-in" in facts["NetworkSource"] and len(facts["Sha256"]) == 64 and facts["Warnings"] == []
    with pytest.raises(InputError, match=r"MNI152NLin2009aSym, the template is MNI152NLin6Asym"):
        run(atlas.STAGE, template(tmp_path / "b", "MNI152NLin6Asym"), tmp_path / "o", name="demo424")
    config = {"name": "demo424", "allow_space_mismatch": True}
    _, facts = run(atlas.STAGE, template(tmp_path / "b", "MNI152NLin6Asym"), tmp_path / "o", **config)
    assert facts["Warnings"] == [
        "atlas in MNI152NLin2009aSym, template MNI152NLin6Asym: differences of some millimetres are not corrected"
    ]
    assert "MNI152NLin2009aSym" in facts["SpaceMismatch"] and facts["SpaceMismatch"] in atlas.describe(facts)


def test_any_label_image(tmp_path: Path) -> None:
    """Labels with gaps, float data, a midline parcel, names and networks from a table."""
    image = label_image(tmp_path / "l.nii.gz", {7: (1, 2, 3), 30: (15, 2, 3), 4: (9, 9, 9)})
    out, facts = run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="mine", path=image)
    table = pd.read_csv(out["atlas_table"], sep="\t")
    assert list(table["index"]) == [4, 7, 30] and facts["NumberOfParcels"] == 3
    assert list(table["hemisphere"]) == ["B", "R", "L"] and set(table["n_voxels"]) == {27}
    np.testing.assert_allclose(table.loc[1, ["x", "y", "z"]].to_numpy(float), [20 - 2 * 2, -20 + 2 * 3, -20 + 2 * 4])
    assert facts["Warnings"] == ["atlas.space is not set: atlas mine was taken to be in MNI152NLin2009aSym"]
    stated = {"name": "mine", "path": image, "space": "MNI152NLin2009aSym"}
    assert run(atlas.STAGE, template(tmp_path), tmp_path / "o", **stated)[1]["Warnings"] == []
    names = tmp_path / "n.tsv"
    names.write_text("index\tname\tnetwork\n30\tV1\tVisual\n4\tM1\tMotor\n7\tNA\tn\n99\tunused\tn\n")
    out, _ = run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="mine", path=image, labels=names)
    table = pd.read_csv(out["atlas_table"], sep="\t", keep_default_na=False)
    assert list(table["name"]) == ["M1", "NA", "V1"] and list(table["network"]) == ["Motor", "n", "Visual"]

    names.write_text("index\tlabel\tnetwork_label\n30\tV1\tVisual\n4\tM1\tMotor\n7\tNone\tn/a\n")  # as others call them
    out, _ = run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="mine", path=image, labels=names)
    table = pd.read_csv(out["atlas_table"], sep="\t", keep_default_na=False)
    assert list(table["name"]) == ["M1", "None", "V1"] and list(table["network"]) == ["Motor", "Unassigned", "Visual"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("index\tname\n4\ta\n", "no row for label 7"),
        ("number\tname\n4\ta\n", "no column index"),
        ("index\tname\n4\ta\n7\ta\n", "stands for two"),
        ("index\tname\n4\ta\n7\tb\n4\ta\n", r"n\.tsv: two rows of index 4, lines 2 and 4"),
        ("index\tbezeichnung\n4\ta\n7\tb\n", r"n\.tsv: no column name, network or hemisphere"),
        ("index\tname\n4\ta\n7\n", r"n\.tsv: line 3 has 1 cells"),
        ("index\tname\n4\ta\nseven\tb\n", r"n\.tsv: line 3: index 'seven' is no whole number"),
    ],
)
def test_a_wrong_table(tmp_path: Path, rows: str, message: str) -> None:
    image = label_image(tmp_path / "l.nii.gz", {7: (1, 2, 3), 4: (9, 9, 9)})
    (tmp_path / "n.tsv").write_text(rows)
    with pytest.raises(InputError, match=message):
        run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="m", path=image, labels=tmp_path / "n.tsv")


def test_a_wrong_image(tmp_path: Path) -> None:
    def refused(data: np.ndarray, message: str) -> None:
        nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "w.nii.gz")
        with pytest.raises(InputError, match=rf"w\.nii\.gz.*{message}"):
            run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="m", path=tmp_path / "w.nii.gz")

    refused(np.full((5, 5, 5), 0.5, np.float32), "no labels")
    refused(np.zeros((5, 5, 5), np.int16), "no label")
    refused(np.ones((5, 5, 5, 2), np.int16), "three dimensions")
    for kind in (np.uint32, np.float64):
        refused(np.full((5, 5, 5), 2**31, kind), "label 2147483648 is beyond 2147483647")
    with pytest.raises(ValidationError, match="not known"):
        atlas.Config(name="other")


def test_the_largest_labels_take_no_memory(tmp_path: Path) -> None:
    """As those of Allen's atlases: a table from label to row would take 16 GB."""
    file = label_image(tmp_path / "l.nii.gz", {7: (2, 5, 5), 2**31 - 1: (12, 5, 5)}, np.int32)
    image, table = atlas._labels(file), atlas.parcellation(atlas.Config(name="m", path=file), "MNI").table
    assert table["index"].tolist() == [7, 2**31 - 1] and table["n_voxels"].tolist() == [27, 27]
    np.testing.assert_allclose(table[["x", "y", "z"]], [AFFINE[:3] @ [3, 6, 6, 1], AFFINE[:3] @ [13, 6, 6, 1]])
    nib.save(image, tmp_path / "d.nii.gz")
    for rows, known in ((table, {-1: 8000 - 54, 0: 27, 1: 27}), (table.iloc[1:], {-1: 8000 - 27, 0: 27})):
        rows.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
        files = Files({"atlas_dseg": tmp_path / "d.nii.gz", "atlas_table": tmp_path / "t.tsv"}, {})
        found, count = np.unique(sample._atlas(files)[1], return_counts=True)
        assert dict(zip(found.tolist(), count.tolist(), strict=True)) == known


def test_a_wrong_affine_is_noticed(tmp_path: Path) -> None:
    labels = np.asarray(embedded_atlas()[0].dataobj)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "w.nii.gz")
    with pytest.raises(InputError, match=r"w\.nii\.gz: only .*% of its labelled voxels lie in the template's brain"):
        run(atlas.STAGE, template(tmp_path), tmp_path / "o", name="m", path=tmp_path / "w.nii.gz")


def test_a424(tmp_path: Path, atlases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a path and from the cache; with Yeo's networks; and a copy that lacks label 120 is explained."""
    space = template(tmp_path, "MNI152NLin6Asym")
    out, facts = run(atlas.STAGE, space, tmp_path / "o", name="A424", path=atlases / "A424+2mm.nii.gz")
    table = pd.read_csv(out["atlas_table"], sep="\t")
    assert len(table) == 424 and facts["Sha256"] == atlas.A424.sha256 and facts["Space"] == "MNI152NLin6Asym"
    known = pd.read_csv(atlases / "A424_to_Yeo7.tsv", sep="\t")
    assert list(table["network"]) == list(known["network"]) and "Yeo" in facts["NetworkSource"]
    np.testing.assert_allclose(table[["x", "y", "z"]], known[["x", "y", "z"]], atol=0.06)

    monkeypatch.setenv("BRAINLM_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    shutil.copy(atlases / "A424+2mm.nii.gz", tmp_path / "home" / atlas.A424.name)
    assert run(atlas.STAGE, space, tmp_path / "o", name="A424")[1]["Sha256"] == facts["Sha256"]

    image = nib.load(atlases / "A424+2mm.nii.gz")
    data = np.asarray(image.dataobj).copy()
    data[data == 120] = 0
    nib.save(nib.Nifti1Image(data, image.affine), tmp_path / "A424.nii.gz")
    with pytest.raises(InputError, match=r"120 are missing.*A424\+2mm"):
        run(atlas.STAGE, space, tmp_path / "o", name="A424", path=tmp_path / "A424.nii.gz")
    with pytest.raises(InputError, match=r"set template\.name: MNI152NLin6Asym"):
        run(atlas.STAGE, template(tmp_path / "b"), tmp_path / "o", name="A424", path=atlases / "A424+2mm.nii.gz")


def test_golden(tmp_path: Path, golden: Callable[..., None]) -> None:
    golden(atlas.STAGE, *run(atlas.STAGE, template(tmp_path / "template"), tmp_path / "atlas", name="demo424"))
