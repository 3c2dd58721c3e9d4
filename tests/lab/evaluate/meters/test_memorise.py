"""Bits in weights: a table that stores exactly n bits, luck, and a network that learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ramgru.lab.evaluate.meters.memorise import Practice, memorise, stored
from ramgru.lab.evaluate.meters.random_map import RandomMap
from ramgru.lab.tasks import IGNORE
from ramgru.lab.train import ModelConfig, build_model, count_parameters


class Table(nn.Module):
    """One weight an item of `task`, whose sign is the answer: it holds `known` labels by heart.

    Each other item is answered wrongly as often as rightly.
    """

    layers: tuple[Any, ...] = ()

    def __init__(self, task: RandomMap, known: int) -> None:
        super().__init__()
        batch = task.all()
        self.keys = torch.from_numpy(batch.inputs[:, -1])
        signs = 2.0 * torch.from_numpy(batch.labels[:, -1, 0]) - 1
        signs[known::2] *= -1
        self.weight = nn.Parameter(signs)

    def hidden(self, src: Tensor, state: Any, **ragged: Any) -> tuple[Tensor, Any]:
        same = (src[:, :, None] == self.keys).all(-1)  # (B, T, items)
        return same.float() @ self.weight[:, None], state

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


@pytest.mark.parametrize("items", [2, 64, 300])
def test_a_table_of_n_bits_stores_n_bits(items):
    task = RandomMap(items=items, map_seed=3)
    found = stored(Table(task, known=items), task)
    assert (found.accuracy, found.bits, found.bits_per_parameter) == (1.0, items, 1.0)


def test_a_table_that_guesses_stores_nothing():
    task = RandomMap(items=64)
    found = stored(Table(task, known=0), task)
    assert (found.accuracy, found.bits) == (0.5, 0.0)


def test_a_table_that_guesses_half_stores_what_its_channel_carries():
    task = RandomMap(items=64)
    found = stored(Table(task, known=32), task)
    assert found.accuracy == 0.75
    assert found.bits == pytest.approx(64 * (1 + 0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))


def test_items_are_fixed_and_labels_are_coins():
    task = RandomMap(items=4000, width=3, length=2)
    batch, drawn = task.all(), task.draw(50, 1)
    assert batch.inputs.shape == (4000, 2, 3)
    assert len(np.unique(batch.inputs[:, -1, 0])) == 4000
    assert (batch.labels[:, :-1] == IGNORE).all()
    assert batch.labels[:, -1].mean() == pytest.approx(0.5, abs=0.03)
    where = {row.tobytes(): i for i, row in enumerate(batch.inputs)}
    which = [where[row.tobytes()] for row in drawn.inputs]
    np.testing.assert_array_equal(drawn.labels, batch.labels[which])
    np.testing.assert_array_equal(task.draw(50, 1).inputs, drawn.inputs)
    assert not np.array_equal(RandomMap(items=4000, map_seed=1).all().inputs[0], batch.inputs[0])


@pytest.mark.parametrize("layer", ["gru", "ramgru"])
def test_a_small_network_learns_a_few_items_and_not_many(layer):
    """Bits are no more than items; of many items it holds a part alone."""
    before = torch.get_num_threads()
    model = ModelConfig(layer=layer, d_model=4, num_layers=1)
    effort = Practice(steps=150, batch_size=32, lr=0.03, length=2, width=4, threads=1)
    try:
        few, many = memorise(model, 8, effort), memorise(model, 2048, effort)
        assert few == memorise(model, 8, effort)
    finally:
        torch.set_num_threads(before)
    task = RandomMap(items=8, width=4, length=2)
    assert few.parameters == many.parameters == count_parameters(build_model(model, task))
    assert few.accuracy == 1
    assert few.bits == 8
    assert many.accuracy < 0.7
    assert many.bits_per_parameter == many.bits / many.parameters < 1


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Practice(steps=0)
    with pytest.raises(ValueError, match="items must be at least 1, got 0"):
        RandomMap(items=0)
