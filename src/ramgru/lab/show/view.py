"""A model while it reads one input: answers and their provenance, gates, cells in use, one cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramgru.lab.show.data import Answer, Example, Occupancy, Question, Sample
from ramgru.lab.show.example import check_length, token_label, token_labels
from ramgru.lab.show.sentences import number_text
from ramgru.lab.tasks.base import Task
from ramgru.lab.tasks.table import Table
from ramgru.layer import RAMGRU
from ramgru.sequence import SequenceModel
from ramgru.trace import LayerTrace, trace


@dataclass(frozen=True)
class Unit:
    """One memory cell over time: gate (T,), activation (T, D), and its contents (D,) at the end."""

    cell: int
    gate: np.ndarray
    activation: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class View:
    """One block and head of a model while it reads one input.

    gates: (T, H), the largest write gate of each step and head. ranking: (block, head) of every
    memory, those whose reads weigh the right answers' writes most first.
    """

    block: int
    blocks: int
    head: int
    sample: Sample
    occupancy: Occupancy
    gates: np.ndarray
    unit: Unit | None = None
    ranking: Sequence[tuple[int, int]] = ()


def trace_model(model: SequenceModel, src: Tensor) -> list[LayerTrace | None]:
    """One `LayerTrace` for each block of a model over src (B, T); None for a block without one."""
    traces: list[LayerTrace | None] = []
    with torch.no_grad():
        x = model.embedding(src)
        blocks: list[Any] = list(model.blocks)
        for block, before in zip(blocks, model.initial_state(src.shape[0]), strict=True):
            if isinstance(block.layer, RAMGRU):
                _, state = trace(block.layer, block.norm(x))
                assert state.trace is not None
                traces.append(state.trace[0])
            else:
                traces.append(None)
            x, _ = block(x, before)
    return traces


def look(
    model: SequenceModel,
    task: Task,
    example: Example,
    *,
    block: int | None = None,
    head: int | None = None,
    cell: int | None = None,
) -> View | None:
    """Run one example through a model and record its memory; None if no block has a memory.

    block, head: None chooses the ones whose reads weigh the right answers' writes most.
    Raises ValueError: a block, head or cell that the model does not have, or an input too long.
    """
    check_length(len(example.inputs))
    inputs = torch.from_numpy(example.inputs)[None]  # (1, T) or (1, T, F)
    traces = trace_model(model, inputs)
    memories = {index: seen for index, seen in enumerate(traces) if seen is not None}
    if not memories:
        return None
    if block is not None and block not in memories:
        known = ", ".join(map(str, memories))
        raise ValueError(f"block: expected one with a memory ({known}), got {block}")
    searched = {block: memories[block]} if block is not None else memories
    ranking, weights = _choose(searched, example, head)
    block, head = ranking[0]
    found = memories[block]
    size = int(found.memory_size)
    unit = None
    if cell is not None:
        if not 0 <= cell < size:
            raise ValueError(f"cell: expected 0 … {size - 1}, got {cell}")
        seen = found.cell(cell, head=head, batch=0)
        unit = Unit(cell, _array(seen.gate), _array(seen.activation), _array(seen.state))
    return View(
        block=block,
        blocks=len(traces),
        head=head,
        sample=Sample(
            token_labels(task, example.inputs),
            _answers(model, task, example, weights),
            example.scale,
        ),
        occupancy=Occupancy.of(_array(found.occupancy())),
        gates=_array(found.write_gate)[0].max(-1),  # (T, H, K) -> (T, H)
        unit=unit,
        ranking=ranking,
    )


def cells_in_use(model: SequenceModel, example: Example, block: int) -> Occupancy:
    """Writes per cell of one block over one example of any length."""
    found = trace_model(model, torch.from_numpy(example.inputs)[None])[block]
    if found is None:
        raise ValueError(f"block: expected one with a memory, got {block}")
    return Occupancy.of(_array(found.occupancy()))


def _choose(
    traces: dict[int, LayerTrace], example: Example, head: int | None
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """-> the ranking of a `View`, and the provenance (T, S) of its first head; of equals, the last
    block and its first head comes first."""
    known = [(step, where) for step, where in targets(example) if len(where)]
    found: list[tuple[float, int, int, np.ndarray]] = []
    for block, seen in traces.items():
        heads = seen.write_gate.shape[2]
        if head is not None and not 0 <= head < heads:
            raise ValueError(f"head: expected 0 … {heads - 1}, got {head}")
        for one in range(heads) if head is None else (head,):
            weights = _array(seen.provenance(one))[0]
            met = float(np.mean([weights[t, s].sum() for t, s in known])) if known else 0.0
            found.append((met, block, one, weights))
    found.sort(key=lambda one: (-one[0], -one[1], one[2]))
    return [(block, one) for _, block, one, _ in found], found[0][3]


def targets(example: Example) -> list[tuple[int, np.ndarray]]:
    """For each question its step, and the steps before it that hold the right answer: the one at
    which it was written, or, if that is not known, those whose input is the answer itself."""
    found = []
    for question in example.questions:
        where = np.zeros(0, dtype=np.int64)
        if question.written is not None:
            where = np.array([question.written])
        elif example.inputs.ndim == 1 and question.expected is not None:
            where = np.flatnonzero(example.inputs[: question.step + 1] == question.expected)
        found.append((question.step, where))
    return found


def _answers(
    model: SequenceModel, task: Task, example: Example, weights: np.ndarray
) -> list[Answer]:
    """The answer to each question. weights: (T, S), the provenance of every read."""
    return [
        Answer(
            step=question.step,
            expected=None if question.expected is None else answer_text(task, question.expected),
            answered=answer_text(task, answered),
            weight=weights[question.step].tolist(),
            written=question.written,
            error=error_of(question, answered),
        )
        for question, answered in zip(example.questions, answers(model, task, example)[0])
    ]


def answers(
    model: SequenceModel, task: Task, example: Example
) -> tuple[list[int | np.ndarray], Tensor]:
    """What a model answers to each of Q questions: a token or class, bits, or numbers in the unit
    of their column; and the outputs (Q, O) that say so."""
    with torch.no_grad():
        hidden, _ = model.hidden(torch.from_numpy(example.inputs)[None])
        outputs = model.head(hidden[0, [q.step for q in example.questions]]).float()
    if example.scale is not None:
        assert isinstance(task, Table)  # no other task tells numbers
        told = outputs.double().numpy() * task.fitted.unit
        return [row + q.origin for row, q in zip(told, example.questions)], outputs
    one_of = bool(task.vocab_size or task.classes)
    return list((outputs.argmax(-1) if one_of else (outputs > 0).long()).numpy()), outputs


def error_of(question: Question, answer: int | np.ndarray) -> float | None:
    """The mean distance of numbers from the right ones, as far as these are known."""
    if question.origin is None or question.expected is None:
        return None
    return float(np.nanmean(np.abs(answer - question.expected)))


def answer_text(task: Task, answer: int | np.ndarray) -> str:
    """A token, a class, bits or numbers as they are shown."""
    if isinstance(task, Table):
        if task.classes:
            return task.fitted.classes[int(answer)]
        return ", ".join("?" if np.isnan(x) else number_text(x) for x in np.atleast_1d(answer))
    if np.ndim(answer):
        return "".join(str(int(bit)) for bit in np.asarray(answer))
    return token_label(task, int(answer))


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    return values.float().numpy() if values.is_floating_point() else values.numpy()
