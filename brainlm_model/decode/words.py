"""Sentences about decoded pictures: what was found, what to doubt, and what others published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Patterns
from brainlm_model.decode.classifier import DIGITS

Table = Mapping[str, Mapping[str, Mapping[str, Any]]]
CHANCE = 0.5  # of the two-way identification
FEW = 50  # test stimuli
COLOUR = 4  # dimensions of coloured pictures
# Chen et al., MinD-Vis, CVPR 2023
GOD, BOLD5000 = "MinD-Vis on GOD, subject 3", "MinD-Vis on BOLD5000, CSI1"
OTHER_JUDGE = "a classifier of 1,000 kinds of photographs judges there, among 50 classes; here one of ten digits"
OTHER_PICTURES = "other people saw other pictures there; the judge is the same if it is ViT-H/14, among 50 classes"
OTHER_FID = "there of the best of five samples and of other pictures; 64 features are not the 2,048 of others"
ELSEWHERE = "`python -m benchmarks.decoder_ablations`; of the demo: docs/measurements.md"
# kind of measure, what was measured, its value, and our method that stands beside it
PUBLISHED = (
    ("n-way", f"{GOD}: 50-way, top 1", "23.9 % ± 3.0", "decoded"),
    ("n-way", f"{GOD}, without SC-MBM: 50-way, top 1", "2.6 %", "no_pretraining"),
    ("n-way", f"{BOLD5000}: 50-way, top 1", "34 %", "decoded"),
    ("FID", f"{GOD}: FID at 64 features", "1.67", "decoded"),
    ("n-way", f"{GOD}: embedding 32/64/128/256/512/768/1024/1280", "5.4/6.9/14.8/15.9/17.9/17.7/23.9/15.5 %", ""),
    ("n-way", f"{GOD}: mask .35/.45/.55/.65/.75/.85", "19.6/20.0/18.1/21.7/23.9/16.1 %", ""),
)


def published(digits: bool, table: Table, fid_64: Mapping[str, float], n: int) -> list[dict[str, str]]:
    """What others published, ours beside it, and why it is not comparable. digits: the judge here is that of digits."""
    why = {"n-way": OTHER_JUDGE if digits else OTHER_PICTURES, "FID": OTHER_FID}
    rows = []
    for kind, what, value, method in PUBLISHED:
        if not method:
            ours = ELSEWHERE
        elif kind == "FID":
            ours = f"{fid_64[method]:.2f}" if method in fid_64 else "not measured: `decode.inception` gives no weights"
        else:
            ours = f"{interval(table[method]['n_way_top1'])}, {n}-way"
        rows.append({"kind": kind, "what": what, "value": value, "ours": ours, "comparable": f"no: {why[kind]}"})
    return rows


def interval(row: Mapping[str, Any]) -> str:
    """`0.91 (0.88-0.94)`, or the value alone."""
    low, high = row["low"], row["high"]
    if low is None or low != low:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({low:.3f} to {high:.3f})"


def headline(table: Table) -> list[str]:
    """What was found, in sentences."""
    decoded, shuffled = table["decoded"], table["shuffled"]
    lines = [
        f"Two-way identification of decoded pictures: {interval(decoded['two_way'])}; chance is 0.5, and learnt from "
        f"shuffled pairs it is {interval(shuffled['two_way'])}."
    ]
    for measure, name in (("two_way", "two-way identification"), ("pixel_r", "pixel r")):
        row = decoded[measure]
        pixels = compared(f"In {name}, the diffusion model", "ridge regression to the pixels", row["less_ridge"])
        latents = compared("", "ridge to the latents", row["less_ridge_latents"])
        lines.append(f"{pixels} and {latents}.")
    mean = compared("", "the mean training picture", decoded["pixel_r"]["less_mean"])
    lines.append(f"Its pixel r, {interval(decoded['pixel_r'])}, {mean}.")
    if "from_noise" in table:
        lines.append(
            "Its samples start from what ridge regression says of the latents. The same network from noise alone, as "
            f"published: {interval(table['from_noise']['two_way'])}; with ridge's start and the mean pattern in place "
            f"of each: {interval(table['no_pattern']['two_way'])}."
        )
    alone = table.get("from_noise", decoded)["two_way"]
    from_noise = " from noise alone" if "from_noise" in table else ""
    lines.append(
        compared(f"In two-way identification{from_noise}, it with SC-MBM", "without", alone["less_no_pretraining"])
        + "."
    )
    return lines


def compared(who: str, other: str, difference: Mapping[str, Any]) -> str:
    """`who is better than other (difference +0.1, 0.0 to 0.2)`, by the interval of their paired difference."""
    low, high = difference["low"], difference["high"]
    said = f"difference {difference['value']:+.3f}"
    if low is None or low != low:
        return f"{who} is not distinguishable from {other} ({said})".strip()
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    return f"{who} is {verdict} {other} ({said}, {low:+.3f} to {high:+.3f})".strip()


def warnings(patterns: Patterns, decoded: NDArray[np.float64], table: Table, facts: Mapping[str, Any]) -> list[str]:
    """What to know before one believes the numbers."""
    train, test = patterns.of("train"), patterns.of("test")
    lines = []
    if facts["TestStimuli"] < FEW:
        lines.append(f"{facts['TestStimuli']} test stimuli: intervals are wide, and another choice of them may differ.")
    known = set(test.category.tolist()) - {""}
    both = known & set(train.category.tolist())
    if both:
        lines.append(
            f"{len(both)} of {len(known)} test categories are training categories, too: a decoder may have learnt to "
            "tell the category and to paint a usual picture of it."
        )
    if twins := same_pictures(train, test):
        lines.append(
            f"{twins} test stimuli have the same picture as a training stimulus of another name: give both one name."
        )
    ours, seen = dimensions(decoded), dimensions(test.seen() / 255)
    lines.append(
        f"Decoded pictures vary along {ours:.1f} dimensions, seen ones along {seen:.1f} (participation ratio): "
        + ("they collapse to few (Shirakawa et al., 2024)." if ours < seen / 2 else "no collapse to few.")
    )
    chance = table["shuffled"]["two_way"]
    if chance["low"] == chance["low"] and not chance["low"] <= CHANCE <= chance["high"]:
        lines.append(
            f"Learnt from shuffled pairs, identification is {interval(chance)}, not at chance: look for a leak."
        )
    if facts.get("Judge") == DIGITS.name and test.pictures.ndim == COLOUR:
        lines.append("A classifier of digits is no judge of photographs: n-way says little without `decode.judge`.")
    if facts["Repeats"][1] > 1:
        lo, hi = facts["Repeats"]
        lines.append(
            f"Test patterns are means of {lo if lo == hi else f'{lo} to {hi}'} trials, training patterns are not."
        )
    if facts["Transductive"]:
        lines.append("SC-MBM has seen test patterns (without pictures): transductive, as published.")
    return lines


def same_pictures(train: Patterns, test: Patterns) -> int:
    """How many test stimuli have a picture that is, pixel by pixel, one of a training stimulus."""
    learnt = {picture.tobytes() for picture in train.seen()}
    known = [picture.tobytes() in learnt for picture in test.seen()]
    return len(set(test.stimulus[known].tolist()))


def dimensions(pictures_N: NDArray[np.float64]) -> float:
    """Along how many directions pictures vary: (sum of variances)^2 / sum of their squares; 0 where none varies."""
    flat = pictures_N.reshape(len(pictures_N), -1)
    variances = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    total = float((variances**2).sum())
    return float(variances.sum()) ** 2 / total if total > 0 else 0.0
