"""What is fuzzed: one small valid file of each format, and the product's own reader of it."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np

from tests.attacks import mutate
from tests.attacks.mutate import damaged

Mutator = Callable[..., bytes]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes
    ----------
    write: makes the example, with what lies around it, in an empty folder; returns the file that is damaged.
    read: reads that file by the product's own reader; what it returns is compared where `whole` is set.
    mutators: how it is damaged, one of them each time.
    whole: a checksum protects the content: what is read is the example's, or it is refused.
    slow: left out of the test suite (imports or examples take seconds).
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    mutators: tuple[Mutator, ...] = (damaged,)
    whole: bool = False
    slow: bool = False


# Images


def _image(folder: Path, name: str, shape: tuple[int, ...] = (5, 4, 3, 6), dtype: type = np.int16) -> Path:
    values = np.random.default_rng(0).integers(1, 999, shape).astype(dtype)
    image = nib.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2
    nib.save(image, folder / name)
    return folder / name


def _read_image(path: Path) -> Any:
    from brainlm_data.reading.image import Run, load_image, repetition_time

    run = Run(path)
    volumes = [volume.copy() for volume in run]
    loaded = np.asarray(load_image(path).dataobj)
    return volumes, loaded, repetition_time(run, {})


def _read_pixels(path: Path) -> Any:
    return _read_image(path)[1]


def _field(folder: Path) -> Path:
    image = nib.Nifti1Image(np.random.default_rng(0).normal(0, 1, (5, 4, 3, 3)).astype(np.float32), np.eye(4) * 2)
    image.header.set_intent(2006)
    nib.save(image, folder / "warp.nii.gz")
    return folder / "warp.nii.gz"


def _read_field(path: Path) -> Any:
    from brainlm_data.methods.fnirt import Field

    return Field.read(path).coordinates(np.zeros((2, 3)))


def _ptseries(folder: Path) -> Path:
    from nibabel.cifti2 import Cifti2Image, ParcelsAxis, SeriesAxis

    voxels = [np.array([[i, 0, 0]]) for i in range(4)]
    parcels = ParcelsAxis([f"p{i}" for i in range(4)], voxels, [{}] * 4, np.eye(4), (9, 9, 9), {})
    values = np.random.default_rng(0).normal(100, 5, (40, 4)).astype(np.float32)
    path = folder / "sub-01_task-rest.ptseries.nii"
    nib.save(Cifti2Image(values, (SeriesAxis(0, 2.0, 40), parcels)), path)
    return path


def _read_ptseries(path: Path) -> Any:
    from brainlm_data.reading.sources import read_series

    values = _imported("ptseries", path)
    read_series(path, _card(parcels=4))
    return values


# Text


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


SIDECAR = {
    "RepetitionTime": 2.0, "TaskName": "rest", "SliceTiming": [0.0, 0.5, 1.0, 1.5], "EchoTime": 0.03,
    "PhaseEncodingDirection": "j-", "IntendedFor": ["func/sub-01_task-rest_bold.nii.gz"], "B0FieldSource": "pepolar",
}  # fmt: skip


def _dataset(folder: Path) -> Path:
    """A BIDS dataset of one run, whose sidecar is damaged."""
    func = folder / "bids" / "sub-01" / "func"
    func.mkdir(parents=True)
    (folder / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (folder / "bids" / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    _image(func, "sub-01_task-rest_bold.nii.gz")
    (func / "sub-01_task-rest_bold.json").write_text(json.dumps(SIDECAR))
    return func / "sub-01_task-rest_bold.json"


def _read_dataset(path: Path) -> Any:
    from brainlm_data.bids.index import Select, read_index
    from brainlm_data.reading.image import Run, repetition_time

    index = read_index(path.parents[2], Select.model_validate({}))
    run = Run(Path(index.recordings[0].bold.path))
    _slice_times(run, index.recordings[0].metadata, path.parent)
    return repetition_time(run, index.recordings[0].metadata)


def _slice_times(run: Any, metadata: dict[str, Any], folder: Path) -> None:
    """Stage slicetiming on the run."""
    from brainlm_data.runner.call import call
    from brainlm_data.stage import Files
    from brainlm_data.stages.slicetiming import STAGE

    inputs = {"bold": run.path}
    meta = {"id": "x", "metadata": metadata, "outdir": str(folder)}
    if "motion_params" in STAGE.inputs:
        (folder / "motion.tsv").write_text("x\n0\n")
        (folder / "motion.json").write_text('{"RepetitionTime": 2.0, "NumberOfVolumes": 6}')
        inputs["motion_params"] = folder / "motion.tsv"
    call(STAGE, Files(inputs, meta), {name: folder / f"{name}.json" for name in STAGE.outputs}, STAGE.Config())


def _description(folder: Path) -> Path:
    return _dataset(folder).parents[2] / "dataset_description.json"


def _read_description(path: Path) -> Any:
    from brainlm_data.bids.index import Select, read_index
    from brainlm_data.graph.listing import description

    return read_index(path.parent, Select.model_validate({})), description(path.parent)


def _participants(folder: Path) -> Path:
    return _dataset(folder).parents[2] / "participants.tsv"


def _events(folder: Path) -> Path:
    path = _dataset(folder).with_name("sub-01_task-rest_events.tsv")
    path.write_text("onset\tduration\ttrial_type\n0.5\t1\ta\n3.5\t1\tb\n")
    return path


def _read_root(path: Path) -> Any:
    """The dataset that a file is in."""
    from brainlm_data.bids.index import Select, read_index

    return read_index(next(p for p in path.parents if p.name == "bids"), Select.model_validate({}))


PEOPLE = "participant_id\tage\tsex\tsite\n" + "".join(f"sub-{i:02d}\t{20 + i}\tF\tA{i % 2}\n" for i in range(8))


def _read_people(path: Path) -> Any:
    from brainlm_data.reading.people import read_people

    people = read_people(path, ("participant_id",))
    rows = [people.find(f"{number:02d}") for number in range(8)]
    return rows, people.notes()


LABELS = "index\tname\themisphere\tnetwork\tx\ty\tz\n" + "".join(
    f"{i}\tp{i}\tL\tVis\t{i}.5\t-2\t{i}\n" for i in range(1, 7)
)


def _read_labels(path: Path) -> Any:
    from brainlm_data.reading.labels import read_labels

    return read_labels(path).to_dict()


SERIES = (
    "\t".join(f"p{i}" for i in range(4)) + "\n" + "".join(f"{i}.25\t{i * i % 7}\tn/a\t{-i}e-1\n" for i in range(40))
)


def _read_series(path: Path) -> Any:
    from brainlm_data.reading.sources import read_series

    read_series(path, _card(parcels=4))
    return _imported("arrays", path)


CONFIG = """\
bids_dir: data/bids
outdir: results
atlas: {name: demo424}
template: {name: MNI152NLin2009aSym}
filter: {drop: 2, low_hz: 0.01, high_hz: 0.1, censor_fd_mm: 0.5}
denoise: {strategy: ica+24P}
keep: [preproc]
collate: {validation: 0.25, test: 0.25, external: {site: [A, B]}}
train: {steps: 4, batch_size: 2, window: 80, preset: tiny}
"""


def _read_config(path: Path) -> Any:
    from brainlm_data.config import read_config, split_foreign, validate
    from brainlm_data.pipeline import STAGES

    raw = read_config(argparse.Namespace(configfile=path, bids_dir=None, outdir=None, set=[]))
    return validate(split_foreign(raw, STAGES)[0], STAGES).model_dump(mode="json")


STRATEGY = "name: own\ndescription: Six parameters.\ncolumns: [trans_x, trans_y, trans_z, rot_*]\ncensor_fd_mm: 0.5\n"


def _strategy(folder: Path) -> Path:
    from brainlm_data.strategies import FOLDER

    path = folder / "own.yaml"
    path.write_bytes((FOLDER / "24P.yaml").read_bytes())
    return path


def _read_strategy(path: Path) -> Any:
    from brainlm_data.config import section_from
    from brainlm_data.stages.denoise import STAGE

    return section_from({"strategy": [str(path)]}, STAGE).model_dump(mode="json")


OVERRIDES = "recording\tcomponent\tclassification\nsub-01_task-rest\tica_00\taccepted\n"


def _read_overrides(path: Path) -> Any:
    from brainlm_data.methods.overrides import read_overrides

    return read_overrides(path, ["sub-01_task-rest"])


def _read_matrix(path: Path) -> Any:
    from brainlm_data.methods.fnirt import read_matrix

    return read_matrix(path)


MATRIX = "0.99 0.01 0 1.5\n-0.01 0.99 0 2\n0 0 1 -3\n0 0 0 1\n"


def _itk(folder: Path) -> Path:
    from brainlm_data.methods.rigid import write_itk

    write_itk(folder / "x.txt", np.stack([np.eye(4)] * 3))
    return folder / "x.txt"


def _read_itk(path: Path) -> Any:
    from brainlm_data.methods.rigid import read_itk

    return read_itk(path)


# Imports


def _imported(kind: str, path: Path, **options: Any) -> Any:
    """Every recording of a source at 1 Hz, or why it is refused."""
    from brainlm_data.errors import Refused
    from brainlm_data.imports import Options, read
    from brainlm_data.imports.series import resampled

    values = []
    for series in read(kind, path, Options(**{"tr_s": 2.0, **options})).series:
        try:
            values.append(resampled(series, 1.0))
        except Refused as refusal:
            values.append(str(refusal))
    return values


def _dat(folder: Path) -> Path:
    np.savetxt(folder / "sub-01.dat", np.random.default_rng(0).normal(9, 1, (12, 424)), "%.3f", "\t")
    return folder / "sub-01.dat"


def _pcp(folder: Path) -> Path:
    from tests.imports.made import signal, write_1d

    write_1d(folder / "A_0050001_rois_cc200.1D", signal(0))
    return folder / "A_0050001_rois_cc200.1D"


def _abide(folder: Path) -> Path:
    from tests.imports import made

    return made.abide(folder)


def _npy(folder: Path) -> Path:
    np.save(folder / "sub-01_task-rest.npy", np.random.default_rng(0).normal(9, 1, (40, 4)).astype(np.float32))
    return folder / "sub-01_task-rest.npy"


def _ukb(folder: Path) -> Path:
    from tests.imports.images import atlas
    from tests.imports.test_hcp_ukb import ukb

    atlas(folder)
    return ukb(folder / "in", "1000001")


def _read_ukb(path: Path) -> Any:
    from brainlm_data.imports import Treatment

    return _imported("ukb", path, tr_s=None, images=Treatment(atlas=str(path.parents[1] / "blocks.nii.gz")))


# Arrays and tables of the product


def _scaler(folder: Path) -> Path:
    from brainlm_data.dataset.scaler import Scaler

    Scaler(np.zeros(24, np.float32), np.ones(24, np.float32)).save(folder / "scaler.npz")
    return folder / "scaler.npz"


def _read_scaler(path: Path) -> Any:
    from brainlm_data.dataset.scaler import Scaler

    scaler = Scaler.load(path)
    return scaler.median, scaler.iqr


def _recipes(folder: Path) -> tuple[Path, Path]:
    from brainlm_data.methods.operators import Recipe
    from brainlm_data.methods.regression import Regression

    Recipe(2.0, 40, 2, (7,), "butterworth", 0.01).save(folder / "filter.json")
    noise = np.random.default_rng(0).normal(0, 1, (38, 2))
    Regression(noise, np.linalg.pinv(noise)).save(folder / "denoise.npz")
    return folder / "filter.json", folder / "denoise.npz"


def _read_recipes(path: Path) -> Any:
    from brainlm_data.methods.operators import Temporal

    folder = path.parent
    return Temporal.load(folder / "filter.json", folder / "denoise.npz", 500.0).apply(np.ones((40, 3)))


def _store(folder: Path) -> Path:
    from brainlm_data.dataset.store import write_sums_of
    from tests.model.cohort import make

    make(folder)
    tables = [folder / name for name in ("recordings.parquet", "scaler.npz", "card.json")]
    write_sums_of(folder / "SHA256SUMS", folder / "store.zarr", tables)
    return folder / "store.zarr" / "zarr.json"


def _read_store(path: Path) -> Any:
    from brainlm_data import open_store

    store = open_store(next(p for p in (path, *path.parents) if p.name == "store.zarr"))
    series = [(store.series(name), store.valid(name)) for name in ("sub-00_task-rest", "sub-05_task-rest")]
    return series, store.rate_hz, len(store.parcels), list(store.recordings.columns)


def _chunk(folder: Path) -> Path:
    _store(folder)
    return max((p for p in (folder / "store.zarr").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def _array_metadata(folder: Path) -> Path:
    return _store(folder).parent / "bold" / "zarr.json"


def _parquet(folder: Path) -> Path:
    return _store(folder).parents[1] / "recordings.parquet"


def _read_parquet(path: Path) -> Any:
    from brainlm_data import open_store

    return open_store(path.parent / "store.zarr").recordings.to_dict()


def _card_file(folder: Path) -> Path:
    _store(folder)
    return folder / "card.json"


def _read_card(path: Path) -> Any:
    from brainlm_data import Card

    return Card.read(path).markdown()


def _card(**change: Any) -> Any:
    """A card that contradicts no series."""
    from brainlm_data.dataset.card import Card

    facts: dict[str, Any] = {
        "made_by": "x", "recordings": 1, "subjects": 1, "parcels": 4, "networks": "", "atlas": "", "rate_hz": 0.5,
        "units": "", "tr_s": {"low": 2, "high": 2}, "band_low_hz": {}, "band_high_hz": {}, "stages": [],
    }  # fmt: skip
    return Card.model_validate(facts | change)


# Records of the runner


def _run(folder: Path) -> Path:
    from brainlm_data.graph.dag import Dag
    from brainlm_data.graph.edges import load_job
    from brainlm_data.runner.bundle import run_bundle
    from tests.conftest import write_bids
    from tests.core.toy import STAGES

    dag = Dag({"bids_dir": str(write_bids(folder / "bids", ("01",))), "outdir": str(folder / "out")}, STAGES)
    dag.prepare()
    for stage in STAGES:
        for bundle in dag.bundles.by_level[stage.level]:
            run_bundle(load_job(STAGES, stage.name, dag.outdir, bundle, dag[stage.name].signature))
    return folder / "out"


def _read_run(path: Path) -> Any:
    """Run everything again, as after a crash that damaged a record; then ask where the card is from."""
    from brainlm_data.graph.dag import Dag
    from brainlm_data.graph.edges import load_job
    from brainlm_data.runner.bundle import run_bundle
    from tests.core.toy import STAGES

    folder = next(p for p in path.parents if p.name == "out").parent
    dag = Dag({"bids_dir": str(folder / "bids"), "outdir": str(folder / "out")}, STAGES)
    dag.prepare()
    _ = dag.plan.redone
    for stage in STAGES:
        for bundle in dag.bundles.by_level[stage.level]:
            run_bundle(load_job(STAGES, stage.name, dag.outdir, bundle, dag[stage.name].signature))
    return (folder / "out/card.md").read_text()


def _record(place: str) -> Callable[[Path], Path]:
    return lambda folder: _run(folder) / place


# Models


def _model(folder: Path) -> Path:
    import torch

    from brainlm_model.models.brainlm import BrainLM
    from brainlm_model.models.config import ModelConfig
    from brainlm_model.trained.checkpoint import FORMAT, save_weights
    from brainlm_model.training.stage import STAGE

    _ = STAGE
    config = ModelConfig(4, window=40, patch=20, width=8, heads=2, hidden=8, depth=1, decoder_depth=1)
    torch.manual_seed(0)
    save_weights(BrainLM(config), folder / "model.safetensors")
    from dataclasses import asdict

    content = {"format": FORMAT, "model": asdict(config), "training": {"seed": 0}}
    (folder / "config.json").write_text(json.dumps(content))
    from brainlm_data.dataset.scaler import Scaler

    Scaler(np.zeros(4, np.float32), np.ones(4, np.float32)).save(folder / "scaler.npz")
    return folder / "model.safetensors"


def _model_config(folder: Path) -> Path:
    return _model(folder).with_name("config.json")


def _read_model(path: Path) -> Any:
    import brainlm_model

    model = brainlm_model.load(path.parent)
    return model.embed(np.random.default_rng(0).normal(0, 1, (40, 4)).astype(np.float32))


def _bin(folder: Path) -> Path:
    import torch

    torch.save({"a.weight": torch.ones(4, 3), "b": torch.zeros(5)}, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def _read_bin(path: Path) -> Any:
    from brainlm_model.models.official.files import read_tensors

    return {name: value.float().numpy() for name, value in read_tensors(path).items()}


def _step(folder: Path) -> Path:
    from brainlm_model.training import state

    network, optimizer = _tiny()
    network(_ones()).sum().backward()
    optimizer.step()
    state.save(folder, state.snapshot({"seed": 0}, network, optimizer, network.state_dict(), [], []))
    return folder / state.NAME


def _tiny() -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    return network, torch.optim.AdamW(network.parameters())


def _ones() -> Any:
    import torch

    return torch.ones(1, 3)


def _read_step(path: Path) -> Any:
    from brainlm_model.training import state

    network, optimizer = _tiny()
    checkpoint = state.load(path.parent)
    assert checkpoint is not None
    checkpoint.put(network, optimizer)
    network(_ones()).sum().backward()
    optimizer.step()


# Transforms, and listings of a bucket


def _transform(folder: Path) -> Path:
    import ants

    affine = ants.create_ants_transform(transform_type="AffineTransform", precision="double", dimension=3)
    ants.write_transform(affine, str(folder / "x_xfm.h5"))
    return folder / "x_xfm.h5"


def _sealed_transform(folder: Path) -> Path:
    from brainlm_data.methods.hdf5 import seal_transform, without_times

    path = _transform(folder)
    without_times(path)
    seal_transform(path)
    return path


def _read_transform(path: Path) -> Any:
    from brainlm_data.methods.registration import map_points

    return map_points(np.zeros((2, 3)), [path])


LISTING = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE x [<!ENTITY lol "lol">]>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>ds1/</Prefix>
<IsTruncated>false</IsTruncated>
<Contents><Key>ds1/a.tsv</Key><Size>12</Size><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag></Contents>
<Contents><Key>ds1/b%20c.json</Key><Size>7</Size><ETag>"x-2"</ETag></Contents>
<CommonPrefixes><Prefix>ds1/sub-01/</Prefix></CommonPrefixes></ListBucketResult>
"""


