"""Which parcels data have, and in which order, by their names: what a number of columns does not say.

Names are a parcel's own (`LH_Vis_1`), or they count: one prefix for all and a number each (`A424_001`, `ROI7`, `7`).
Names that count say an order and little else: a cohort that was imported without names has 1, 2, 3, ... whatever its
parcels are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from brainlm_data.errors import InputError

COUNTED = re.compile(r"(.*?)(\d+)", re.DOTALL)
REMEDY = "give the same parcels in that order; an import takes it from its columns' names, or from --atlas-labels"


def names_of(attributes: Mapping[str, Any]) -> list[str]:
    """The parcels' names in the order of the columns, from the table `parcels` of a store's attributes."""
    return [str(name) for name in attributes["parcels"]["name"]] if "parcels" in attributes else []


def check_parcels(found: Sequence[str], wanted: Sequence[str], source: str, whose: str = "the card") -> None:
    """Compare the parcels of data (`found`) with those of a card, or of other data (`whose`), place by place.

    Where one of the two has no names, or names that count beside names of their own, nothing can be compared.

    Raises
    ------
    InputError: other parcels, or the same ones in another order.
    """
    if len(found) != len(wanted) or list(found) == list(wanted) or not _differ(found, wanted):
        return
    place = next(i for i, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)
    raise InputError(f"{source}: parcel {place + 1} is {found[place]}, {whose} says {wanted[place]}", REMEDY)


def order_of(found: Sequence[str], wanted: Sequence[str], source: str) -> list[int] | None:
    """Which columns of a series, by their names (`found`), are a card's parcels (`wanted`), in its order.

    None: they are taken as they are.

    Raises
    ------
    InputError: as `check_parcels`, where not all of the card's names are there.
    """
    if list(found) != list(wanted) and sorted(found) == sorted(wanted) and len(set(found)) == len(found):
        return [list(found).index(name) for name in wanted]
    check_parcels(found, wanted, source)
    return None


def _differ(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether names that are not the same ones say other parcels, or another order."""
    ours, theirs = _numbers(found), _numbers(wanted)
    if ours is None or theirs is None:
        return ours is theirs  # both have names of their own
    if ours == theirs:
        return False
    if _is_count(ours) or _is_count(theirs):  # of which parcels it is the first, the second ... is not known
        return not (_ascending(ours) and _ascending(theirs))
    return True


def _numbers(names: Sequence[str]) -> list[int] | None:
    """The numbers of names that count; None where parcels have names of their own."""
    matches = [COUNTED.fullmatch(name) for name in names]
    found = [match for match in matches if match is not None]
    if len(found) < len(names) or len({match[1] for match in found}) > 1:
        return None
    return [int(match[2]) for match in found]


def _is_count(numbers: Sequence[int]) -> bool:
    """0, 1, 2, ... or 1, 2, 3, ..."""
    return list(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _ascending(numbers: Sequence[int]) -> bool:
    return all(one < other for one, other in pairwise(numbers))
