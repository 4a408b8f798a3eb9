"""Who is predicted, what, and in which folds: subjects, labels of a column, confounds, outer and inner splits.

Everything is one row per subject. Folds are of subjects (or of groups of them), and the same for every column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Places = NDArray[np.intp]
FEW_SITES = 3  # of fewer sites none is left out: too little would be left to learn from
# Names of columns in lower case, letters and digits only; the first that is there is taken.
SITES = ("site", "siteid", "sitename", "acquisitionsite", "scansite", "center", "centre", "institution")
TRS = ("repetitiontimes", "repetitiontime", "trs", "tr")
SCANNERS = ("scanner", "scannerid", "scannertype", "scannermodel", "manufacturersmodelname", "manufacturer", "vendor")
FEW_VALUES = 5  # a column of numbers with no more different ones is classified by task `auto`
UNSEEN = ("test", "external")  # splits whose recordings the model was neither trained nor watched on


@dataclass(frozen=True)
class People:
    """Subjects with a recording that can be used.

    Attributes
    ----------
    names: sorted. recordings: ids of each. table: one row each, in order: the columns that can be predicted.
    conflicting: column -> subjects whose recordings say different things there (a number is then averaged).
    different: column -> how many different values recordings have there, before any average.
    seen: subjects whose (unlabelled) series the model was trained or watched on.
    """

    names: list[str]
    recordings: list[list[str]]
    table: pd.DataFrame
    conflicting: dict[str, set[str]]
    different: dict[str, int]
    seen: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)


def people_of(table: pd.DataFrame, ids: Sequence[str], subjects: Literal["all", "unseen"]) -> People:
    """Subjects of the recordings `ids` of recordings.parquet, whose rows may be in any order.

    Raises
    ------
    InputError: nobody; a recording that is of nobody.
    """
    import pandas as pd

    chosen = table[table["id"].isin(list(ids))].sort_values("id")
    nobody = chosen.loc[chosen["subject"].isna(), "id"].tolist()
    if nobody:
        raise InputError(
            f"recordings.parquet: recording {nobody[0]} has no subject ({len(nobody)} have none)", "name the subject"
        )
    if subjects == "unseen":  # nobody of whom the model saw another recording
        watched = table.loc[table["split"].isin(("train", "validation")), "subject"]
        chosen = chosen[chosen["split"].isin(UNSEEN) & ~chosen["subject"].isin(watched)]
    if chosen.empty:
        raise InputError(
            f"phenotype: no recording to use ({subjects} subjects)", "phenotype.subjects: all; longer recordings"
        )
    groups = chosen.groupby("subject", sort=True)
    numeric = {c: pd.api.types.is_numeric_dtype(chosen[c]) for c in chosen}
    rows: dict[str, Any] = {}
    conflicting = {}
    for column in chosen:
        grouped = chosen[column].groupby(chosen["subject"], sort=True)
        several = grouped.agg(lambda values: len(set(values.dropna()))) > 1
        conflicting[str(column)] = set(several.index[several])
        rows[str(column)] = grouped.mean() if numeric[column] else grouped.first()
    seen = groups["split"].agg(lambda s: bool((~s.isin(UNSEEN)).any())).to_numpy(dtype=bool)
    recordings = [list(group["id"]) for _, group in groups]
    different = {str(column): int(chosen[column].nunique()) for column in chosen}
    return People([str(n) for n in groups.groups], recordings, pd.DataFrame(rows), conflicting, different, seen)


@dataclass(frozen=True)
class Target:
    """The labels of a column.

    Attributes
    ----------
    rows: places in `People` of those with a label. labels: of these, numbers or places in `classes`.
    confounds: (row, k) of these, or None. groups: of these, the group that is left out together; or None.
    sites: of these, the group within which people are compared, labels are permuted, and which inner splits keep
        together where groups are left out; or None: there is no site.
    left_out: reason -> number of subjects.
    splits: of these, the split of the store, where people are split so; else None.
    """

    name: str
    task: Literal["regression", "classification"]
    transform: str
    rows: Places
    labels: Array
    classes: list[str]
    confounds: Array | None
    groups: NDArray[np.str_] | None
    left_out: dict[str, int]
    sites: NDArray[np.str_] | None = None
    splits: NDArray[np.str_] | None = None


def site_of(table: pd.DataFrame) -> str | None:
    """The column that says where a person was scanned, by its name; None where no column has at least `FEW_SITES`."""
    return _named(table, SITES, FEW_SITES)


def transfer_of(table: pd.DataFrame) -> str | None:
    """The column by whose values people are split into two parts: the TR, else the scanner; None where all agree."""
    return _named(table, TRS, 2) or _named(table, SCANNERS, 2)


def _named(table: pd.DataFrame, names: Sequence[str], fewest: int) -> str | None:
    plain = {re.sub(r"[^a-z0-9]", "", str(column).lower()): str(column) for column in table}
    for name in names:
        if name in plain and table[plain[name]].nunique() >= fewest:
            return plain[name]
    return None


def halves_of(values: pd.Series) -> NDArray[np.str_]:
    """The most frequent value of a column, and `other`: two parts, so that each is predicted from the other alone."""
    text = np.where(values.isna(), "", _text(values.round(3) if values.dtype.kind == "f" else values))
    names, counts = np.unique(text[text != ""], return_counts=True)
    most = str(names[counts.argmax()])
    return np.array(["" if t == "" else most if t == most else "other" for t in text], dtype=str)


def default_columns(table: pd.DataFrame) -> list[str]:
    """Age and sex, however the columns are called: `age`, `sex`, `gender`, `sex_1m_2f`."""
    named = [str(c) for c in table if re.match(r"(?i)^(age|sex|gender)($|_)", str(c))]
    return [c for c in named if len(set(table[c].dropna())) > 1]


def target_of(
    people: People,
    column: str,
    task: str,
    transform: str,
    confounds: Sequence[str],
    leave_out: str | None,
    least: int,
    transfer: bool = False,
) -> Target:
    """Labels of a column.

    Parameters
    ----------
    transform: `auto`: log of a column that is called age and has no value of 0 or less; z of any other.
    least: fewest subjects of a class; smaller classes are left out.
    transfer: `leave_out` splits people into two parts (`halves_of`), each of which is predicted from the other.

    Raises
    ------
    InputError: no such column, text for a regression, one value only, infinite ones, numbers that the transform does
        not take, less than two classes, or too few subjects.
    """
    import pandas as pd

    table = people.table
    for name in (column, *confounds, *([leave_out] if leave_out else [])):
        if name not in table:
            named = ", ".join(str(c) for c in table.columns)
            raise InputError(f"phenotype: no column {name} in recordings.parquet", f"one of {named}")
    if column in confounds or column == leave_out:
        raise InputError(f"phenotype: {column} is to be predicted and to be removed", "take it out of one of the two")
    labels = table[column]
    numeric = pd.api.types.is_numeric_dtype(labels) and not pd.api.types.is_bool_dtype(labels)
    if task == "auto" and not numeric:
        _check_words(column, labels)
    if task == "auto":
        task = "regression" if numeric and people.different[column] > FEW_VALUES else "classification"
    if task == "regression" and not numeric:
        raise InputError(f"phenotype: column {column} is text", "task: classification, or another column")
    for name in (column, *confounds):
        if pd.api.types.is_numeric_dtype(table[name]):
            infinite = int(np.isinf(table[name].to_numpy(dtype=np.float64, na_value=np.nan)).sum())
            if infinite:
                raise InputError(
                    f"phenotype: column {name} of recordings.parquet: {infinite} subjects have an infinite value",
                    "leave empty what is not known",
                )
    left_out = {}
    known: NDArray[np.bool_] = labels.notna().to_numpy(dtype=bool)
    left_out["no label"] = int((~known).sum())
    if task == "classification":
        clear = np.array([name not in people.conflicting[column] for name in table.index])
        left_out["recordings with different labels"] = int((known & ~clear).sum())
        known = known & clear
    for name in (*confounds, *([leave_out] if leave_out else [])):
        there = table[name].notna().to_numpy(dtype=bool)
        left_out[f"no {name}"] = int((known & ~there).sum())
        known = known & there
        if name == leave_out or not pd.api.types.is_numeric_dtype(table[name]):  # numbers are averaged
            clear = np.array([subject not in people.conflicting[name] for subject in table.index])
            left_out[f"recordings with different {name}"] = int((known & ~clear).sum())
            known = known & clear
    classes: list[str] = []
    if task == "classification":
        text = _text(labels)
        counts = {name: int((text[known] == name).sum()) for name in sorted(set(text[known]))}
        classes = [name for name, count in counts.items() if count >= least]
        enough = np.isin(text, classes)
        left_out[f"of a class of less than {least}"] = int((known & ~enough).sum())
        known = known & enough
        if len(classes) < 2:
            raise InputError(
                f"phenotype: column {column} has {len(classes)} classes of at least {least} subjects",
                "task: regression, fewer folds, or another column",
            )
        values = np.array([classes.index(t) if t in classes else -1 for t in text], dtype=np.float64)
    else:
        values = labels.to_numpy(dtype=np.float64, na_value=np.nan)
    rows = np.flatnonzero(known)
    if transform == "auto":
        is_age = re.match(r"(?i)^age($|_)", column) is not None
        transform = "log" if is_age and len(rows) and values[rows].min() > 0 else "z"
    if len(rows) < 2 * least:
        raise InputError(
            f"phenotype: column {column}: {len(rows)} subjects with a label, at least {2 * least} are needed",
            "more subjects, fewer folds, or another column",
        )
    if task == "regression":
        _check_numbers(column, values[rows], transform)
    return Target(
        column,
        task,  # type: ignore[arg-type]  # "auto" was decided above
        transform if task == "regression" else "none",
        rows,
        values[rows],
        classes,
        _confounds(table.iloc[rows], confounds),
        groups_of(table, leave_out, transfer)[rows] if leave_out else None,
        {reason: count for reason, count in left_out.items() if count},
        _sites(people, column, leave_out, transfer, rows),
    )


def _check_numbers(column: str, labels: Array, transform: str) -> None:
    """Raises InputError for one value only, and for numbers of which the transform takes no logarithm."""
    least = labels.min()
    if not np.ptp(labels) > 0:
        raise InputError(f"phenotype: column {column}: all subjects have the value {least:g}", "another column")
    if (transform == "log" and least <= 0) or (transform == "logminmax" and least < 0):
        raise InputError(
            f"phenotype: column {column}: transform {transform}, and a label is {least:g}",
            "transform: z, or only labels above 0 (logminmax: of 0 and more)",
        )


def with_splits(target: Target, people: People) -> Target:
    """The same labels, to be learnt in the store's training people, chosen by its validation people, tested on others.

    People of no split, or whose recordings are of different ones, are left out.

    Raises
    ------
    InputError: one of these parts is without people, or one of the first two without a class.
    """
    everybody = np.array(people.table["split"].astype(str).tolist(), dtype=str)
    clear = np.array([name not in people.conflicting["split"] for name in people.table.index])
    of_one = np.isin(everybody, ("train", "validation", *UNSEEN))
    lost = {
        "of no split of the store": int((~of_one & clear)[target.rows].sum()),
        "recordings with different split": int((~clear)[target.rows].sum()),
    }
    target = _of_rows(target, (clear & of_one)[target.rows])
    target = replace(target, left_out=target.left_out | {reason: count for reason, count in lost.items() if count})
    split = everybody[target.rows]
    for names in (("train",), ("validation",), UNSEEN):
        own = target.labels[np.isin(split, names)]
        absent = [] if names == UNSEEN else [name for k, name in enumerate(target.classes) if k not in own]
        if not len(own) or absent:
            raise InputError(
                f"phenotype: column {target.name}: split {' or '.join(names)} of the store is without "
                f"{' or '.join(absent) if len(own) else 'people'}",
                "phenotype.leave_out: auto, or a store with such people (collate.validation, collate.test)",
            )
    return replace(target, splits=split)


def _of_rows(target: Target, kept: NDArray[np.bool_]) -> Target:
    """The same of some of its rows."""
    parts: dict[str, Any] = {}
    for name in ("rows", "labels", "confounds", "groups", "sites"):
        values = getattr(target, name)
        parts[name] = None if values is None else values[kept]
    return replace(target, **parts)


def groups_of(table: pd.DataFrame, column: str, transfer: bool) -> NDArray[np.str_]:
    """The group of each subject, by the values of a column; or its two parts."""
    return halves_of(table[column]) if transfer else _text(table[column])


def _sites(people: People, target: str, leave_out: str | None, transfer: bool, rows: Places) -> NDArray[np.str_] | None:
    """What is left out is what people are compared within; else the site, where there are two or more.

    Two sites are too few to leave one out, and enough for a prediction that knows nothing but the site. Who has no
    site, or recordings of several, is compared with others of whom that is true.
    """
    table = people.table
    column = leave_out if leave_out and not transfer else site_of(table) or _named(table, SITES, 2)
    if column is None or column == target:
        return None
    known = table[column].notna() & ~table.index.isin(list(people.conflicting[column]))
    return _text(table[column].astype(object).where(known, ""))[rows]


def _check_words(column: str, labels: pd.Series) -> None:
    """Raises InputError for text that is numbers written with something else: it would be a class for each of them."""
    like = sorted(text for text in set(labels.dropna().astype(str)) if re.match(r"[<>≤≥=+−-]*\s*\d", text))
    if len(like) > FEW_VALUES:
        raise InputError(
            f"phenotype: column {column} is text that looks like numbers: {', '.join(like[:FEW_VALUES])}, ...",
            "write plain numbers in the participants' table, or name the column with task: classification",
        )


def _text(values: pd.Series) -> NDArray[np.str_]:
    """Values as names of classes or groups: 2 and 2.0 are `2`."""
    return np.array([f"{v:.15g}" if isinstance(v, (int, float, np.number)) else str(v) for v in values], dtype=str)


def _confounds(table: pd.DataFrame, names: Sequence[str]) -> Array | None:
    """(row, k): numbers as they are, text as indicators of all but the first category."""
    import pandas as pd

    if not names:
        return None
    parts = [
        table[[name]].astype(float) if pd.api.types.is_numeric_dtype(table[name])
        else pd.get_dummies(table[name], drop_first=True).astype(float)
        for name in names
    ]  # fmt: skip
    return np.concatenate([part.to_numpy(dtype=np.float64) for part in parts], axis=1)


@dataclass(frozen=True)
class Fold:
    """An outer fold: places in a target's rows. `inner` are the validation parts within `train`."""

    name: str
    train: Places
    test: Places
    inner: tuple[Places, ...]

    def within(self, number: int) -> tuple[Places, Places]:
        """Training and validation part of an inner split."""
        validation = self.inner[number]
        return np.setdiff1d(self.train, validation), validation


