"""fmriprep: run fMRIPrep's container, by Docker or Apptainer, for those who prefer it to the native stages.

Esteban et al. (2019), doi:10.1038/s41592-018-0235-4. Its derivatives land in `<outdir>/derivatives/fmriprep`; stage
`ingest` takes them from there.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from brainlm_data.errors import InputError
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig, Unwatched

IMAGE = "nipreps/fmriprep:25.2.7"


class Config(StageConfig):
    """How fMRIPrep is called."""

    runner: Literal["docker", "apptainer"] = Field(
        "docker",
        description="docker: by fmriprep-docker; apptainer: by apptainer, or singularity where only that is there",
    )
    image: str = Field(
        IMAGE,
        description="container image, name:version; pin it. Of apptainer also a .sif file or an address (docker://)",
    )
    output_space: str = Field("MNI152NLin6Asym:res-2", description="must be the template that the atlas is in")
    fs_license: Unwatched = Field(None, description="FreeSurfer licence file, required by fMRIPrep")
    fs_reconall: bool = Field(False, description="run FreeSurfer's surface reconstruction (hours)")
    n_procs: int = Field(4, ge=1, description="--nprocs")
    mem_mb: int = Field(16000, ge=4000, description="--mem-mb")
    work_dir: Unwatched = Field(
        None, description="fMRIPrep's work folder (80-100 GB per subject); null: below outdir/work"
    )
    extra: list[str] = Field([], description="further options of fMRIPrep, one list item per word")


def command(bids_dir: Path, output_dir: Path, work_dir: Path, subject: str, config: Config) -> list[str]:
    """The call of one subject, as a list of arguments (never a shell string).

    Raises
    ------
    InputError: Apptainer cannot be told to show a folder with this name.
    """
    bids, out, work = str(bids_dir.absolute()), str(output_dir.absolute()), str(work_dir.absolute())
    options, read = ["--work-dir", work], [bids]
    if config.fs_license:
        licence = str(config.fs_license.absolute())
        options += ["--fs-license-file", licence]
        read.append(licence)
    options += ["--output-spaces", config.output_space]
    positional = [bids, out, "participant", "--participant-label", subject]
    if config.runner == "docker":
        # the wrapper's own options come first: it turns them into mounts
        call = ["fmriprep-docker", "--no-tty", "--image", config.image, *options, *positional]
    else:
        call = [apptainer(), "run", "--cleanenv", *binds(read, [out, work]), address(config.image)]
        call += [*positional, *options]
    call += ["--nprocs", str(config.n_procs), "--mem-mb", str(config.mem_mb), "--notrack"]
    if not config.fs_reconall:
        call.append("--fs-no-reconall")
    return call + config.extra


def apptainer() -> str:
    """The program: singularity has the same options, and on older clusters it is the only one."""
    if shutil.which("apptainer") is None and shutil.which("singularity"):
        return "singularity"
    return "apptainer"


def binds(read: Sequence[str], written: Sequence[str]) -> list[str]:
    """`--bind` of each path, at the same place in the container, so that what fMRIPrep writes down is true outside."""
    words = []
    for paths, mode in ((read, ":ro"), (written, "")):
        for path in paths:
            if ":" in path or "," in path:
                raise InputError(f"{path}: apptainer cannot bind a path with : or ,", "rename it, or make a link to it")
            words += ["--bind", f"{path}:{path}{mode}"]
    return words


def address(image: str) -> str:
    """What Apptainer takes: a .sif file or an address as they are, a name of Docker's with docker://."""
    if image.endswith(".sif") or "://" in image:
        return image
    return f"docker://{image}"


def check(call: list[str], config: Config) -> None:
    """That the programs and files of a call are there.

    Raises
    ------
    InputError: which one is not, and the command that would have been run.
    """
    shown = f"the command: {shlex.join(call)}"
    programs = ["fmriprep-docker", "docker"] if config.runner == "docker" else [call[0]]
    for program in programs:
        if shutil.which(program) is None:
            other = "apptainer" if config.runner == "docker" else "docker"
            raise InputError(
                f"fMRIPrep needs a container engine: {program} is not on PATH",
                f"install it, or set fmriprep.runner: {other} or preprocess.engine: native; {shown}",
            )
    if config.fs_license and not config.fs_license.exists():
        raise InputError(f"fmriprep.fs_license: {config.fs_license} does not exist", f"correct it; {shown}")
    if config.runner == "apptainer" and config.image.endswith(".sif") and not Path(config.image).exists():
        raise InputError(
            f"fmriprep.image: {config.image} does not exist",
            f"apptainer build {config.image} docker://{IMAGE}; {shown}",
        )


def bids_root(file: Path) -> Path:
    """The dataset that a raw file belongs to: the nearest folder above it with dataset_description.json."""
    for folder in file.parents:
        if (folder / "dataset_description.json").exists():
            return folder
    raise InputError(
        f"{file}: no dataset_description.json in any folder above it", "fMRIPrep needs a valid BIDS dataset"
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Run fMRIPrep on one subject.

    Raises
    ------
    InputError: the container engine or a file is missing, or fMRIPrep ended with an error. Its work folder stays: the
        next attempt goes on from there.
    """
    outdir = Path(inputs.meta["outdir"])
    work_dir = config.work_dir or outdir / "work" / "fmriprep-scratch"
    derivatives = outdir / "derivatives" / "fmriprep"
    call = command(bids_root(inputs["t1w"]), derivatives, work_dir, inputs.meta["subject"], config)
    check(call, config)
    work_dir.mkdir(parents=True, exist_ok=True)
    derivatives.mkdir(parents=True, exist_ok=True)
    print(shlex.join(call), file=sys.stderr, flush=True)
    status = subprocess.run(call, stdin=subprocess.DEVNULL, check=False).returncode
    page = derivatives / f"sub-{inputs.meta['subject']}.html"
    if status != 0 or not page.exists():
        raise InputError(
            f"fMRIPrep ended with status {status}; its report is {page}",
            f"read its messages in this log; the same run goes on from {work_dir}",
        )
    record = {
        "Command": call,
        "Image": config.image,
        "OutputSpace": config.output_space,
        "Report": str(page),
        "Derivatives": str(derivatives),
    }
    outputs["fmriprep_run"].write_text(json.dumps(record, indent=2), encoding="utf-8")
    return record


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return f"Images were preprocessed with fMRIPrep (Esteban et al., 2019; {facts['Image']})."


STAGE = Stage(
    name="fmriprep",
    version=2,
    level="subject",
    summary="Run fMRIPrep in its container instead of the native image stages.",
    Config=Config,
    inputs=("t1w",),
    outputs=("fmriprep_run",),
    run=run,
    describe=describe,
    routes=("fmriprep",),
    need=Need(2000, seconds=24 * 3600, disk_mb=8000),
)
