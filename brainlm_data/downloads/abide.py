"""ABIDE's preprocessed parcel series, by nilearn's `fetch_abide_pcp`; kind `pcp` of `import` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainlm_data.errors import InputError


@dataclass(frozen=True)
class Wanted:
    """What to fetch, in the words of the ABIDE Preprocessed Connectomes Project; `subjects` None: all."""

    atlas: str = "cc200"
    pipeline: str = "cpac"
    band_pass: bool = True
    global_signal: bool = False
    subjects: int | None = None


def fetch(wanted: Wanted, outdir: Path) -> tuple[Path, int]:
    """The folder of the .1D files, and how many there are. nilearn goes on where an earlier call ended.

    Raises
    ------
    InputError: they could not be downloaded.
    """
    from nilearn import datasets

    try:
        datasets.fetch_abide_pcp(
            data_dir=str(outdir), n_subjects=wanted.subjects, pipeline=wanted.pipeline,
            band_pass_filtering=wanted.band_pass, global_signal_regression=wanted.global_signal,
            derivatives=[f"rois_{wanted.atlas}"],
        )  # fmt: skip
    except Exception as error:  # nilearn and what it uses raise many kinds
        raise InputError(f"ABIDE could not be fetched ({error})", "run the same command again: it goes on") from error
    strategy = f"{'filt' if wanted.band_pass else 'nofilt'}_{'global' if wanted.global_signal else 'noglobal'}"
    folder = outdir / "ABIDE_pcp" / wanted.pipeline / strategy
    files = sorted(folder.glob(f"*_rois_{wanted.atlas}.1D"))
    if not files:
        raise InputError(f"{folder}: no *_rois_{wanted.atlas}.1D", "look at --atlas and --pipeline")
    return folder, len(files)
