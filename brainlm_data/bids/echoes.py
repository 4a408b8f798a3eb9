"""Which echo of a run stands for it: that with the time at which BOLD contrast is best, or all of them combined.

Contrast is largest where the echo time is T2* of grey matter, some 30 to 50 ms at 3 T, while drop-out grows with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from brainlm_data.paths import RAW_URI
from brainlm_data.stage import Facts

NO_TIME = "EchoTime (seconds) is missing in the sidecar of an echo"


class Echo(NamedTuple):
    """An echo as the cache of the index has it; files are path, size and mtime. `fault`: why it cannot be used."""

    label: str
    metadata: int
    bold: Sequence[Any]
    sbref: Sequence[Any] | None
    fault: str


class Choice(NamedTuple):
    """What stands for a run.

    Attributes
    ----------
    used: the echo whose image is the run's `bold`; fault: why the run is refused, "" where it is not.
    facts: for the stages: `EchoNumber`, `EchoTime` (s; None: not stated), `EchoesNotUsed` (BIDS URIs); or, where all
        are combined, `EchoTimes` (s) and `EchoesCombined` (BIDS URIs).
    left: of each image that is not used, why. combined: the echoes to be combined, by time; else empty.
    """

    used: Echo
    fault: str
    facts: dict[str, Any]
    left: list[str]
    combined: list[Echo]


def choose(echoes: Sequence[Echo], times: Mapping[str, float | None], wanted: str | int, echo_ms: float) -> Choice:
    """The choice that `select.echo` and `select.echo_ms` make.

    Parameters
    ----------
    echoes: of one run, by number. times: echo times by label, s; None where they are not stated (`timing.stated_echo`).
    """
    # without a time an echo is the last choice; of equal ones the first counts
    by_time = sorted(echoes, key=lambda echo: times[echo.label] or float("inf"))
    if wanted == "combine" and len(echoes) > 1:
        return _combined(by_time, times)
    used, fault = by_time[0], ""
    if wanted == "nearest":
        used = min(by_time, key=lambda echo: abs((times[echo.label] or float("inf")) - echo_ms / 1000))
    elif wanted != "combine":
        named = [echo for echo in echoes if echo.label == str(wanted)]
        used = named[0] if named else used
        labels = ", ".join(echo.label for echo in echoes)
        fault = "" if named else f"{used.bold[0]}: no echo {wanted} of this run (there is {labels}) -> set select.echo"
    others = [echo for echo in echoes if echo is not used]
    facts = {
        "EchoNumber": _number(used.label),
        "EchoTime": times[used.label],
        "EchoesNotUsed": [f"{RAW_URI}{echo.bold[0]}" for echo in others],
    }
    left = [f"{o.bold[0]}: echo {o.label} (echo {used.label} is used; select.echo chooses)" for o in others]
    return Choice(used, fault or used.fault, facts, left, [])


def _combined(echoes: list[Echo], times: Mapping[str, float | None]) -> Choice:
    """All echoes, by time; motion is estimated on the first of them, in which least signal is lost."""
    first = echoes[0]
    seconds = [times[echo.label] for echo in echoes]
    faults = [echo.fault for echo in echoes if echo.fault]
    if None in seconds:
        faults.append(f"{first.bold[0]}: {NO_TIME} -> add it, or set select.echo to the number of one")
    elif len(set(seconds)) < len(seconds):
        faults.append(f"{first.bold[0]}: two echoes have the same EchoTime -> correct the sidecars, or set select.echo")
    facts = {"EchoTimes": seconds, "EchoesCombined": [f"{RAW_URI}{echo.bold[0]}" for echo in echoes]}
    return Choice(first, "".join(faults[:1]), facts, [], echoes)


def _number(label: str) -> int | str:
    return int(label) if label.isdecimal() else label


def stated(meta: Mapping[str, Any]) -> tuple[Facts, list[str]]:
    """For the sidecar of a recording: which echo was used, and a warning where others were not."""
    facts = dict(meta.get("echo", {}))
    if not facts or "EchoesCombined" in facts:
        return facts, []
    number, others = facts["EchoNumber"], len(facts["EchoesNotUsed"])
    if not others:
        return facts, [f"one echo of a multi-echo run is there, echo {number}: it was used"]
    if facts["EchoTime"] is None:
        return facts, [f"echo {number} of {others + 1} was used: no EchoTime says which is nearest to select.echo_ms"]
    return facts, [f"echo {number} of {others + 1} ({1000 * facts['EchoTime']:g} ms) was used: echoes are not combined"]


def sentence(facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Of the methods text, as template and fields; empty for a run of one echo."""
    if facts.get("EchoesCombined"):
        fields: dict[str, Any] = {"echoes": len(facts["EchoTimes"]), "echo_ms": 1000 * facts["EchoTimes"][0]}
        return " Motion was estimated on the first of {echoes} echoes ({echo_ms:g} ms).", fields
    if not facts.get("EchoesNotUsed"):
        return "", {}
    fields = {"echo": facts["EchoNumber"], "echoes": 1 + len(facts["EchoesNotUsed"])}
    if facts["EchoTime"] is None:
        return " Of {echoes} echoes, number {echo} was used.", fields
    fields["echo_ms"] = 1000 * facts["EchoTime"]
    return " Of {echoes} echoes, number {echo} ({echo_ms:g} ms) was used.", fields
