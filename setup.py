"""The wheel carries what Snakemake reads, in `brainlm/pipeline/`. Everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WORKFLOW = ("Snakefile", "config.yaml", "config", "profiles", "workflow")


class BuildWithWorkflow(build_py):
    """Copies the workflow beside the command; an editable install reads it from the checkout."""

    def run(self) -> None:
        """Copy the packages, then the workflow."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "brainlm" / "pipeline"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in WORKFLOW:
            if Path(name).is_dir():
                shutil.copytree(name, target / name)
            else:
                shutil.copy2(name, target / name)


setup(cmdclass={"build_py": BuildWithWorkflow})
