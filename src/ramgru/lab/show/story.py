"""The data of the interactive view: one input, read by a model at several moments of its training,
and the answers of a rival.

Everything is plain numbers and text, rounded as it is shown, so that the page holds it as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramgru.config import KINDS, Head
from ramgru.lab.show import rows
from ramgru.lab.show.data import Example, Question
from ramgru.lab.show.example import token_labels
from ramgru.lab.show.view import answer_text, answers, error_of, targets, trace_model
from ramgru.lab.tasks.base import Task
from ramgru.lab.tasks.table import Table
from ramgru.lab.tasks.text import TokenSource
from ramgru.sequence import SequenceModel
from ramgru.trace import LayerTrace

HEADS = 6  # most heads that the page holds
SOURCES = 6  # most writes of one read
FAINT = 0.004  # smaller weights are left out
SERIES = 4  # most channels of a drawn series

# What a head of each kind looks for, for readers who do not know the names.
LOOKS_FOR = {
    "key": "finds what followed the same input",
    "learned": "finds what came with a similar key",
    "lag": "finds what came some steps ago",
    "tape": "reads in the order of writing",
}


@dataclass(frozen=True)
class Moment:
    """A model after some steps of its training. load: its model, built when it is shown."""

    step: int
    load: Callable[[], SequenceModel]


def tell(
    task: Task,
    example: Example,
    moments: Sequence[Moment],
    ranking: Sequence[tuple[int, int]],
    rival: tuple[str, SequenceModel] | None = None,
) -> dict[str, Any]:
    """The data of live.js, as JSON values.

    moments: in the order of steps; the last is the trained model. ranking: (block, head), the most
    useful first, as `View` has it. rival: a name and a model of the same task.
    """
    heads = list(ranking)[:HEADS]
    told = [_moment(moment, task, example, heads) for moment in moments]
    right = [_text(task, q.expected) for q in example.questions]
    columns = _columns(task, example.inputs)
    story: dict[str, Any] = {
        "tokens": token_labels(task, example.inputs),
        "series": None if columns is None else list(columns.values()),
        "columns": list(columns) if columns and isinstance(task, Table) else None,
        "numbers": _scale(task, example),
        "next": isinstance(task, TokenSource),
        "steps": [q.step for q in example.questions],
        "right": right,
        "targets": [where.tolist() for _, where in targets(example)],
        "written": any(q.written is not None for q in example.questions),
        "heads": told[-1].pop("heads"),
        "moments": told,
    }
    for moment in told:
        moment.pop("heads", None)
    if rival is not None:
        name, model = rival
        story["rival"] = {"name": name, **_answers(model, task, example)}
    return story


def _moment(
    moment: Moment, task: Task, example: Example, heads: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    model = moment.load()
    traces = trace_model(model, torch.from_numpy(example.inputs)[None])
    named, seen = [], []
    for block, head in heads:
        found = traces[block]
        assert found is not None  # the ranking holds blocks with a memory alone
        kinds = _kinds(model.layers[block].memories[0].memory.heads)
        kind = kinds[head]
        named.append(
            {
                "block": block,
                "head": head,
                "kind": kind,
                "about": LOOKS_FOR.get(kind, ""),
                "cells": int(found.memory_size),
            }
        )
        seen.append(_head(found, head, [q.step for q in example.questions]))
    return {
        "step": moment.step,
        "heads": named,
        "seen": seen,
        **_answers(model, task, example),
    }


def _kinds(heads: Iterable[Head]) -> list[str]:
    """The name of each head's kind, in the order of a trace."""
    names = {kind: name for name, kind in KINDS.items()}
    return [names.get(type(head), "key") for head in heads]


def _head(trace: LayerTrace, head: int, asked: Sequence[int]) -> dict[str, Any]:
    """gate: a number a step. write: the cells of each step. from, read: for each question, [step,
    weight, …] of its largest sources and [cell, weight, …] of its cells. all: the sum of the
    weights of all writes in each read."""
    gates = _numbers(trace.write_gate[0, :, head])  # (T, K)
    index = trace.write_index[0, :, head].numpy()
    read = trace.read_index[0, :, head].numpy()
    weight = _numbers(trace.read_weight[0, :, head])
    origin = _numbers(trace.provenance(head)[0])  # (T, S)
    written = [
        sorted({int(i) for i, g in zip(*row) if i >= 0 and g > 0}) for row in zip(index, gates)
    ]
    return {
        "gate": [round(float(g), 3) for g in gates.max(-1)],
        "write": written,
        "from": [_largest(range(len(origin)), origin[t]) for t in asked],
        "all": [round(float(origin[t].sum()), 4) for t in asked],
        "read": [_largest(read[t].tolist(), weight[t]) for t in asked],
    }


def _largest(names: Sequence[int], weights: np.ndarray) -> list[float]:
    """[name, weight, name, weight, …], largest first; a name that comes twice is added up."""
    total: dict[int, float] = {}
    for name, weight in zip(names, weights.tolist()):
        if name >= 0 and weight > 0:
            total[name] = total.get(name, 0.0) + weight
    order = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))[:SOURCES]
    return [x for name, weight in order if weight >= FAINT for x in (name, round(weight, 4))]


def _answers(model: SequenceModel, task: Task, example: Example) -> dict[str, Any]:
    """said: the answer to each question. sure: the probability of the right one, where known. Of
    numbers also told, the first number of each answer, and error."""
    chosen, outputs = answers(model, task, example)
    one_of = bool(task.vocab_size or task.classes)
    found = {
        "said": [_text(task, answer) for answer in chosen],
        "sure": [_sure(row, q, one_of) for row, q in zip(outputs, example.questions)],
    }
    if example.scale is not None:
        errors = [error_of(q, answer) for q, answer in zip(example.questions, chosen)]
        found["told"] = [_rounded(answer[0]) for answer in map(np.asarray, chosen)]
        found["error"] = [None if error is None else _rounded(error) for error in errors]
    return found


def _sure(logits: Tensor, question: Question, one_of: bool) -> float | None:
    if not one_of or question.expected is None:
        return None
    return round(float(logits.softmax(-1)[int(question.expected)]), 4)


def _text(task: Task, answer: Any) -> str | None:
    return None if answer is None else answer_text(task, answer)


def _columns(task: Task, inputs: np.ndarray) -> dict[str, list[float]] | None:
    """The channels of a series of real numbers, of a table in its own units and the column that is
    told first; None for tokens and bits."""
    if isinstance(task, Table):
        columns = rows.cells(task, inputs)
        names = sorted(columns, key=lambda name: name != task.target)[:SERIES]
        return {name: [_rounded(x) for x in columns[name]] for name in names}
    if inputs.ndim == 1 or np.isin(inputs, (0, 1)).all():
        return None
    channels = enumerate(inputs.T[:SERIES])
    return {str(n): [round(float(x), 4) for x in channel] for n, channel in channels}


def _scale(task: Task, example: Example) -> dict[str, Any] | None:
    """Of answers that are numbers: the name of their column, its spread, how many rows later the
    first number of an answer stands, and the right ones."""
    if example.scale is None or not isinstance(task, Table):
        return None
    first = [None if q.expected is None else np.asarray(q.expected)[0] for q in example.questions]
    return {
        "name": example.scale.name,
        "spread": _rounded(example.scale.spread),
        "ahead": int(task.predict == "forecast"),
        "right": [None if x is None or np.isnan(x) else _rounded(x) for x in first],
    }


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().float().numpy()
