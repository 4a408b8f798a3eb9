"""The stages `scmbm`, `diffusion` and `decode`."""
