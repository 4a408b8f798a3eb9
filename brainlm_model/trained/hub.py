"""Models of the Hugging Face Hub: the files of one commit, downloaded once into the cache. Nothing is unpickled."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from brainlm_data import InputError, beside, cache_folder

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
NEEDED = ("config.json", "model.safetensors", "scaler.npz")
FILES = (*NEEDED, "card.json", "card.md", "head.safetensors", "SHA256SUMS")
TIMEOUT_S = 30
MODEL_HELP = "folder of a trained model, <outdir>/models/<name>; or owner/name of one on the Hugging Face Hub"
HERE = "give the folder of a model, or owner/name of one on the Hub"


def is_hub_name(name: str) -> bool:
    """True for `owner/name` where neither a folder of that name nor one of the owner's is here."""
    return bool(NAME.fullmatch(name)) and not Path(name).exists() and not Path(name.split("/")[0]).exists()


def download(name: str, revision: str) -> Path:
    """The folder of a model's commit in the cache (`BRAINLM_DATA_HOME`, else the user's), downloaded where it is not.

    `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to Hugging Face. A commit that is in the cache
    needs no network.

    Raises
    ------
    InputError: no such model or revision, no network, or a model of another kind.
    """
    home = cache_folder() / "hub" / name.replace("/", "--")
    if COMMIT.fullmatch(revision) and (home / revision).is_dir():
        return home / revision
    about = _json(name, revision)
    commit, files = str(about["sha"]), {str(file["rfilename"]) for file in about["siblings"]}
    missing = [file for file in NEEDED if file not in files]
    if missing or not COMMIT.fullmatch(commit):
        raise InputError(
            f"{name} on the Hub has no {', '.join(missing) or 'commit'}: it is no model of this package",
            "an official BrainLM checkpoint: download it, then `brainlm-model convert` it; others cannot be used",
        )
    place = home / commit
    if not place.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with beside(place, "downloading") as scratch:
            made = scratch / commit
            made.mkdir()
            for file in FILES:
                if file in files:
                    _fetch(name, commit, file, made / file)
            if not place.is_dir():
                os.replace(made, place)
    return place


def _json(name: str, revision: str) -> dict[str, Any]:
    """What the Hub says of a revision: its commit (`sha`) and its files (`siblings`)."""
    url = f"{_endpoint()}/api/models/{name}/revision/{quote(revision, safe='')}"
    with _opened(url, name, revision) as answer:
        try:
            content: dict[str, Any] = json.loads(answer.read())
            _ = content["sha"], [file["rfilename"] for file in content["siblings"]]
        except (ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            raise InputError(f"{url}: not an answer of the Hub ({error})", "is HF_ENDPOINT right?") from error
    return content


def _fetch(name: str, commit: str, file: str, target: Path) -> None:
    """Download one file."""
    url = f"{_endpoint()}/{name}/resolve/{commit}/{file}"
    with _opened(url, name, commit) as answer, target.open("wb") as stream:
        try:
            shutil.copyfileobj(answer, stream)
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"{url}: the download broke off ({error})", "run it again") from error
    size = answer.headers.get("Content-Length")
    if size is not None and int(size) != target.stat().st_size:
        raise InputError(f"{url}: {target.stat().st_size} of {size} bytes arrived", "run it again")


def _opened(url: str, name: str, revision: str) -> Any:
    """An open answer of the Hub. Raises InputError where there is none."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputError(f"{name}: no such folder here, and HF_HUB_OFFLINE forbids to ask the Hub", HERE)
    request = urllib.request.Request(url)
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not to where the Hub stores its files
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise InputError(f"{name}: private, gated or not on the Hub ({error})", f"HF_TOKEN; or {HERE}") from error
        if error.code == 404:
            said = f"{name}: no such folder here, and the Hub has no such model with revision {revision}"
            raise InputError(said, HERE) from error
        raise InputError(f"{url}: {error}", "try again later") from error
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{name}: no such folder here, and the Hub cannot be reached ({error})", HERE) from error


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
