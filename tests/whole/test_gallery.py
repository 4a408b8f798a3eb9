"""The scripts of the gallery and the notebook run as they stand, and make the pictures that their pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted([*ROOT.glob("docs/gallery/*.py"), *ROOT.glob("docs/tutorials/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_a_script_runs_and_makes_its_pictures(script: Path, tmp_path: Path) -> None:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PATH": programs, "PYTHONPATH": search, "MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, check=True)
    pictures = re.findall(r"!\[[^\]]*\]\(([\w/]+\.png)\)", script.read_text())
    for picture in pictures:
        assert (tmp_path / picture).stat().st_size > 1000
        assert (script.parent / picture).is_file(), "make gallery"
