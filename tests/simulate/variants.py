"""What goes wrong with fieldmaps in real datasets, done to a simulated one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np


def edited(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one out."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def wrong_direction(bids: Path) -> None:
    """Every run states the direction opposite to the true one."""
    for file in bids.glob("sub-*/**/*_bold.json"):
        edited(file, PhaseEncodingDirection="j")


def half_covered(bids: Path) -> None:
    """Every image of fmap/ shows the upper half of the head alone."""
    for file in bids.glob("sub-*/**/fmap/*.nii.gz"):
        image: Any = nib.load(file)
        data = np.asarray(image.dataobj).copy()
        data[:, :, : data.shape[2] // 2] = 0
        nib.save(nib.Nifti1Image(data, image.affine, image.header), file)


def in_another_session(bids: Path) -> None:
    """The runs are of session b, the fieldmaps of session a, which name them."""
    for subject in bids.glob("sub-*"):
        for folder in sorted(path.name for path in subject.iterdir()):
            session = "a" if folder == "fmap" else "b"
            for file in sorted((subject / folder).glob("*")):
                name = file.name.replace(f"{subject.name}_", f"{subject.name}_ses-{session}_")
                place = subject / f"ses-{session}" / folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, place)
                if folder == "fmap" and place.suffix == ".json":
                    targets = json.loads(place.read_text())["IntendedFor"]
                    named = [t.replace("/func/", "/ses-b/func/").replace("_task-", "_ses-b_task-") for t in targets]
                    edited(place, IntendedFor=named)
            (subject / folder).rmdir()