def _read_listing(path: Path) -> Any:
    from brainlm_data.downloads import s3

    bucket = s3.Bucket("http://bucket", pause_s=0)
    answer = lambda *_: io.BytesIO(path.read_bytes())  # noqa: E731
    with patch.object(s3.Bucket, "_open", answer), patch.object(s3, "TRIES", 2):
        folders, items = bucket.folders("ds1/")
        return folders, [s3.below(item.key, "ds1/", Path("out")) for item in items], [item.size for item in items]


def _patterns(folder: Path) -> Path:
    from brainlm_data import averaged

    words, test = [f"p{row}" for row in range(8)], np.arange(8) > 5
    values = np.random.default_rng(0).standard_normal((8, 5))
    averaged(values, words, words, words, ["1"] * 8, test).save(folder / "trials.npz")
    return folder / "trials.npz"


def _read_patterns(path: Path) -> Any:
    from brainlm_data import Patterns

    return Patterns.load(path).of("train").patterns


def _voxels(folder: Path) -> Path:
    np.savez(
        folder / "v.npz", series=np.ones((9, 3), np.int16), slope=np.ones(3, np.float32), shape=np.array([3, 1, 1]),
        ijk=np.arange(3)[:, None] * [1, 0, 0], affine=np.eye(4),
    )  # fmt: skip
    return folder / "v.npz"