def folds_of(target: Target, people: People, folds: int, inner: int, seed: int) -> list[Fold]:
    """Outer folds with their inner ones.

    Outer folds are drawn once over all subjects, whatever the column; or they are the groups of `target.groups`, and
    inner splits then keep groups together, too, where there are enough of them. Inner splits hold each class evenly.
    With `target.splits` there is one fold, which tests all unseen people, and whose one inner split is the store's.

    Raises
    ------
    InputError: one group only; a training fold without two people of a class, or with one value of a number only.
    """
    if target.splits is not None:
        unseen, validation = np.isin(target.splits, UNSEEN), np.flatnonzero(target.splits == "validation")
        fold = Fold("unseen", np.flatnonzero(~unseen), np.flatnonzero(unseen), (validation,))
        _check_training(target, fold.within(0)[0], "in split train of the store")
        return [fold]
    if target.groups is not None:
        names = np.unique(target.groups)
        if len(names) < 2:
            raise InputError(f"phenotype: all subjects are of group {names[0]}", "phenotype.leave_out: null")
        parts = {str(name): np.flatnonzero(target.groups == name) for name in names}
    else:
        order = np.random.default_rng(seed).permutation(len(people))
        number = np.empty(len(people), dtype=int)
        number[order] = np.arange(len(people)) % folds
        parts = {str(k + 1): np.flatnonzero(number[target.rows] == k) for k in range(folds)}
    outer = []
    for name, test in parts.items():
        train = np.setdiff1d(np.arange(len(target.rows)), test)
        _check_training(target, train, f"without fold {name}")
        if len(test):
            outer.append(Fold(name, train, test, _inner(target, train, inner, seed)))
    return outer


