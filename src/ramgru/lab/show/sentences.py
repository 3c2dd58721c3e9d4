"""Numbers as words, and what a picture of a memory proves in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ramgru.lab.show.data import Occupancy, Sample, Score
from ramgru.lab.show.plots import percent


def slice_text(axes: Mapping[str, int]) -> str:
    """{"pairs": 1024, "length": 4096} -> '1,024 pairs, length 4,096'."""
    if not axes:
        return "the task itself"
    counted = ("pairs", "registers", "statements")  # "16 pairs", but "length 64"
    return ", ".join(f"{v:,} {k}" if k in counted else f"{k} {v:,}" for k, v in axes.items())


def score_text(score: Score) -> str:
    """'99.1 %', and on a second line its interval where there is one."""
    if score.low is None or score.high is None:
        return percent(score.mean)
    return f"{percent(score.mean)}\n{100 * score.low:.1f} – {100 * score.high:.1f}"


def joined(parts: Sequence[str]) -> str:
    """['a', 'b', 'c'] -> 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def occupancy_finding(memory: Occupancy, where: str) -> str:
    """How much of the memory one sequence uses, and how often writes meet."""
    total = sum(sum(head) for head in memory.writes)
    return (
        f"At {where}, {total:,} writes go to {memory.used:,} different cells, "
        f"{percent(memory.share)} of the memory: {memory.distinct_per_write:.2f} cells a write "
        "(1 means that no two writes share a cell)."
    )


def provenance_finding(sample: Sample) -> str:
    """How many answers are right, and how many come from where the answer was written."""
    judged = [answer for answer in sample.answers if answer.right is not None]
    if judged:
        right = sum(bool(answer.right) for answer in judged)
        text = f"{right} of {len(judged)} answers are right"
    else:
        text = f"{len(sample.answers)} answers, of which nobody knows the right ones"
    known = [answer for answer in sample.answers if answer.written is not None and answer.weight]
    if known:
        met = sum(max(range(len(a.weight)), key=a.weight.__getitem__) == a.written for a in known)
        text += f"; {met} of {len(known)} come mostly from the step at which the answer was written"
    return (
        text + ". The weights are exact: what the memory gives back is this mixture of past writes."
    )
