"""The wheel carries what a run needs: `pip install .` is enough, no checkout is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT

PACKAGES = ("brainlm", "brainlm_data", "brainlm_model", "brainmarks")
WORKFLOW = ("Snakefile", "config.yaml", "config", "profiles", "workflow")


def test_the_wheel_has_the_workflow_and_every_file_of_the_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, source / name)
    for name in (*PACKAGES, "config", "profiles", "workflow"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for name in WORKFLOW:
        files = [source / name, *(source / name).rglob("*")]
        assert {f"brainlm/pipeline/{file.relative_to(source)}" for file in files if file.is_file()} <= packed
    for name in PACKAGES:
        files = [file for file in (ROOT / name).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        assert {str(file.relative_to(ROOT)) for file in files} <= packed
    folders = {name.split("/")[0] for name in packed}
    assert {name for name in folders if not name.endswith(".dist-info")} == set(PACKAGES)
