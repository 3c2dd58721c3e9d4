"""The measurements of a trained run: its answers, also from cells that rest in narrow numbers or
beside a memory in which the last write wins, its learning speed, the cells that kept bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ramgru import Key, QuantizedState, RAMGRUState
from ramgru.lab.evaluate import Effort, measure_at
from ramgru.lab.evaluate.sweep import FRESH
from ramgru.lab.show.view import trace_model
from ramgru.lab.tasks import Slice, Task
from ramgru.lab.tasks.hold import Hold
from ramgru.lab.tasks.mqar import MQAR
from ramgru.lab.train import log
from ramgru.lab.train.configfile import read_config
from ramgru.lab.train.data import count_answers, held_out_seed
from ramgru.lab.train.run import CONFIG, LOG, load_run
from ramgru.sequence import SequenceModel

Cell = tuple[int, int, int]  # block, head, number


def answers(run: Path, task: Task, effort: Effort) -> dict[str, float]:
    """score: share of right symbols; exact: of whole answers, and "exact KIND" for each kind.

    Tasks over bits add, per sequence, wrong: the number of wrong bits; cost: the cross-entropy in
    bits, the measure of arXiv 1410.5401. All sequences of `task` must have equally many questions.
    """
    _, _, model = load_run(run)
    found = measure_at(model, [Slice({}, task)], effort)
    row = found.rows[0]
    values = {"score": row.score, "exact": row.exact, "chance": row.chance, "asked": row.count}
    values |= {f"exact {group.name['kind']}": group.exact or 0.0 for group in found.kinds}
    if task.outputs:
        bits = count_answers(task.draw(1, 0).labels)
        values |= {"wrong": (1 - row.score) * bits, "cost": row.loss * bits / math.log(2)}
    return values


def steps_to_target(run: Path, task: Task, effort: Effort) -> dict[str, float]:
    """steps: until the held-out metric first reached the run's target; reached: 1 if it did. A run
    that never did counts all of its steps."""
    config = read_config(run / CONFIG)
    assert config.target is not None
    events = [event for event in log.read(run / LOG) if event["event"] == "evaluate"]
    steps = [event["step"] for event in events if event[task.metric] >= config.target]
    return {"steps": steps[0] if steps else config.total_steps, "reached": float(bool(steps))}


def beside_last_write(run: Path, task: Task, effort: Effort) -> dict[str, float]:
    """As `answers`, and last: the recall of a memory in which each token overwrites what followed
    its earlier occurrences, on other sequences of the task; gain: what the run has above it."""
    found = answers(run, task, effort)
    right = asked = draw = 0
    while asked < effort.questions:
        batch, draw = task.draw(1, held_out_seed(effort.seed, FRESH + draw)), draw + 1
        followed: dict[int, int] = {}
        for token, after, label in zip(batch.inputs[0], batch.inputs[0, 1:], batch.labels[0]):
            if label >= 0:
                right, asked = right + (followed.get(int(token)) == label), asked + 1
            followed[int(token)] = int(after)
    return {**found, "last": right / asked, "gain": found["score"] - right / asked}


def kept_cells(run: Path, task: Task, effort: Effort) -> dict[str, float]:
    """kept: share of the cells written by the pairs that hold exactly the same bits after the
    noise; cells: their number over effort.examples sequences.

    Only the first block's heads with one-step keys count: the noise has more phrases, and more
    states, than any memory has cells.
    """
    assert isinstance(task, Hold)
    _, _, model = load_run(run)
    same: list[bool] = []
    for index in range(effort.examples):
        batch = task.draw(1, held_out_seed(effort.seed, FRESH + index))
        inputs = torch.from_numpy(batch.inputs[:, : int(batch.lengths[0]) - task.pairs])
        pairs, noise = inputs.tensor_split([2 * task.pairs], dim=1)
        cells = _written(model, pairs)
        with torch.no_grad():
            _, state = model.hidden(pairs)
            before = _bits(state, cells)
            for piece in noise.split(effort.tokens, dim=1):
                _, state = model.hidden(piece, state)
        same += [torch.equal(a, b) for a, b in zip(before, _bits(state, cells))]
    return {"kept": sum(same) / len(same), "cells": len(same)}


def resting_in_bfloat16(run: Path, task: Task, effort: Effort) -> dict[str, float]:
    """As `answers` on MQAR, where cells rest as bfloat16 between the pairs and the questions."""

    def rounded(state: RAMGRUState) -> RAMGRUState:
        memory = (replace(m, rows=m.rows.bfloat16().to(m.rows)) for m in state.memory)
        return replace(state, memory=tuple(memory))

    return _rested(run, task, effort, rounded, 2.0)


def resting_in_int8(run: Path, task: Task, effort: Effort) -> dict[str, float]:
    """The same with 8-bit integers, and one bfloat16 a cell that scales them."""
    return _rested(run, task, effort, lambda state: QuantizedState.of(state).dequantize(), 1.0)


def _rested(
    run: Path,
    task: Task,
    effort: Effort,
    rounded: Callable[[RAMGRUState], RAMGRUState],
    each: float,
) -> dict[str, float]:
    """score, and state_bytes where a number of a cell has `each` bytes."""
    assert isinstance(task, MQAR)
    _, _, model = load_run(run)
    right = asked = drawn = 0
    while asked < effort.questions:
        batch = task.draw(4, held_out_seed(effort.seed, FRESH + drawn))
        inputs, labels = torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels)
        pairs, rest = inputs.tensor_split([2 * task.pairs], dim=1)
        labels = labels[:, 2 * task.pairs :]
        with torch.no_grad():
            _, state = model.hidden(pairs)
            hidden, _ = model.hidden(rest, [*map(rounded, state)])
            found = model.head(hidden[labels >= 0]).argmax(-1)
        right += int((found == labels[labels >= 0]).sum())
        asked, drawn = asked + found.numel(), drawn + 1
    numbers = scales = 0
    for layer in model.layers:
        cells = len(layer.memory.heads) * layer.memory.cells
        numbers += cells * layer.memories[0].row_width
        scales += 2 * cells if each == 1 else 0
    state_bytes = 4 * model.state_size - (4 - each) * numbers + scales
    values = {"score": right / asked, "exact": right / asked, "chance": task.chance}
    return {**values, "asked": asked, "state_bytes": state_bytes}


def _written(model: SequenceModel, pairs: Tensor) -> list[Cell]:
    """The cells of the first block that hold the values of pairs (1, 2P)."""
    trace = trace_model(model, pairs)[0]
    assert trace is not None
    index, opened = trace.write_index[0, 1::2], trace.write_gate[0, 1::2] > 0  # (P, H, K)
    heads = model.layers[0].memory.heads
    return sorted(
        {(0, h, int(index[p, h, k])) for p, h, k in opened.nonzero().tolist() if heads[h] == Key()}
    )


def _bits(state: list, cells: list[Cell]) -> list[Tensor]:
    """The contents of each cell as integers, so that only equal bits compare equal."""
    rows = (state[block].memory[0].row(number, 0, head) for block, head, number in cells)
    return [row.clone().view(torch.int32) for row in rows]
