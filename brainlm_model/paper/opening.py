"""The first three lines of a model card: what the model is better at, than what, on whom; and what it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from brainlm_model.eval.masked.words import held_out, joined, number
from brainlm_model.eval.phenotype.words import BEST, KEY, TANGENT
from brainlm_model.eval.rows import by, find, select
from brainlm_model.eval.state.features import LINEAR
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS

Content = Mapping[str, Any]
IS_NOT = (
    "a measure of single people, nor a replacement of connectivity; nothing is claimed of scanners, ages, atlases or "
    "preprocessing other than those below."
)


def lines(masked: Sequence[Content], tasks: Mapping[str, Content]) -> list[str]:
    """Three lines from the tables alone; `masked`: masked.json of each split, `tasks`: T.json of each task, by name."""
    claims: list[tuple[bool, str]] = []
    for content in masked:
        claims += _masked(content)
    if "future" in tasks:
        claims += _future(tasks["future"])
    if "phenotype" in tasks:
        claims += _traits(tasks["phenotype"])
    if "state" in tasks:
        claims += _states(tasks["state"])
    better = [text for is_better, text in claims if is_better]
    others = [text for is_better, text in claims if not is_better]
    return [
        f"**Better at**: {'; '.join(better) if better else 'nothing that was measured here'}.",
        f"**Not better at**: {'; '.join(others) if others else 'nothing else was measured here'}.",
        f"**It is not** {IS_NOT}",
    ]


def best_baseline(content: Content, masking: str, ratio: float) -> Mapping[str, Any]:
    """The comparison of the model with the baseline that reached most there, which favours the baselines."""
    reached = by("method", select(content["Results"], metric="r2_flat", masking=masking, mask_ratio=ratio))
    names = [name for name, row in reached.items() if name not in ("model", "untrained") and row["value"] is not None]
    best = max(names, key=lambda name: reached[name]["value"])
    comparison = find(content["Comparisons"], against=best, masking=masking, mask_ratio=ratio)
    assert comparison is not None  # the stage compares the model with every baseline in every condition
    return comparison


def _masked(content: Content) -> Iterator[tuple[bool, str]]:
    """A claim for each way of masking."""
    people = f"{content['Subjects']} {held_out(content)}"
    for masking in content["Masking"]:
        rows = [best_baseline(content, masking, ratio) for ratio in content["MaskRatios"]]
        against = joined(list(dict.fromkeys(content["Methods"][row["against"]] for row in rows)))
        differences = [row["difference"] for row in rows]
        above = sum(row["low"] > 0 for row in rows)
        text = f"hidden values ({masking} masking) of {people}: R² {min(differences):+.4f} to {max(differences):+.4f} "
        text += f"against the best baseline ({against})"
        if not rows[0]["firm"]:
            yield False, f"{text}; too few people to say so"
        elif above == len(rows):
            yield True, f"{text}, 95 % intervals above 0 at all {above} mask ratios"
        else:
            yield False, f"{text}, 95 % intervals above 0 at {above} of {len(rows)} mask ratios"


def _future(content: Content) -> Iterator[tuple[bool, str]]:
    """A claim for each horizon: the fine-tuned model against the best other forecast."""
    for horizon in content["Horizons"]:
        rows = select(content["Results"], horizon=horizon, metric="r2_flat")
        reached = by("method", [row for row in rows if row["step"] in ("", None)])
        compared = select(content["Comparisons"], horizon=horizon, step=None)
        if not compared or content["Subjects"] < ENOUGH_SUBJECTS:
            continue
        against = max(compared, key=lambda row: reached[row["against"]]["value"])
        other = reached[against["against"]]
        text = f"forecasts of {horizon} steps, fine-tuned, of {content['Subjects']} people: R² "
        text += f"{number(reached['finetuned']['value'])}, the best other ({other['label']}) {number(other['value'])}"
        text += f", {against['verdict']}"
        yield against["verdict"] == "better", text


def _states(content: Content) -> Iterator[tuple[bool, str]]:
    """One claim: linear probes of the model's tokens against the linear method on the series that reached most."""
    rows = by("method", select(content["Results"], metric="balanced_accuracy"))
    others = [rows[method] for method in LINEAR if method in rows]
    if "tokens" not in rows or not others or content["Subjects"] < ENOUGH_SUBJECTS:
        return
    best = max(others, key=lambda row: row["value"])
    compared = find(content["Comparisons"], method="tokens", against=best["method"])
    assert compared is not None  # the stage compares the tokens with every linear method
    text = f"conditions of tasks of {content['Subjects']} people ({content['Validation']} held out): balanced accuracy "
    text += f"{number(rows['tokens']['value'])}, the best linear method ({best['label']}) {number(best['value'])}"
    yield compared["verdict"] == "better", text


def _traits(content: Content) -> Iterator[tuple[bool, str]]:
    """A claim for each column: the model's embeddings against tangent-space connectivity."""
    for facts in content["Columns"]:
        metric, name = KEY[facts["Task"]]
        place = {"column": facts["Column"], "validation": facts["Validation"], "metric": metric}
        row = find(content["Comparisons"], method=TANGENT, against=BEST, **place)
        if row is None or facts["Subjects"] < ENOUGH_SUBJECTS:
            continue
        rows = by("method", select(content["Results"], **place))
        text = f"{facts['Column']} of {facts['Subjects']} people ({facts['Validation']}): {name} "
        text += f"{number(rows[BEST]['value'])}, tangent-space connectivity {number(rows[TANGENT]['value'])}"
        yield row["verdict"] == "worse", text  # tangent space is worse than the embeddings
