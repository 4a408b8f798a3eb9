"""What stage `scaling` found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainlm_model.eval.masked.words import interval, listed, number

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
        cells = {
            (r["method"], r["mask_ratio"]): r
            for r in content["Results"]
            if r["split"] == split and r["metric"] == "r2_flat" and r["method"] != "trained" and r["share"] == 1
        }
        values = ", ".join(
            f"{number(cells['model', ratio]['value'])} ({number(cells['gaussian', ratio]['value'])})"
            for ratio in content["MaskRatios"]
        )
        rows = [r for r in content["Comparisons"] if (r["split"], r["method"]) == (split, "model")]
        against = {r["mask_ratio"]: r["verdict"] for r in rows if r["against"] == "gaussian"}
        better = [ratio for ratio, verdict in against.items() if verdict == "better"]
        won = "at every ratio" if len(better) == len(against) else f"at {listed(better)}" if better else "nowhere"
        sentences.append(
            f"Masked R² of {content['Subjects'][split]} {split} subjects with {listed(content['MaskRatios'])} hidden: "
            f"{values}; in brackets the conditional Gaussian, which the checkpoint beats {won}."
        )
    for kind, (subject, helps, harms) in QUESTIONS.items():
        rows = [r for r in content["Comparisons"] if (r["kind"], r["split"]) == (kind, content["Splits"][0])]
        if rows:
            counts = [sum(r["verdict"] == verdict for r in rows) for verdict in ("better", "worse")]
            least, most = (f"{end([r['difference'] for r in rows]):+.3f}" for end in (min, max))
            sentences.append(
                f"{subject}: {helps} in {counts[0]} of {len(rows)} comparisons, {harms} in {counts[1]} "
                f"(differences of R² {least} to {most})."
            )
    return sentences


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Flat R2 in the first split, a column a tested ratio."""
    rows: dict[str, dict[float, str]] = {}
    for r in content["Results"]:
        if r["split"] == content["Splits"][0] and r["metric"] == "r2_flat":
            people = f"{r['label']} ({r['training_subjects']} people, seed {r['seed'] or 0})"
            rows.setdefault(people, {})[r["mask_ratio"]] = interval(r)
    ratios = content["MaskRatios"]
    return ["method", *(f"{ratio:g} hidden" for ratio in ratios)], [[n, *map(c.get, ratios)] for n, c in rows.items()]  # type: ignore[list-item]


def said(row: Mapping[str, Any]) -> str:
    """What a published value is of."""
    return (
        f"{row['cohort']}: masked R² at {row['mask_ratio']:g}, trained at {row['training_ratio']:g} on "
        f"{100 * row['share']:g} % of the data"
    )


def ours(row: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The training with the same ratio on the share next to it; the split that is most like the published cohort."""
    split = "external" if "not trained on" in row["cohort"] else "test"
    rows = [
        r
        for r in content["Results"]
        if (r["split"], r["method"], r["metric"], r["mask_ratio"]) == (split, "trained", "r2_flat", row["mask_ratio"])
        and r["training_ratio"] == f"{row['training_ratio']:g}"
    ]
    shares = sorted({r["share"] for r in rows})
    if not rows or (row["share"] < 1 and len(shares) < 2):
        return None
    share = shares[-1] if row["share"] == 1 else shares[0]
    chosen = next(r for r in rows if r["share"] == share)
    return f"{chosen['label']} ({chosen['training_subjects']} people)", chosen
