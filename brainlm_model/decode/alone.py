"""The stages `scmbm`, `diffusion` and `decode` on patterns that no run made: those of published files, or of one's own.

A run makes the same from its own recordings: `snakemake decode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainlm_data import Files, InputError, Patterns, call, section_from
from brainlm_model.decode.stages import decode, diffusion, scmbm

STAGES = (scmbm.STAGE, diffusion.STAGE, decode.STAGE)


def decode_alone(
    patterns: Patterns, outdir: str | Path, sections: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Path]:
    """Learn from the training rows, decode the test rows; returns the path of every file, by the names of artifacts.

    A call that was interrupted goes on from its checkpoints below `outdir/work`.

    Parameters
    ----------
    outdir: for `decode.html`, `metrics/`, `figures/`, `decoder/` and `trials.npz`.
    sections: keys of `scmbm`, `diffusion` and `decode`, as in config.yaml.

    Raises
    ------
    ConfigError: an unknown key. InputError: an unknown section; patterns without pictures, or of one split alone.
    """
    sections, outdir = sections or {}, Path(outdir)
    names = [stage.name for stage in STAGES]
    if unknown := sorted(set(sections) - set(names)):
        raise InputError(f"decode: no section {unknown[0]}", f"there are: {', '.join(names)}")
    configs = [section_from(sections.get(stage.name, {}), stage) for stage in STAGES]
    patterns.seen()  # without pictures nothing is to be learnt first
    outdir.mkdir(parents=True, exist_ok=True)
    files = {"trials": outdir / "trials.npz"}
    patterns.save(files["trials"])
    for stage, config in zip(STAGES, configs, strict=True):
        outputs = {name: artifact.path(outdir) for name, artifact in stage.artifacts.items()}
        call(stage, Files(files, {"workdir": str(outdir / "work" / stage.name)}), outputs, config)
        files |= outputs
    return files
