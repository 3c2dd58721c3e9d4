"""What a model did with one input: answers and their provenance, gates, cells in use, one unit.

Provenance is exact (DESIGN §2): the weight of the write at s in the read at t, of one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ramgru.lab.show.data import Answer, Occupancy, Sample
from ramgru.lab.show.example import Example, check_length, token_label, token_labels
from ramgru.lab.tasks.base import Task
from ramgru.sequence import SequenceModel

if TYPE_CHECKING:
    from ramgru.trace import LayerTrace


@dataclass(frozen=True)
class Unit:
    """One memory unit over time: gate (T,), activation (T, D), and its state (D,) at the end."""

    cell: int
    gate: np.ndarray
    activation: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class View:
    """One block and head of a model, seen while it read one input.

    gates: (T, H), the strongest write gate of each step and head.
    exact: False where the write rule has no exact provenance; then the answers have no weights.
    """

    block: int
    blocks: int
    head: int
    sample: Sample
    exact: bool
    occupancy: Occupancy
    gates: np.ndarray
    unit: Unit | None = None


def look(
    model: SequenceModel,
    task: Task,
    example: Example,
    *,
    block: int | None = None,
    head: int | None = None,
    cell: int | None = None,
) -> View | None:
    """Run one example through a model and look inside; None where no block has a memory.

    block, head: None takes the ones whose reads come most from where the answers were written.
    Raises ValueError: a block, head or cell that the model does not have, or an input too long.
    """
    from ramgru.lab.show.blocks import trace_model

    check_length(len(example.inputs))
    inputs = torch.from_numpy(example.inputs)[None]  # (1, T) or (1, T, F)
    with torch.no_grad():
        traces = trace_model(model, inputs)
        answers = _answers(model, task, inputs, [question.step for question in example.questions])
    memories = {index: trace for index, trace in enumerate(traces) if trace is not None}
    if not memories:
        return None
    if block is not None and block not in memories:
        known = ", ".join(map(str, memories))
        raise ValueError(f"block must be one with a memory ({known}), got {block}")
    found = {index: trace for index, trace in memories.items() if block is None or index == block}
    block, head, weights = _choose(found, example, head)
    trace = memories[block]
    size = int(trace.memory_size)
    unit = None
    if cell is not None:
        if not 0 <= cell < size:
            raise ValueError(f"cell must be in 0 … {size - 1}, got {cell}")
        seen = trace.cell(cell, head=head, batch=0)
        unit = Unit(cell, _array(seen.gate), _array(seen.activation), _array(seen.state))
    labels = token_labels(task, example.inputs)
    return View(
        block=block,
        blocks=len(traces),
        head=head,
        sample=Sample(labels, _sample(task, example, answers, weights)),
        exact=weights is not None,
        occupancy=Occupancy.of(_array(trace.occupancy())),
        gates=_array(trace.write_gate)[0].max(-1),  # (T, H, K) -> (T, H)
        unit=unit,
    )


def cells_in_use(model: SequenceModel, example: Example, block: int) -> Occupancy:
    """Writes per cell of one block while it reads one example, however long."""
    from ramgru.lab.show.blocks import trace_model

    with torch.no_grad():
        trace = trace_model(model, torch.from_numpy(example.inputs)[None])[block]
    if trace is None:
        raise ValueError(f"block must be one with a memory, got {block}")
    return Occupancy.of(_array(trace.occupancy()))


def _answers(
    model: SequenceModel, task: Task, inputs: torch.Tensor, steps: list[int]
) -> np.ndarray:
    """-> (Q,) tokens or classes, or (Q, F) bits: what the model answers at these steps."""
    hidden, _ = model.hidden(inputs)
    logits = model.head(hidden[0, steps])
    chosen = logits.argmax(-1) if task.vocab_size or task.classes else (logits > 0).long()
    return chosen.numpy()


def _choose(
    traces: dict[int, LayerTrace], example: Example, head: int | None
) -> tuple[int, int, np.ndarray | None]:
    """-> block, head, provenance (T, S) or None where the write rule has none."""
    known = [(q.step, q.written) for q in example.questions if q.written is not None]
    best: tuple[float, int, int, np.ndarray] | None = None
    for block, trace in traces.items():
        heads = trace.write_gate.shape[2]
        if head is not None and not 0 <= head < heads:
            raise ValueError(f"head must be in 0 … {heads - 1}, got {head}")
        for one in range(heads) if head is None else (head,):
            try:
                weights = _array(trace.provenance(one))[0]
            except ValueError:  # the delta rule's reads are no mixture of candidates
                continue
            met = float(np.mean([weights[t, s] for t, s in known])) if known else 0.0
            # Of equals the last block, nearest to the answer, and its first head.
            if best is None or met > best[0] or (met == best[0] and block > best[1]):
                best = (met, block, one, weights)
    if best is None:
        return max(traces), head or 0, None
    return best[1], best[2], best[3]


def _sample(
    task: Task, example: Example, answers: np.ndarray, weights: np.ndarray | None
) -> list[Answer]:
    made = []
    for question, answered in zip(example.questions, answers):
        expected = question.expected
        weight: Sequence[float] = () if weights is None else weights[question.step].tolist()
        made.append(
            Answer(
                step=question.step,
                expected=None if expected is None else _text(task, expected),
                answered=_text(task, answered),
                weight=weight,
                written=question.written,
            )
        )
    return made


def _text(task: Task, answer: int | np.ndarray) -> str:
    if np.ndim(answer):
        return "".join(str(int(bit)) for bit in np.asarray(answer))
    return token_label(task, int(answer))


def _array(values: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    return values.float().numpy() if values.is_floating_point() else values.numpy()
