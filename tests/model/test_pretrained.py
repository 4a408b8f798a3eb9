"""Models as folders that travel: save_pretrained, from_pretrained, and the Hugging Face Hub, which is a server here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from brainlm_data import InputError
from brainlm_model import TrainedModel, load
from brainlm_model.cli import main
from tests.model.api_example import make_results
from tests.model.cohort import series

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """What the Hub answers, with a folder as the repository `lab/tiny`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.folder, self.paths, self.tokens, self.cut = folder, list[str](), list[str | None](), 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.tokens.append(self.headers.get("Authorization"))
        body = None
        if self.path in ("/api/models/lab/tiny/revision/main", f"/api/models/lab/tiny/revision/{COMMIT}"):
            files = [{"rfilename": file.name} for file in self.server.folder.iterdir()]
            body = json.dumps({"sha": COMMIT, "siblings": files}).encode()
        elif self.path.startswith(f"/lab/tiny/resolve/{COMMIT}/"):
            file = self.server.folder / self.path.rsplit("/", 1)[1]
            body = file.read_bytes() if file.exists() else None
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write((body or b"")[: -self.server.cut or None])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_results(tmp_path_factory.mktemp("pretrained"))
    return load(home / "results" / "models" / "tiny").save_pretrained(home / "lab" / "tiny")


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(folder)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("BRAINLM_DATA_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def test_a_saved_model_is_the_same(folder: Path, tmp_path: Path) -> None:
    before = load(folder.parents[1] / "results" / "models" / "tiny")
    after = TrainedModel.from_pretrained(folder)
    one = series(np.random.default_rng(0))
    np.testing.assert_array_equal(before.embed(one), after.embed(one))
    assert after.card == before.card and after.training == before.training
    names = {"config.json", "model.safetensors", "scaler.npz", "card.json", "card.md", "README.md", "SHA256SUMS"}
    assert {file.name for file in folder.iterdir()} == names
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name:")
    assert not list(folder.parent.glob(".*"))  # nothing is left behind
    again = after.save_pretrained(tmp_path / "again")
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    with pytest.raises(InputError, match="has files in it -> give a new folder"):
        after.save_pretrained(folder)


def test_from_the_hub(hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    one = series(np.random.default_rng(0))
    expected = load(folder).embed(one)
    np.testing.assert_array_equal(TrainedModel.from_pretrained("lab/tiny").embed(one), expected)
    assert set(hub.tokens) == {"Bearer secret"} and not any("README" in path for path in hub.paths)
    asked = len(hub.paths)
    np.save(tmp_path / "one.npy", one)
    assert main(["embed", "lab/tiny", str(tmp_path / "one.npy"), "--out", str(tmp_path / "one.parquet")]) == 0
    assert len(hub.paths) == asked + 1  # which commit `main` is; the files are in the cache
    load("lab/tiny", revision=COMMIT)
    assert len(hub.paths) == asked + 1  # a commit is what it was
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load("lab/tiny", revision=COMMIT)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        load("lab/tiny")


def test_every_command_takes_a_model_of_the_hub(hub: Hub, folder: Path, tmp_path: Path, capfd) -> None:
    store, out = str(folder.parents[1] / "results" / "store.zarr"), str(tmp_path / "out")
    learn = ["--column", "age", "--epochs", "1", "--bootstrap", "100", "--train", "frozen", "--threads", "1"]
    assert main(["finetune", "lab/tiny", store, "--out", out, *learn]) == 0
    assert f"lab/tiny ({COMMIT[:7]})" in (tmp_path / "out" / "card.md").read_text()
    for command in (["evaluate", store, "lab/tiny"], ["paper", store, "lab/tiny"]):  # not into the cache
        assert main(command) == 2
        assert "say where results go: --out FOLDER" in capfd.readouterr().err


def test_what_is_not_on_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in (lambda: load("lab/none"), lambda: load("lab/tiny", revision="v9")):
        with pytest.raises(InputError, match=r"no such folder here, and the Hub has no such model with revision"):
            call()
    hub.cut = 10
    with pytest.raises(InputError, match=r"not an answer of the Hub|bytes arrived|broke off"):
        load("lab/tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="no such folder here, and the Hub cannot be reached") as caught:
        load("lab/tiny")
    assert "\n" not in str(caught.value)


def test_a_download_that_is_cut_is_no_model(hub: Hub, tmp_path: Path) -> None:
    from brainlm_model.trained import hub as module

    hub.cut = 0
    about = module._json("lab/tiny", "main")
    assert about["sha"] == COMMIT
    hub.cut = 10
    with pytest.raises(InputError, match=r"bytes arrived|broke off"):
        module._fetch("lab/tiny", COMMIT, "model.safetensors", tmp_path / "x")


def test_another_kind_of_model_is_named(hub: Hub, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    hub.folder = other
    with pytest.raises(InputError, match=r"no model\.safetensors, scaler\.npz: it is no model of this package"):
        load("lab/tiny")


def test_folders_go_first(hub: Hub, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    with pytest.raises(InputError, match=r"lab/tiny: no model\.safetensors"):  # the owner's folder is here
        load("lab/tiny")
    with pytest.raises(InputError, match="revision v1 of a folder"):
        load(folder, revision="v1")
    assert not hub.paths
