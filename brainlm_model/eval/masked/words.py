"""What beats what, in words, from `metrics/masked.json`: no reader should have to work it out from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from brainlm_model.eval.rows import select

NEGLIGIBLE = 0.005  # of R2: a smaller difference can be certain and still not matter
Content = Mapping[str, Any]


def number(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`0.50 [0.45, 0.55]`; without brackets where there is no interval; a dash where there is no value."""
    if value is None:
        return "–"
    places = 2 if abs(value) >= 0.0995 else 3

    def text(number: float) -> str:
        return f"{round(number, places) + 0.0:.{places}f}"  # + 0.0: no -0.00

    if low is None or high is None:
        return text(value)
    return f"{text(value)} [{text(low)}, {text(high)}]"


def interval(row: Mapping[str, Any]) -> str:
    """`number` of a row's value, low and high."""
    return number(row["value"], row["low"], row["high"])


def held_out(content: Content) -> str:
    """Whom the model was tested on."""
    return "subjects of groups that were left out" if content.get("Split") == "external" else "held-out subjects"


def headline(content: Content) -> list[str]:
    """The answer first: the linear baseline, then what training added. Random masking where there is any.

    Of few subjects nothing is claimed.
    """
    kind = content["Masking"][0]
    if "random" in content["Masking"]:
        kind = "random"
    rows = select(content["Comparisons"], masking=kind)
    if not rows[0]["firm"]:
        people = rows[0]["n_subjects"]
        only = f"{'there is' if people == 1 else 'there are'} only {counted(people, held_out(content))}"
        return [
            f"No result: {only}, too few for a statistical test, whatever the intervals say. Take the numbers as a"
            " check that everything runs."
        ]
    return [
        _against_gaussian(select(rows, against="gaussian"), kind),
        _against_untrained(select(rows, against="untrained"), content),
    ]


def counted(count: int, people: str) -> str:
    """`1 held-out subject`, `2 held-out subjects`."""
    return f"{count} {people.replace('subjects', 'subject', 1) if count == 1 else people}"


def _against_gaussian(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    linear = "the conditional Gaussian, the linear baseline,"
    if len(select(rows, verdict="worse")) == len(rows):
        return f"The linear baseline wins: {linear} is better than the model at every mask ratio ({kind} masking)."
    if len(select(rows, verdict="better")) == len(rows):
        return f"The model is better than {linear} at every mask ratio ({kind} masking)."
    if len(select(rows, verdict="not distinguishable")) == len(rows):
        return f"The model and {linear} are not distinguishable at any mask ratio ({kind} masking)."
    parts = []
    for verdict, words in (
        ("better", "the model is better"),
        ("worse", "the linear baseline wins"),
        ("not distinguishable", "they are not distinguishable"),
    ):
        ratios = [row["mask_ratio"] for row in select(rows, verdict=verdict)]
        if ratios:
            parts.append(f"{words} at {listed(ratios)}")
    return f"Against {linear} with {kind} masking: {'; '.join(parts)}."


def _against_untrained(rows: Sequence[Mapping[str, Any]], content: Content) -> str:
    change = "R² " + ", ".join(f"{row['difference']:+.3f} at {row['mask_ratio']:g}" for row in rows)
    start, rest = "random weights", ""
    if content["Prior"] != "zero":
        start = "its Gaussian prior, adapted to each window, to which no gradient step was made"
        rest = " What the model reaches is what the prior reaches."
    helped = [row["mask_ratio"] for row in select(rows, verdict="better")]
    if len(select(rows, verdict="worse")) == len(rows):
        return f"Training made it worse: {change} from where the network started ({start})."
    if not helped:
        return f"Training did not measurably help: {change} from where the network started ({start})."
    if all(abs(row["difference"]) < NEGLIGIBLE for row in rows):
        return f"Training added next to nothing: {change} from where the network started ({start}).{rest}"
    where = "at every mask ratio"
    if len(helped) < len(rows):
        where = f"at mask ratios {listed(helped)} only"
    return f"Training helped {where}: {change} from where the network started ({start})."


def verdicts(content: Content) -> list[str]:
    """One sentence per way of masking and mask ratio."""
    lines = []
    for kind, ratio in product(content["Masking"], content["MaskRatios"]):
        values = {}
        for row in select(content["Results"], metric="r2_flat", masking=kind, mask_ratio=ratio):
            values[row["method"]] = interval(row)
        rows = select(content["Comparisons"], masking=kind, mask_ratio=ratio)
        clauses = []
        for verdict in ("better", "worse", "not distinguishable"):
            methods = []
            for row in select(rows, verdict=verdict):
                name = article(content["Methods"][row["against"]])
                methods.append(f"{name} ({values[row['against']]}; {_advantage(row)})")
            if methods:
                clauses.append(f"{_verb(verdict, rows[0]['firm'])} {joined(methods)}")
        lines.append(
            f"On {counted(rows[0]['n_subjects'], held_out(content))}, {kind} masking of {ratio:g}, the trained model "
            f"(R² {values['model']}) {'; '.join(clauses)}."
        )
    return lines


def _verb(verdict: str, firm: bool) -> str:
    if verdict == "not distinguishable":
        return "is not distinguishable from"
    if firm:
        return "beats" if verdict == "better" else "is beaten by"
    return "is ahead of" if verdict == "better" else "is behind"


def article(label: str) -> str:
    """`conditional Gaussian` -> `the conditional Gaussian`; names stay as they are."""
    if label.startswith("BrainLM, untrained"):
        return "the untrained network"
    return label if label.startswith("linear") else f"the {label}"


def _advantage(row: Mapping[str, Any]) -> str:
    """The model's advantage, and where it is certain but too small to matter, that."""
    small = row["verdict"] != "not distinguishable" and abs(row["difference"]) < NEGLIGIBLE
    return f"{round(row['difference'], 3) + 0.0:+.3f}{', negligible' if small else ''}"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def listed(ratios: Sequence[float]) -> str:
    """`0.2, 0.5 and 0.75`."""
    return joined([f"{ratio:g}" for ratio in ratios])
