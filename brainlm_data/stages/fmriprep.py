"""fmriprep: run fMRIPrep through `fmriprep-docker`, for those who prefer it to the native stages.

Esteban et al. (2019), doi:10.1038/s41592-018-0235-4. Its derivatives land in `<outdir>/derivatives/fmriprep`; stage
`ingest` takes them from there.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from pydantic import Field

from brainlm_data.errors import InputError
from brainlm_data.stage import Facts, Files, Stage, StageConfig

IMAGE = "nipreps/fmriprep:25.2.7"


class Config(StageConfig):
    """How fMRIPrep is called."""

    image: str = Field(IMAGE, description="container image, name:version; pin it")
    output_space: str = Field("MNI152NLin6Asym:res-2", description="must be the template that the atlas is in")
    fs_license: Path | None = Field(None, description="FreeSurfer licence file, which fMRIPrep asks for")
    fs_reconall: bool = Field(False, description="run FreeSurfer's surface reconstruction (hours)")
    n_procs: int = Field(4, ge=1, description="--nprocs")
    mem_mb: int = Field(16000, ge=4000, description="--mem-mb")
    work_dir: Path | None = Field(
        None, description="fMRIPrep's work folder (80-100 GB a subject); null: below outdir/work"
    )
    extra: list[str] = Field([], description="further options of fMRIPrep, one list item a word")


def command(bids_dir: Path, output_dir: Path, work_dir: Path, subject: str, config: Config) -> list[str]:
    """The fmriprep-docker call of one subject, as a list of arguments (never a shell string)."""
    call = ["fmriprep-docker", "--no-tty", "--image", config.image, "--work-dir", str(work_dir)]
    if config.fs_license:
        call += ["--fs-license-file", str(config.fs_license)]
    call += ["--output-spaces", config.output_space]
    call += [str(bids_dir), str(output_dir), "participant", "--participant-label", subject]
    call += ["--nprocs", str(config.n_procs), "--mem-mb", str(config.mem_mb), "--notrack"]
    if not config.fs_reconall:
        call.append("--fs-no-reconall")
    return call + config.extra


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
    InputError: fmriprep-docker or docker is missing, or fMRIPrep ended with an error.
    """
    outdir = Path(inputs.meta["outdir"])
    work_dir = config.work_dir or outdir / "work" / "fmriprep-scratch"
    derivatives = outdir / "derivatives" / "fmriprep"
    call = command(bids_root(inputs["t1w"]), derivatives, work_dir, inputs.meta["subject"], config)
    for program in ("fmriprep-docker", "docker"):
        if shutil.which(program) is None:
            raise InputError(f"{program} is not on PATH", "install it, or set preprocess.engine: native")
    work_dir.mkdir(parents=True, exist_ok=True)
    derivatives.mkdir(parents=True, exist_ok=True)
    print(shlex.join(call), file=sys.stderr, flush=True)
    status = subprocess.run(call, stdin=subprocess.DEVNULL, check=False).returncode
    page = derivatives / f"sub-{inputs.meta['subject']}.html"
    if status != 0 or not page.exists():
        raise InputError(
            f"fMRIPrep ended with status {status}; its report is {page}",
            "read its messages in this log; is docker running?",
        )
    record = {
        "Command": call,
        "Image": config.image,
        "OutputSpace": config.output_space,
        "Report": str(page),
        "Derivatives": str(derivatives),
    }
    outputs["fmriprep_run"].write_text(json.dumps(record, indent=2))
    return record


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return f"Images were preprocessed with fMRIPrep (Esteban et al., 2019; {facts['Image']})."


STAGE = Stage(
    name="fmriprep",
    version=1,
    level="subject",
    summary="Run fMRIPrep in its container instead of the native image stages.",
    Config=Config,
    inputs=("t1w",),
    outputs=("fmriprep_run",),
    run=run,
    describe=describe,
    routes=("fmriprep",),
)
