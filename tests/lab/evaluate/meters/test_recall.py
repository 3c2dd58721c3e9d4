"""Bits for state: of models that are always right, and of untrained ones."""

from __future__ import annotations

import math

import pytest
import torch

from ramgru.errors import RamgruError
from ramgru.lab import tasks
from ramgru.lab.evaluate import Effort, Row
from ramgru.lab.evaluate.meters.recall import recall, recalled
from ramgru.lab.train import ModelConfig, build_model

EFFORT = Effort(questions=64, examples=2, max_length=128)
TASK = tasks.get("mqar", vocab_size=64, pairs=4, length=64)


def test_a_row_that_is_right_holds_all_its_values():
    row = Row({"pairs": 16}, 1.0, 100, 0.9, 1.0, chance=1 / 4096, plateau=None, exact=1.0, loss=0.0)
    found = recalled(row, state_bytes=48)
    assert found.bits == pytest.approx(16 * 12)
    assert found.state_bits == 8 * 48
    assert found.bits_per_state_bit == pytest.approx(0.5)


def test_untrained_models_hold_nothing_for_the_state_they_have():
    torch.manual_seed(0)
    model = build_model(ModelConfig(layer="gru", d_model=8, num_layers=1), TASK).eval()
    seen = []
    found = recall(model, TASK, EFFORT, on_row=seen.append)
    assert [one.axes["pairs"] for one in found] == [4, 8, 16]
    assert [row.axes for row in seen] == [one.axes for one in found]
    for one in found:
        assert one.state_bits == 32 * 8
        assert one.bits < one.axes["pairs"] * math.log2(32) / 4


def test_state_that_grows_is_that_of_each_size():
    task = tasks.get("mqar", vocab_size=256, pairs=4, length=64)
    model = build_model(ModelConfig(layer="attention", d_model=8, num_layers=1), task).eval()
    found = recall(model, task, Effort(questions=16, examples=1, max_length=256))
    bits = {one.axes["length"]: one.state_bits for one in found}
    assert set(bits) == {64, 256}
    assert bits[256] - bits[64] == 32 * (256 - 64) * model.state_growth


def test_tasks_without_pairs_are_refused():
    task = tasks.get("parity")
    model = build_model(ModelConfig(layer="gru", d_model=8, num_layers=1), task)
    with pytest.raises(RamgruError, match="no size of parity that may be asked has any"):
        recall(model, task, EFFORT)
