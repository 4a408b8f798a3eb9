"""Images as scanners and other programs wrote them, laid out as BIDS: `python -m tests.core.scanner_files FOLDER DEST`.

FOLDER holds `headers/*.nii.gz` with dcm2niix's JSON (dcm_qa*, OSF), `echoes/echo?.nii.gz`, `odd/` (images of the tests
of other packages) and `sdc/`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

ODD = {  # subject -> file of odd/
    "example": "nibabel_example4d.nii.gz", "functional": "nibabel_functional.nii", "nitime": "nitime_fmri1.nii.gz",
    "cord": "spinal_cord_fmri.nii.gz", "spm": "bdpy_epi0001.img",
}  # fmt: skip
ECHO_TIMES = (0.013, 0.030, 0.047)
SDC = {  # name below sub-sdc/ -> file of sdc/
    "fmap/sub-sdc_dir-AP_epi.nii.gz": "epi.nii.gz", "fmap/sub-sdc_fieldmap.nii.gz": "topup-field.nii.gz",
    "func/sub-sdc_task-rest_bold.nii.gz": "topup-coeff.nii.gz",
}  # fmt: skip


def label_of(name: str) -> str:
    """A subject's label from the name of a file."""
    return re.sub(r"[^A-Za-z0-9]", "", name.removeprefix("dcm_qa_").removesuffix(".nii.gz"))


def lay_out(folder: Path, dest: Path) -> dict[str, Path]:
    """Write the dataset; where each subject's image came from, by label."""
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "dataset_description.json").write_text('{"Name": "scanner files", "BIDSVersion": "1.10.0"}')
    sources: dict[str, Path] = {}
    for image in sorted((folder / "headers").glob("*.nii.gz")):
        label = label_of(image.name)
        stem = _place(dest, label)
        shutil.copy(image, f"{stem}_bold.nii.gz")
        shutil.copy(image.with_name(image.name.replace(".nii.gz", ".json")), f"{stem}_bold.json")
        sources[label] = image
    for label, name in ODD.items():
        sources[label] = image = folder / "odd" / name
        stem = _place(dest, label)
        shutil.copy(image, f"{stem}_bold{''.join(image.suffixes)}")
        if image.suffix == ".img":
            shutil.copy(image.with_suffix(".hdr"), f"{stem}_bold.hdr")
    stem = _place(dest, "echoes")
    for number, seconds in enumerate(ECHO_TIMES, 1):
        shutil.copy(folder / "echoes" / f"echo{number}.nii.gz", f"{stem}_echo-{number}_bold.nii.gz")
        Path(f"{stem}_echo-{number}_bold.json").write_text(json.dumps({"RepetitionTime": 2.0, "EchoTime": seconds}))
    for place, name in SDC.items():
        target = dest / "sub-sdc" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "sdc" / name, target)
    return sources


def _place(dest: Path, label: str) -> Path:
    stem = dest / f"sub-{label}/func/sub-{label}_task-rest"
    stem.parent.mkdir(parents=True, exist_ok=True)
    return stem


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]), Path(sys.argv[2]))
