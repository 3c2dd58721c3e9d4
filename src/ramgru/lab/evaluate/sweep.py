"""One model at many sizes of its task: score, confidence interval, chance and bits held at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from ramgru.lab.evaluate.capacity import bits_held
from ramgru.lab.evaluate.interval import wilson
from ramgru.lab.evaluate.part import Part
from ramgru.lab.tasks import Slice, Task, to_config
from ramgru.lab.train.data import held_out_seed
from ramgru.lab.train.measure import Objective, Tally, measure
from ramgru.sequence import SequenceModel

FRESH = 1 << 20  # first index of held-out batches that no training run draws


@dataclass(frozen=True)
class Effort:
    """How many questions an evaluation asks, and how much memory it may use."""

    questions: int = 2048
    """Minimum number of symbols asked for at each size."""
    examples: int = 16
    """Minimum number of sequences at each size."""
    tokens: int = 32_768
    """Steps in memory at a time, all sequences of a batch together."""
    max_length: int = 0
    """Longest sequence; sizes with longer sequences are left out. 0: no limit."""
    seed: int = 0
    """Seed of the held-out questions."""

    def allows(self, point: Slice) -> bool:
        """Whether a size has sequences of at most `max_length` steps.

        The length is the size's "length" axis, or that of one drawn sequence.
        """
        if not self.max_length:
            return True
        length = point.axes.get("length") or int(point.task.draw(1, 0).lengths[0])
        return length <= self.max_length


@dataclass(frozen=True)
class Row:
    """The result at one size.

    score:       share of right symbols; [low, high]: its 95 % confidence interval (Wilson)
    count:       symbols asked for
    exact:       share of whole answers that are right
    loss:        nats a symbol
    state_bytes: recurrent state of one sequence at the end of the longest one, 4 bytes a float
    error:       of numbers, the mean absolute error, in the file's own unit; and `zero_error`, that
                 of the answer without a model: the naive forecast, or the mean. Errors of
                 overlapping windows are dependent: no interval is given
    bits_held:   information that the answers of one sequence carry about its stored values; None if
                 the task does not store key-value pairs (has no `pairs`)
    """

    axes: dict[str, int]
    score: float
    count: int
    low: float | None
    high: float | None
    chance: float
    plateau: float | None
    exact: float
    loss: float
    state_bytes: int
    bits_held: float | None = None
    error: float | None = None
    zero_error: float | None = None

    @property
    def bits_per_state_byte(self) -> float | None:
        """`bits_held` over `state_bytes`; None if the bits are unknown or there is no state."""
        if self.bits_held is None or not self.state_bytes:
            return None
        return self.bits_held / self.state_bytes


@dataclass(frozen=True)
class Group:
    """The result over symbols that share a range of distances or a kind of question.

    answers, exact: for a kind of question, the number of whole answers and the share of right ones;
    None for a range of distances.
    """

    name: dict[str, Any]
    score: float
    count: int
    interval: tuple[float, float]
    answers: int | None = None
    exact: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The results of one model on one task.

    state_bytes:     the largest of the rows
    memory_capacity: past inputs held in the hidden units (`capacity.memory_capacity`); None if it
                     was not measured
    """

    task: dict[str, Any]
    metric: str
    chance: float
    state_bytes: int
    rows: list[Row] = field(default_factory=list)
    distance: list[Group] = field(default_factory=list)
    kinds: list[Group] = field(default_factory=list)
    memory_capacity: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluation.json."""
        rows = []
        for row in self.rows:
            values = asdict(row) | {"bits_per_state_byte": row.bits_per_state_byte}
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
    part: Part | None = None,
) -> Evaluation:
    """Measure `model` at every size of `task.grid()`.

    on_row: called with each row as soon as it is measured;  part: keeps what is measured
    Raises ValueError if `effort` leaves no size.
    """
    found = measure_at(model, task.grid(), effort, device=device, on_row=on_row, part=part)
    return replace(found, task=to_config(task), metric=task.metric, chance=task.chance)


def measure_at(
    model: SequenceModel,
    slices: Sequence[Slice],
    effort: Effort = Effort(),
    *,
    device: torch.device | str = "cpu",
    on_row: Callable[[Row], None] = lambda row: None,
    part: Part | None = None,
) -> Evaluation:
    """Measure `model` at the sizes of `slices`, all of one task.

    The evaluation's own task is that of the first size.
    on_row: called with each row as soon as it is measured;  part: keeps what is measured
    Raises ValueError if there is no size, or if `effort` leaves none.
    """
    if not slices:
        raise ValueError("slices must hold at least one size, got none")
    task = slices[0].task
    objective = Objective(model).to(device)
    rows, total = [], Tally()
    for number, point in enumerate(slices):
        if not effort.allows(point):
            continue
        known = None if part is None else part.get(number)
        tally, longest = known or _measure(objective, point, effort, number, device)
        if part is not None and known is None:
            part.add(number, tally, longest)
        low, high = wilson(int(tally.right), tally.count) if tally.numbers is None else (None, None)
        pairs, chance = getattr(point.task, "pairs", None), point.task.chance
        row = Row(
            axes=dict(point.axes),
            score=tally.score,
            count=tally.count,
            low=low,
            high=high,
            chance=chance,
            plateau=point.task.plateau,
            exact=tally.exact[0] / max(1, tally.exact[1]),
            loss=tally.mean_loss,
            state_bytes=4 * (model.state_size + longest * model.state_growth),
            bits_held=None if pairs is None else bits_held(pairs, tally.score, chance),
        )
        shown = [row] if tally.numbers is None else _numbers(row, tally.numbers, point.task)
        rows += shown
        total.merge(tally)
        for row in shown:
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
        state_bytes=max(row.state_bytes for row in rows),
        rows=rows,
        distance=_buckets(total.distance),
        kinds=_kinds(task, total),
    )


def _measure(
    objective: Objective, point: Slice, effort: Effort, number: int, device: Any
) -> tuple[Tally, int]:
    """Draw batches until enough is asked; -> the tally, and the length of the longest sequence.

    The batch size shrinks as the sequences grow.
    """
    tally, sequences, index, longest = Tally(), 0, 0, 0
    rows = point.task.number_of_examples or 1
    while sequences < effort.examples or 0 < tally.count < effort.questions:
        batch = point.task.draw(rows, held_out_seed(effort.seed, FRESH * (number + 1) + index))
        steps = batch.inputs.shape[1]
        longest = max(longest, int(batch.lengths.max()))
        chunk = max(1, effort.tokens // rows) if rows * steps > effort.tokens else 0
        tally.merge(measure(objective, [batch], device=device, chunk=chunk))
        if point.task.number_of_examples:
            break
        sequences, index = sequences + rows, index + 1
        left = max(
            effort.examples - sequences,
            -(-(effort.questions - tally.count) * sequences // max(1, tally.count)),
        )
        rows = max(1, min(effort.tokens // steps, left))
    return tally, longest


def _numbers(row: Row, numbers: list[list[float]], task: Any) -> list[Row]:
    """A row for each number of an answer: of a forecast, each step ahead."""
    rows = []
    for n, (squares, zero_squares, errors, zero_errors, count) in enumerate(zip(*numbers)):
        unit = task.fitted.unit[n] / max(1, count)
        rows.append(
            replace(
                row,
                axes={**row.axes, "ahead": n + 1} if task.predict == "forecast" else row.axes,
                score=1 - squares / (zero_squares or 1),
                count=int(count),
                exact=1 - squares / (zero_squares or 1),
                loss=squares / max(1, count),
                error=errors * unit,
                zero_error=zero_errors * unit,
            )
        )
    return rows


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
