"""What the paper states of future states (Ortega Caro et al., ICLR 2024), beside what is measured here."""

from __future__ import annotations

from typing import Any

# R2, r, MSE: UK Biobank, HCP
VALUES = {
    "finetuned": ((0.086, 0.280, 0.648), (0.028, 0.185, 0.568)),
    "untrained": ((0.012, 0.112, 0.695), (0.007, 0.090, 0.583)),
    "lstm": ((-0.001, 0.151, 0.704), (-0.020, 0.049, 0.598)),
    "neural_ode": ((-0.577, 0.001, 1.083), (-0.469, 0.0002, 0.857)),
    "latent_ode": ((0.001, 0.023, 0.703), (-0.003, -0.0002, 0.588)),
}
REASON = (
    "{cohort}, A424, probably at the scans' own TR, scaled and filtered otherwise; 20 of 200 steps by the text, 40 by "
    "the table; how values are averaged is not stated; here {ours}"
)


def published(ours: str) -> list[dict[str, Any]]:
    """One entry per method, cohort and metric; `ours`: what is different here, in words."""
    entries = []
    for method, both in VALUES.items():
        for cohort, numbers in zip(("UK Biobank", "HCP"), both, strict=True):
            for metric, value in zip(("r2_flat", "r_flat", "mse"), numbers, strict=True):
                entries.append(
                    {"source": "Ortega Caro et al., BrainLM, ICLR 2024", "cohort": cohort, "method": method,
                     "metric": metric, "value": value, "comparable": False,
                     "reason": REASON.format(cohort=cohort, ours=ours)}
                )  # fmt: skip
    return entries
