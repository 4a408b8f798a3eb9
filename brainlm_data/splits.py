"""Splits by subject, and there is no way to ask for anything else.

Subjects are ordered by a digest of (seed, subject); the first ones are the test set, the next validation, the rest
training. Adding a subject moves at most one subject across each border.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")


def split_subjects(subjects: Iterable[str], validation: float, test: float, seed: int) -> dict[str, str]:
    """Subject -> "train", "validation" or "test".

    Parameters
    ----------
    subjects: labels; repetitions do not count.
    validation, test: shares of the subjects. A share above 0 gets at least one subject where there are three or more.
    seed: another seed is another split.
    """
    ordered = sorted(set(subjects), key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).hexdigest())
    enough = len(ordered) >= 3
    counts = {}
    for name, share in (("test", test), ("validation", validation)):
        counts[name] = max(round(share * len(ordered)), 1 if share > 0 and enough else 0)
    first = counts["test"]
    second = first + counts["validation"]
    return {
        subject: "test" if place < first else "validation" if place < second else "train"
        for place, subject in enumerate(ordered)
    }
