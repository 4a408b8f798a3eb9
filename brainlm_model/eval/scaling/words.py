"""What stage `scaling` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval, listed, number
from brainlm_model.eval.rows import by, find, select

TITLE = "Masked reconstruction"
CAPTION = (
    "Masked R² by tested mask ratio (lines: trained for this comparison on the largest share; markers: the run's "
    "checkpoint and baselines), by number of training subjects, and of each parcel. R² below -0.1 is not drawn."
)
QUESTIONS = {
    "data": ("More data", "help", "make it worse"),
    "model": ("A larger model", "helps", "makes it worse"),
    "training ratio": ("The training ratio listed next", "helps", "makes it worse"),
}


def headline(content: Mapping[str, Any]) -> list[str]:
    """The checkpoint against the conditional Gaussian, then what data, size and training ratio did."""
    sentences = []
    for split in content["Splits"]:
        flat = select(content["Results"], split=split, metric="r2_flat", share=1)
        model = by("mask_ratio", select(flat, method="model"))
        gaussian = by("mask_ratio", select(flat, method="gaussian"))
        values = []
        for ratio in content["MaskRatios"]:
            values.append(f"{number(model[ratio]['value'])} ({number(gaussian[ratio]['value'])})")
        compared = select(content["Comparisons"], split=split, method="model", against="gaussian")
        better = [row["mask_ratio"] for row in select(compared, verdict="better")]
        if len(better) == len(compared):
            won = "at every ratio"
        elif better:
            won = f"at {listed(better)}"
        else:
            won = "nowhere"
        sentences.append(
            f"Masked R² of {content['Subjects'][split]} {split} subjects with {listed(content['MaskRatios'])} hidden: "
            f"{', '.join(values)}; in brackets the conditional Gaussian, which the checkpoint beats {won}."
        )
    for kind, (subject, helps, harms) in QUESTIONS.items():
        rows = select(content["Comparisons"], kind=kind, split=content["Splits"][0])
        if rows:
            better, worse = select(rows, verdict="better"), select(rows, verdict="worse")
            differences = [row["difference"] for row in rows]
            sentences.append(
                f"{subject}: {helps} in {len(better)} of {len(rows)} comparisons, {harms} in {len(worse)} "
                f"(differences of R² {min(differences):+.3f} to {max(differences):+.3f})."
            )
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Flat R2 in the first split, one column per tested ratio."""
    cells: dict[str, dict[float, str]] = {}
    for row in select(content["Results"], split=content["Splits"][0], metric="r2_flat"):
        method = f"{row['label']} ({row['training_subjects']} people, seed {row['seed'] or 0})"
        cells.setdefault(method, {})[row["mask_ratio"]] = interval(row)
    ratios = content["MaskRatios"]
    rows = []
    for method, by_ratio in cells.items():
        rows.append([method, *(by_ratio.get(ratio, "") for ratio in ratios)])
    return ["method", *(f"{ratio:g} hidden" for ratio in ratios)], rows


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return (
        f"{row['cohort']}: masked R² at {row['mask_ratio']:g}, trained at {row['training_ratio']:g} on "
        f"{100 * row['share']:g} % of the data"
    )


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The training with the same ratio on the share next to it; the split that is most like the published cohort."""
    split = "external" if "not trained on" in row["cohort"] else "test"
    rows = select(
        content["Results"],
        split=split,
        method="trained",
        metric="r2_flat",
        mask_ratio=row["mask_ratio"],
        training_ratio=f"{row['training_ratio']:g}",
    )
    shares = sorted({r["share"] for r in rows})
    if not rows or (row["share"] < 1 and len(shares) < 2):
        return None
    chosen = find(rows, share=shares[-1] if row["share"] == 1 else shares[0])
    assert chosen is not None
    return f"{chosen['label']} ({chosen['training_subjects']} people)", chosen
