"""Sentences about decoded pictures: what was found, what to doubt, and what others published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Patterns

Table = Mapping[str, Mapping[str, Mapping[str, Any]]]
WITH_AND_WITHOUT = ("decoded", "no_pretraining")
CHANCE = 0.5  # of the two-way identification
FEW = 50  # test stimuli
# Chen et al., MinD-Vis, CVPR 2023
GOD, BOLD5000 = "MinD-Vis on GOD, subject 3", "MinD-Vis on BOLD5000, CSI1"
OTHER_JUDGE = "a classifier of 1,000 kinds of photographs judges there, among 50 classes; here one of ten digits"
OTHER_PICTURES = "other people saw other pictures there; the judge is the same if it is ViT-H/14, among 50 classes"
PUBLISHED = [
    {
        "what": f"{GOD}: 50-way, top 1", "value": "23.9 % ± 3.0", "ours": "n_way_top1",
        "comparable": "",
    },
    {
        "what": f"{GOD}, without SC-MBM: 50-way, top 1", "value": "2.6 %", "ours": "n_way_top1 of no_pretraining",
        "comparable": "",
    },
    {"what": f"{BOLD5000}: 50-way, top 1", "value": "34 %", "ours": "n_way_top1", "comparable": ""},
    {
        "what": f"{GOD}: FID at 64 features", "value": "1.67", "ours": "fid_64, where `decode.inception` is given",
        "comparable": "no: of the best of five samples, and at 64 features instead of the 2,048 of others",
    },
    {
        "what": f"{GOD}: embedding 32/64/128/256/512/768/1024/1280", "value": "5.4/6.9/14.8/15.9/17.9/17.7/23.9/15.5 %",
        "ours": "one width for each run (`scmbm.width`)", "comparable": "",
    },
    {
        "what": f"{GOD}: mask .35/.45/.55/.65/.75/.85", "value": "19.6/20.0/18.1/21.7/23.9/16.1 %",
        "ours": "one mask for each run (`scmbm.mask_ratio`)", "comparable": "",
    },
]  # fmt: skip


def published(digits: bool) -> list[dict[str, str]]:
    """What others published, and why it is not comparable. digits: the judge here is the one of digits."""
    why = "no: " + (OTHER_JUDGE if digits else OTHER_PICTURES)
    return [{**row, "comparable": row["comparable"] or why} for row in PUBLISHED]


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
        for difference, other in (("less_ridge", "the pixels"), ("less_ridge_latents", "the latents")):
            who = f"In {name}, the diffusion model"
            lines.append(compared(who, f"ridge regression to {other}", decoded[measure][difference]))
    without = table["no_pretraining"]["two_way"]["value"]
    if "from_noise" in table:
        lines.append(
            "Its samples start from what ridge regression says of the latents. The same network from noise alone, as "
            f"published: {interval(table['from_noise']['two_way'])}; with ridge's start and the mean pattern in place "
            f"of each: {interval(table['no_pattern']['two_way'])}."
        )
    lines.append(f"Without SC-MBM two-way identification is {without:.3f}, with it {decoded['two_way']['value']:.3f}.")
    return lines


def compared(who: str, other: str, difference: Mapping[str, Any]) -> str:
    """Which of two is better, by the interval of their paired difference."""
    low, high = difference["low"], difference["high"]
    said = f"difference {difference['value']:+.3f}"
    if low is None or low != low:
        return f"{who} is not distinguishable from {other} ({said})."
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    return f"{who} is {verdict} {other} ({said}, {low:+.3f} to {high:+.3f})."


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
