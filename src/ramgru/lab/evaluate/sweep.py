"""One model at many sizes of its task: score, interval and chance at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from ramgru.lab.evaluate.interval import wilson
from ramgru.lab.tasks import Slice, Task
from ramgru.lab.train.data import held_out_seed
from ramgru.lab.train.measure import Tally, measure
from ramgru.lab.train.objective import Objective
from ramgru.sequence import SequenceModel

FRESH = 1 << 20  # numbers of held-out batches from here on are never drawn while training


@dataclass(frozen=True)
class Effort:
    """How much is asked, and how much memory that may take."""

    questions: int = 2048
    """Symbols asked for at each size, at least."""
    examples: int = 16
    """Sequences at each size, at least."""
    tokens: int = 32_768
    """Steps in memory at a time, all sequences of a batch together."""
    max_length: int = 0
    """Leave out sizes with longer sequences; 0: none."""
    seed: int = 0
    """Seed of the questions; none of them was seen in training."""

    def allows(self, point: Slice) -> bool:
        """Whether the sequences of a size are no longer than `max_length`: as its axis says, or,
        where it has none of lengths, as one that it draws."""
        if not self.max_length:
            return True
        length = point.axes.get("length") or int(point.task.draw(1, 0).lengths[0])
        return length <= self.max_length


@dataclass(frozen=True)
class Row:
    """One size. score: share of right symbols, [low, high]: its 95 % interval (Wilson), count:
    symbols asked for, exact: share of whole answers that were right, loss: nats a symbol."""

    axes: dict[str, int]
    score: float
    count: int
    low: float
    high: float
    chance: float
    plateau: float | None
    exact: float
    loss: float


@dataclass(frozen=True)
class Group:
    """The symbols that have something in common: a range of distances, or a kind of question.

    answers, exact: of a kind of question, how many whole answers were asked for, and the share of
    them that were right; None of a range of distances.
    """

    name: dict[str, Any]
    score: float
    count: int
    interval: tuple[float, float]
    answers: int | None = None
    exact: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a model can do. state_bytes: the recurrent state of one sequence, at 4 bytes a float;
    where it grows, at the end of the longest sequence that was asked."""

    task: dict[str, Any]
    metric: str
    chance: float
    state_bytes: int
    rows: list[Row] = field(default_factory=list)
    distance: list[Group] = field(default_factory=list)
    kinds: list[Group] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluation.json."""
        rows = []
        for row in self.rows:
            values = asdict(row)
            rows.append({**values.pop("axes"), **values})
        groups: dict[str, Any] = {"distance": [], "kinds": []}
        for name, shown in groups.items():
            for group in getattr(self, name):
                values = {k: v for k, v in asdict(group).items() if v is not None}
                shown.append({**values.pop("name"), **values, "interval": list(group.interval)})
        return {**asdict(self), "rows": rows, **groups}


def sweep(
    model: SequenceModel,
    task: Task,
    effort: Effort = Effort(),
    *,
    device: torch.device | str = "cpu",
    on_row: Callable[[Row], None] = lambda row: None,
) -> Evaluation:
    """Measure `model` at every size of `task.grid()`; on_row is told of each as it is done.

    Raises ValueError where `effort` leaves no size.
    """
    from ramgru.lab.tasks import to_config

    found = measure_at(model, task.grid(), effort, device=device, on_row=on_row)
    return replace(found, task=to_config(task), metric=task.metric, chance=task.chance)


def measure_at(
    model: SequenceModel,
    slices: Sequence[Slice],
    effort: Effort = Effort(),
    *,
    device: torch.device | str = "cpu",
    on_row: Callable[[Row], None] = lambda row: None,
) -> Evaluation:
    """Measure `model` at the sizes of `slices`, all of one task; on_row is told of each as it is
    done. The evaluation's own task is the first of them.

    Raises ValueError where there is no size, or `effort` leaves none.
    """
    from ramgru.lab.tasks import to_config

    if not slices:
        raise ValueError("slices must hold at least one size, got none")
    task = slices[0].task
    objective = Objective(model).to(device)
    rows, total, longest = [], Tally(), 0
    for number, point in enumerate(slices):
        if not effort.allows(point):
            continue
        tally, steps = _measure(objective, point, effort, number, device)
        low, high = wilson(tally.right, tally.count)
        row = Row(
            axes=dict(point.axes),
            score=tally.score,
            count=tally.count,
            low=low,
            high=high,
            chance=point.task.chance,
            plateau=point.task.plateau,
            exact=tally.exact[0] / max(1, tally.exact[1]),
            loss=tally.mean_loss,
        )
        rows.append(row)
        total.merge(tally)
        longest = max(longest, steps)
        on_row(row)
    if not rows:
        raise ValueError(
            f"effort.max_length: no size of {task.name} has sequences of {effort.max_length} steps "
            "or fewer"
        )
    return Evaluation(
        task=to_config(task),
        metric=task.metric,
        chance=task.chance,
        state_bytes=4 * (model.state_size + longest * model.state_growth),
        rows=rows,
        distance=_buckets(total.distance),
        kinds=_kinds(task, total),
    )


def _measure(
    objective: Objective, point: Slice, effort: Effort, number: int, device: Any
) -> tuple[Tally, int]:
    """Batch after batch until enough was asked; the batch shrinks as the sequences grow.

    -> what was right, and the steps of the longest sequence
    """
    tally, sequences, index, longest = Tally(), 0, 0, 0
    rows = 1
    while sequences < effort.examples or 0 < tally.count < effort.questions:
        batch = point.task.draw(rows, held_out_seed(effort.seed, FRESH * (number + 1) + index))
        steps = batch.inputs.shape[1]
        longest = max(longest, int(batch.lengths.max()))
        chunk = max(1, effort.tokens // rows) if rows * steps > effort.tokens else 0
        tally.merge(measure(objective, [batch], device=device, chunk=chunk))
        sequences, index = sequences + rows, index + 1
        left = max(
            effort.examples - sequences,
            -(-(effort.questions - tally.count) * sequences // max(1, tally.count)),
        )
        rows = max(1, min(effort.tokens // steps, left))
    return tally, longest


def _buckets(distances: dict[int, list[int]]) -> list[Group]:
    """Distances in ranges that double: [1, 1], [2, 3], [4, 7], …"""
    ranges: dict[int, list[int]] = {}
    for distance, (right, count) in distances.items():
        entry = ranges.setdefault(max(0, distance).bit_length(), [0, 0])
        entry[0] += right
        entry[1] += count
    return [
        _group({"low": 1 << bits - 1 if bits else 0, "high": (1 << bits) - 1}, *entry)
        for bits, entry in sorted(ranges.items())
    ]


def _kinds(task: Task, total: Tally) -> list[Group]:
    groups = []
    for kind, entry in sorted(total.kind.items()):
        right, answers = total.exact_of.get(kind, (0, 0))
        group = _group({"kind": task.kinds[kind]}, *entry)
        groups.append(replace(group, answers=answers, exact=right / max(1, answers)))
    return groups


def _group(name: dict[str, Any], right: int, count: int) -> Group:
    return Group(name, right / max(1, count), count, wilson(right, count))
