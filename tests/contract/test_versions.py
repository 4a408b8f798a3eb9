"""What says a version, a platform or a dependency says the same everywhere."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHON = ">=3.11,<3.14"


def test_the_version_is_cited_as_it_is() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PROJECT["version"] and cited["license"] == PROJECT["license"]


def test_conda_and_pixi_make_the_same_environment() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pixi = tomllib.loads((ROOT / "pixi.toml").read_text())
    assert PROJECT["requires-python"] == pixi["dependencies"]["python"] == PYTHON
    assert f"python {PYTHON}" in conda["dependencies"]
    assert conda["dependencies"][-1]["pip"] == ["--constraint requirements.lock", "."]
    assert pixi["pypi-dependencies"] == {PROJECT["name"]: {"path": ".", "editable": True}}


def test_the_pages_say_which_pythons() -> None:
    assert "Python 3.11 to 3.13" in (ROOT / "docs/install.md").read_text()


def test_the_lock_file_holds_what_the_package_needs() -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text().lower(), re.MULTILINE))
    wanted = [re.match(r"[\w.-]+", requirement) for requirement in PROJECT["dependencies"]]
    assert {match.group().lower() for match in wanted if match} <= locked
