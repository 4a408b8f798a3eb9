"""The images are made from one list of packages, and say the versions that the product has."""

from __future__ import annotations

import re
import tomllib

from brainlm_data.config import General
from brainlm_data.stages.fmriprep import IMAGE
from tests.conftest import ROOT

FOLDER = ROOT / "containers"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_definition_for_apptainer_adds_nothing_to_the_image() -> None:
    text = (FOLDER / "apptainer.def").read_text()
    assert re.findall(r"^(Bootstrap|From): (.+)$", text, re.MULTILINE) == [
        ("Bootstrap", "docker-archive"), ("From", "containers/brainlm.tar")
    ]  # fmt: skip
    assert not re.search(r"^%(post|files|setup)|pip install|apt-get", text, re.MULTILINE)
    assert General().container == "containers/brainlm.sif"


def test_versions_are_those_of_the_product() -> None:
    for name in ("Dockerfile", "apptainer.def", "README.md"):
        assert set(re.findall(r"brainlm-pipeline:(\S+?)[\s`]", (FOLDER / name).read_text())) == {VERSION}
    assert f"ARG VERSION={VERSION}\n" in (FOLDER / "Dockerfile").read_text()
    assert IMAGE in (FOLDER / "README.md").read_text()


def test_the_image_is_pinned_by_the_lock_file_and_runs_without_root() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    installs = [line for line in re.split(r"\n(?!\s)", text.replace("\\\n", " ")) if "pip install" in line]
    assert len(installs) == 2
    assert "--constraint requirements.lock" in installs[0] and "--no-deps" in installs[1]
    assert re.search(r"^USER (?!root|0)\w+$", text, re.MULTILINE)
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()}
    assert all((ROOT / name).exists() for name in copied)
