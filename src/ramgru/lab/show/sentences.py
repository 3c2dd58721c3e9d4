"""Numbers as words, and the sentence that a picture of a memory supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ramgru.lab.show.data import Occupancy, Sample, Scale, Score


def percent(share: float) -> str:
    """Two significant digits below 1 %, and never 100.0 % for less than everything.

    >>> [percent(share) for share in (0.941, 0.00024, 0.9998)]
    ['94.1 %', '0.024 %', '99.98 %']
    """
    if 0 < share < 0.01:
        return f"{100 * share:.2g} %"
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = f"{min(100 * share, 99.99):.2f}"
    return f"{text} %"


def number_text(number: float, digits: int = 5) -> str:
    """This many significant digits, or all of a large number's.

    >>> [number_text(number) for number in (118.0, 0.123456, 1234567.8)]
    ['118', '0.12346', '1234568']
    """
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.{digits}g}"


def time_text(microseconds: float) -> str:
    """3.21 -> '3.2 µs', 3210 -> '3.2 ms'."""
    if microseconds < 1000:
        return f"{microseconds:.2g} µs" if microseconds < 100 else f"{microseconds:.0f} µs"
    return f"{microseconds / 1000:.2g} ms"


def bytes_text(count: float) -> str:
    """512 -> '512 B', 2048 -> '2 KiB', 3 * 2**20 -> '3 MiB'."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def slice_text(axes: Mapping[str, int]) -> str:
    """{"pairs": 1024, "length": 4096} -> '1,024 pairs, length 4,096'."""
    if not axes:
        return "the task's own size"
    counted = ("pairs", "registers", "statements")  # "16 pairs", but "length 64"
    return ", ".join(f"{v:,} {k}" if k in counted else f"{k} {v:,}" for k, v in axes.items())


def score_text(score: Score) -> str:
    """'99.1 %'; the interval, if there is one, follows on a second line."""
    if score.low is None or score.high is None:
        return percent(score.mean)
    return f"{percent(score.mean)}\n{100 * score.low:.1f} – {100 * score.high:.1f}"


def joined(parts: Sequence[str]) -> str:
    """['a', 'b', 'c'] -> 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def occupancy_finding(memory: Occupancy, where: str) -> str:
    """How much of the memory one sequence uses, and how often writes share a cell."""
    total = sum(sum(head) for head in memory.writes)
    return (
        f"At {where}, {total:,} writes go to {memory.used:,} different cells, "
        f"{percent(memory.share)} of the memory: {memory.distinct_per_write:.2f} cells a write "
        "(1 means that no two writes share a cell)."
    )


def error_text(error: float, scale: Scale | None = None) -> str:
    """'1.3', or '1.3, 10.0 % of the spread of sales'."""
    text = number_text(error, digits=3)
    if scale is None or not scale.spread:
        return text
    return f"{text}, {percent(error / scale.spread)} of the spread of {scale.name}"


def right_of(sample: Sample) -> str:
    """How many answers are right; of numbers, how far they are off on average."""
    errors = [answer.error for answer in sample.answers if answer.error is not None]
    if sample.scale is not None:
        if not errors:
            return "The right answers lie beyond the end of the file."
        mean = error_text(sum(errors) / len(errors), sample.scale)
        return (
            f"The mean error of {len(errors):,} answers is {mean}: "
            f"{number_text(sample.scale.spread)}, its standard deviation in the file."
        )
    judged = [answer.right for answer in sample.answers if answer.right is not None]
    if not judged:
        return "The task has no rule for the right answers of a typed input."
    return f"{sum(judged)} of {len(judged)} answers are right."


def beside(sample: Sample, rival: Mapping[str, Any] | None) -> str:
    """'RAM-GRU answers 16 of 16 right, nn.GRU 1', or 'RAM-GRU tells sales with a mean error of 1.3,
    nn.GRU 2.1'; nothing if the right answers are not known.

    rival: of a story, or None
    """
    answers = sample.answers
    if sample.scale is not None:
        errors = [answer.error for answer in answers if answer.error is not None]
        if not errors:
            return ""
        text = f"RAM-GRU tells {sample.scale.name} with a mean error of "
        text += error_text(sum(errors) / len(errors))
        if rival is not None:
            theirs = sum(error for error in rival["error"] if error is not None)
            text += f", {rival['name']} {error_text(theirs / len(errors))}"
        return text
    judged = [n for n, answer in enumerate(answers) if answer.expected is not None]
    if not judged:
        return ""
    right = sum(bool(answers[n].right) for n in judged)
    text = f"RAM-GRU answers {right:,} of {len(judged):,} right"
    if rival is not None:
        theirs = sum(rival["said"][n] == answers[n].expected for n in judged)
        text += f", {rival['name']} {theirs:,}"
    return text


def provenance_finding(sample: Sample) -> str:
    """How many answers are right, and how often the strongest write is the one that was asked for.

    The two are told apart: a read can hold the right write before the model has learnt to use it.
    """
    text = right_of(sample)
    known = [answer for answer in sample.answers if answer.written is not None and answer.weight]
    if known:
        met = sum(max(range(len(a.weight)), key=a.weight.__getitem__) == a.written for a in known)
        text += (
            f" In {met} of {len(known)} reads the largest weight lies on the step at which the "
            "right answer was written; whether the model answers with it is up to its other layers."
        )
    return f"{text} The weights are exact: the read is this mixture of past writes."
