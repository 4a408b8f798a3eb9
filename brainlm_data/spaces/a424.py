"""The atlas of the published BrainLM: AAL-424 (A424), its file and its space."""

from __future__ import annotations

from brainlm_data.files.fetch import Remote

A424 = Remote(
    "A424+2mm.nii.gz",
    "https://raw.githubusercontent.com/vandijklab/BrainLM/f65e5acdfeb4ab06bad4f10663250eedfcbe20be/"
    "toolkit/atlases/A424%2B2mm.nii.gz",
    "8478d7516a2bbf295989835d5033d03e4283143a2955c90428f634951702501b",
    "Apache-2.0, vandijklab/BrainLM",
)
A424_SPACE = "MNI152NLin6Asym"
