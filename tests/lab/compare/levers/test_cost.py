"""What is measured exactly; times are not judged."""

from __future__ import annotations

import pytest
import torch

from ramgru.lab import tasks
from ramgru.lab.compare.levers import cost
from ramgru.lab.train import ModelConfig, build_model
from ramgru.lab.train.build import RAMOptions
from ramgru.trace import trace

TASK = tasks.get("mqar", vocab_size=64, pairs=4, length=16)


def model_of(**options):
    torch.manual_seed(0)
    ram = RAMOptions(**{"memory_size": 1024, "head_size": 5, **options})
    return build_model(ModelConfig(d_model=8, num_layers=2, ram=ram), TASK)


def test_touched_bytes_do_not_depend_on_the_number_of_cells():
    few, many = (model_of(memory_size=n, top_k=3, nhead=2) for n in (64, 65_536))
    # 2 layers, 2 heads, 3 cells written (read and written back) and 3 read, 5 floats of 4 bytes
    assert cost.touched_bytes(few) == cost.touched_bytes(many) == 2 * 2 * (3 + 3 + 3) * 5 * 4


@pytest.mark.parametrize("memory_size", [16, 65_536], ids=["whole table", "rows in use"])
def test_written_cells_are_those_that_a_trace_names(memory_size):
    model, batch = model_of(memory_size=memory_size), TASK.draw(1, seed=3)
    x = model.embedding(torch.from_numpy(batch.inputs))
    expected = 0
    with torch.no_grad():
        for block in model.blocks:
            _, state = trace(block.layer, block.norm(x))
            for head in range(block.layer.num_heads):
                cells = state.trace[0].write_index[:, :, head]
                expected += len(cells[state.trace[0].write_gate[:, :, head] > 0].unique())
            x, _ = block(x, None)
    assert cost.cells_written(model, batch) == expected > 8


def test_what_is_kept_for_backward_grows_with_the_sequences_and_not_with_the_cells():
    once, twice = (cost.backward_bytes(model_of(), TASK.draw(n, seed=0)) for n in (32, 64))
    assert 1.8 < twice / once < 2.2
    many = cost.backward_bytes(model_of(memory_size=2**20), TASK.draw(32, seed=0))
    assert many < 2 * once


def test_the_time_of_a_train_step_is_of_the_second_half_without_evaluations():
    def step(number, seconds):
        return {"event": "step", "step": number, "seconds": seconds}

    early = [step(10, 1.0), step(20, 100.0)]
    late = [step(30, 101.0), step(40, 102.0), {"event": "evaluate", "step": 40, "seconds": 150.0}]
    assert cost.train_us([*early, *late, step(50, 200.0), step(60, 201.0)], 50) == 2000.0
    assert cost.train_us([step(10, 1.0)], 50) is None
    assert cost.train_us([], 50) is None


def test_the_time_of_a_step_is_a_time():
    assert 0 < cost.step_us(model_of(), TASK.draw(2, seed=0), steps=20) < 1e6
