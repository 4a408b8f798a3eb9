"""Masked R2 as published: the one table from which pages and tables take it."""

from __future__ import annotations

TRAINED_ON = "UK Biobank"
# Ortega Caro et al., preprint v1: (cohort, mask ratio in training, share of the data) -> mask ratio at test -> R2
MASKED_R2: dict[tuple[str, float, float], dict[float, float]] = {
    (TRAINED_ON, 0.75, 0.01): {0.2: 0.361, 0.5: 0.349, 0.75: 0.309},
    (TRAINED_ON, 0.75, 1.0): {0.2: 0.402, 0.5: 0.389, 0.75: 0.343},
    (TRAINED_ON, 0.9, 0.01): {0.2: 0.158, 0.5: 0.182, 0.75: 0.186},
    (TRAINED_ON, 0.9, 1.0): {0.2: 0.221, 0.5: 0.245, 0.75: 0.234},
    ("HCP", 0.75, 0.01): {0.2: 0.300},
    ("HCP", 0.75, 1.0): {0.2: 0.316},
    ("HCP", 0.9, 0.01): {0.2: 0.126},
    ("HCP", 0.9, 1.0): {0.2: 0.176},
}