def _read_voxels(path: Path) -> Any:
    from brainlm_data.stages.voxels import Voxels

    found = Voxels(path)
    return found.series(found.places)


FORMATS: dict[str, Format] = {
    "nii": Format(lambda f: _image(f, "x.nii"), _read_image),
    "nii-float": Format(lambda f: _image(f, "x.nii", dtype=np.float32), _read_image),
    "nii.gz": Format(lambda f: _image(f, "x.nii.gz"), _read_pixels, whole=True),
    "nii.gz-inside": Format(lambda f: _image(f, "x.nii.gz"), _read_image, (mutate.within_gzip, mutate.bomb)),
    "warp": Format(_field, _read_field, (damaged, mutate.within_gzip), slow=True),
    "ptseries": Format(_ptseries, _read_ptseries),
    "sidecar": Format(_dataset, _read_dataset, (damaged, mutate.damaged_json)),
    "description": Format(_description, _read_description, (damaged, mutate.damaged_json)),
    "participants": Format(_participants, _read_root),
    "events": Format(_events, _read_root),
    "people-csv": Format(_text("people.csv", PEOPLE.replace("\t", ",")), _read_people),
    "people-tsv": Format(_text("people.tsv", PEOPLE), _read_people),
    "labels": Format(_text("labels.tsv", LABELS), _read_labels),
    "series-tsv": Format(_text("sub-01_task-rest.tsv", SERIES), _read_series),
    "config": Format(_text("config.yaml", CONFIG), _read_config),
    "strategy": Format(_strategy, _read_strategy),
    "overrides": Format(_text("overrides.tsv", OVERRIDES), _read_overrides),
    "mat": Format(_text("example_func2highres.mat", MATRIX), _read_matrix),
    "itk-text": Format(_itk, _read_itk),
    "dat": Format(_dat, lambda path: _imported("dat", path)),
    "pcp": Format(_pcp, lambda path: _imported("pcp", path)),
    "abide-npz": Format(_abide, lambda path: _imported("abide", path, tr_s=None), (damaged, mutate.within_zip)),
    "abide-zip": Format(_abide, lambda path: _imported("abide", path, tr_s=None), whole=True),
    "npy": Format(_npy, _read_series),
    "ukb-zip": Format(_ukb, _read_ukb, (damaged, mutate.within_zip), slow=True),
    "scaler": Format(_scaler, _read_scaler, (damaged, mutate.within_zip)),
    "scaler-zip": Format(_scaler, _read_scaler, whole=True),
    "filter-recipe": Format(lambda f: _recipes(f)[0], _read_recipes, (damaged, mutate.damaged_json)),
    "denoise-recipe": Format(lambda f: _recipes(f)[1], _read_recipes, (damaged, mutate.within_zip)),
    "patterns": Format(_patterns, _read_patterns, (damaged, mutate.within_zip)),
    "voxels": Format(_voxels, _read_voxels, (damaged, mutate.within_zip)),
    "zarr.json": Format(_store, _read_store, (damaged, mutate.damaged_json), whole=True),
    "zarr-array": Format(_array_metadata, _read_store, (damaged, mutate.damaged_json)),
    "zarr-chunk": Format(_chunk, _read_store, whole=True),
    "parquet": Format(_parquet, _read_parquet, whole=True),
    "card": Format(_card_file, _read_card, (damaged, mutate.damaged_json)),
    "manifest": Format(_record("work/anat/sub-01.json"), _read_run, (damaged, mutate.damaged_json)),
    "receipt": Format(_record("work/receipts/anat/sub-01.json"), _read_run, (damaged, mutate.damaged_json)),
    "listing": Format(_record("work/listing/subject/sub-01.json"), _read_run, (damaged, mutate.damaged_json)),
    "index": Format(_record("work/index.json"), _read_run),
    "model": Format(_model, _read_model, slow=True),
    "model-config": Format(_model_config, _read_model, (damaged, mutate.damaged_json), slow=True),
    "weights-bin": Format(_bin, _read_bin, (damaged, mutate.within_zip), slow=True),
    "step": Format(_step, _read_step, slow=True),
    "h5": Format(_sealed_transform, _read_transform, slow=True),
    "h5 of ITK": Format(_transform, _read_transform, slow=True),
    "s3-listing": Format(_text("listing.xml", LISTING), _read_listing),
}