def _check_training(target: Target, train: Places, where: str) -> None:
    """Raises InputError where there is nothing to be learnt; two people of a class, so that inner splits have one."""
    labels = target.labels[train]
    for number, label in enumerate(target.classes):
        count = int((labels == number).sum())
        if count < 2:
            raise InputError(
                f"phenotype: column {target.name}: {where} class {label} has {count} people, at least 2 are needed",
                "another phenotype.leave_out",
            )
    if not target.classes and not np.ptp(labels) > 0:
        raise InputError(
            f"phenotype: column {target.name}: {where} all people have the value {labels[0]:g}",
            "another phenotype.leave_out",
        )


def _inner(target: Target, train: Places, count: int, seed: int) -> tuple[Places, ...]:
    groups = target.sites if target.sites is not None else target.groups
    number = None
    if target.groups is not None and groups is not None and len(np.unique(groups[train])) >= count:
        number = _groups_together(groups[train], count)
        # where a class is at a few sites alone, it must not be missing among those who are learnt from
        for k in range(count):
            if target.classes and len(np.unique(target.labels[train][number != k])) < len(target.classes):
                number = None
                break
    if number is None:
        order = np.random.default_rng([seed, len(train)]).permutation(len(train))
        if target.classes:
            order = order[np.argsort(target.labels[train][order], kind="stable")]
        number = np.empty(len(train), dtype=int)
        number[order] = np.arange(len(train)) % count
    return tuple(train[number == k] for k in range(count))


def _groups_together(groups: NDArray[np.str_], count: int) -> NDArray[np.intp]:
    """Part (0 to `count` - 1) of each person, that of their group: the largest first, each where there is least."""
    names, sizes = np.unique(groups, return_counts=True)
    loads, place = np.zeros(count), {}
    for i in np.argsort(-sizes, kind="stable"):
        place[names[i]] = int(loads.argmin())
        loads[loads.argmin()] += sizes[i]
    return np.array([place[group] for group in groups], dtype=np.intp)
