"""What beats what, in words, from `metrics/masked.json`: no reader should have to work it out from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NEGLIGIBLE = 0.005  # of R2: a smaller difference can be certain and still not matter
Content = Mapping[str, Any]


def number(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`0.50 [0.45, 0.55]`; without brackets where there is no interval; a dash where there is no value."""
    if value is None:
        return "–"
    places = 2 if abs(value) >= 0.0995 else 3
    text, *ends = (f"{round(v, places) + 0.0:.{places}f}" for v in (value, low, high) if v is not None)  # no -0.00
    return f"{text} [{', '.join(ends)}]" if len(ends) == 2 else text


def interval(row: Mapping[str, Any]) -> str:
    """`number` of a row's value, low and high."""
    return number(row["value"], row["low"], row["high"])


def held_out(content: Content) -> str:
    """Whom the model was tested on."""
    return "subjects of groups that were left out" if content.get("Split") == "external" else "held-out subjects"


def headline(content: Content) -> list[str]:
    """The answer first: the linear baseline, then what training added. Random masking where there is any."""
    kind = content["Masking"][0] if "random" not in content["Masking"] else "random"
    rows = [row for row in content["Comparisons"] if row["masking"] == kind]
    lines = [_against_gaussian([r for r in rows if r["against"] == "gaussian"], kind)]
    lines.append(_against_untrained([r for r in rows if r["against"] == "untrained"], content))
    if not rows[0]["firm"]:
        lines.append(
            f"There are only {rows[0]['n_subjects']} {held_out(content)}: too few for a statistical test, whatever the "
            "intervals say. Read this as a check that the machinery works, not as a result."
        )
    return lines


def _against_gaussian(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    won, lost, open_ = (
        [r["mask_ratio"] for r in rows if r["verdict"] == verdict]
        for verdict in ("better", "worse", "not distinguishable")
    )
    linear = "the conditional Gaussian, the linear baseline,"
    if len(lost) == len(rows):
        return f"The linear baseline wins: {linear} is better than the model at every mask ratio ({kind} masking)."
    if len(won) == len(rows):
        return f"The model is better than {linear} at every mask ratio ({kind} masking)."
    parts = [
        f"{words} at {listed(ratios)}"
        for words, ratios in (
            ("the model is better", won), ("the linear baseline wins", lost), ("neither can be told apart", open_),
        )
        if ratios
    ]  # fmt: skip
    return f"Against {linear} with {kind} masking: {'; '.join(parts)}."


def _against_untrained(rows: Sequence[Mapping[str, Any]], content: Content) -> str:
    change = "R² " + ", ".join(f"{r['difference']:+.3f} at {r['mask_ratio']:g}" for r in rows)
    prior = content["Prior"] == "gaussian"
    start = (
        "its Gaussian prior, adapted to each window, to which no gradient step was made" if prior else "random weights"
    )
    helped = [r["mask_ratio"] for r in rows if r["verdict"] == "better"]
    if all(r["verdict"] == "worse" for r in rows):
        return f"Training made it worse: {change} from where the network started ({start})."
    if not helped:
        return f"Training did not measurably help: {change} from where the network started ({start})."
    if all(abs(r["difference"]) < NEGLIGIBLE for r in rows):
        rest = " What the model reaches is what the prior reaches." if prior else ""
        return f"Training added next to nothing: {change} from where the network started ({start}).{rest}"
    where = "at every mask ratio" if len(helped) == len(rows) else f"at mask ratios {listed(helped)} only"
    return f"Training helped {where}: {change} from where the network started ({start})."


def verdicts(content: Content) -> list[str]:
    """One sentence a way of masking and mask ratio."""
    values = {
        (r["method"], r["masking"], r["mask_ratio"]): number(r["value"], r["low"], r["high"])
        for r in content["Results"]
        if r["metric"] == "r2_flat"
    }
    lines = []
    for kind in content["Masking"]:
        for ratio in content["MaskRatios"]:
            rows = [r for r in content["Comparisons"] if (r["masking"], r["mask_ratio"]) == (kind, ratio)]
            clauses = []
            for verdict in ("better", "worse", "not distinguishable"):
                named = [
                    f"{article(content['Methods'][r['against']])} "
                    f"({values[r['against'], kind, ratio]}; {_advantage(r)})"
                    for r in rows
                    if r["verdict"] == verdict
                ]
                if named:
                    clauses.append(f"{_verb(verdict, rows[0]['firm'])} {joined(named)}")
            lines.append(
                f"On {rows[0]['n_subjects']} {held_out(content)}, {kind} masking of {ratio:g}, the trained model "
                f"(R² {values['model', kind, ratio]}) {'; '.join(clauses)}."
            )
    return lines


def _verb(verdict: str, firm: bool) -> str:
    if verdict == "not distinguishable":
        return "cannot be told apart from"
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
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def listed(ratios: Sequence[float]) -> str:
    """`0.2, 0.5 and 0.75`."""
    return joined([f"{ratio:g}" for ratio in ratios])
