"""Bits held against the channel; memory capacity of delay lines and leaky integrators."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ramgru.lab import tasks
from ramgru.lab.evaluate import bits_held, information, memory_capacity
from ramgru.lab.evaluate.capacity import short_term_memory
from ramgru.lab.peers import PEERS
from ramgru.lab.train import ModelConfig, build_model


@pytest.mark.parametrize("values", [2, 3, 4096, 2**20])
def test_always_right_gives_the_whole_value_and_chance_nothing(values):
    assert information(1.0, values) == pytest.approx(math.log2(values))
    assert information(1 / values, values) == pytest.approx(0.0, abs=1e-9)
    assert information(0.0, values) == 0.0
    assert bits_held(16, 1.0, 1 / values) == pytest.approx(16 * math.log2(values))


def test_a_single_possible_value_carries_nothing():
    assert information(1.0, 1) == 0.0


def test_of_two_values_it_is_the_binary_symmetric_channel():
    entropy = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert information(0.9, 2) == pytest.approx(1 - entropy)


@given(values=st.integers(2, 50), accuracy=st.floats(0.0, 1.0))
def test_it_is_the_mutual_information_of_the_channel(values, accuracy):
    """Computed from the channel's matrix, above chance."""
    if accuracy * values <= 1:
        assert information(accuracy, values) == 0.0
        return
    wrong = (1 - accuracy) / (values - 1)
    terms = [p * math.log2(p * values) for p in (accuracy, *[wrong] * (values - 1)) if p > 0]
    assert information(accuracy, values) == pytest.approx(math.fsum(terms), abs=1e-9)


def test_it_grows_with_accuracy():
    bits = [information(p / 100, 100) for p in range(1, 101)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]


@pytest.mark.parametrize(
    ("accuracy", "values", "message"),
    [(1.1, 4, "accuracy: expected a number in"), (0.5, 0.5, "values: expected at least 1, got")],
)
def test_what_is_no_channel_is_refused(accuracy, values, message):
    with pytest.raises(ValueError, match=message):
        information(accuracy, values)


def noise_of(steps: int, delays: int, seed: int = 0) -> Tensor:
    """16 sequences, of which 8 have `steps` steps after the first 2 · delays."""
    source = torch.Generator().manual_seed(seed)
    shape = 16, 2 * delays + steps // 8
    return torch.rand(*shape, dtype=torch.float64, generator=source) - 0.5


def delay_line(noise: Tensor, length: int) -> Tensor:
    """Units that hold the last `length` inputs before this one, exactly: (B, T, length)."""
    held = [
        torch.nn.functional.pad(noise, (k, 0))[:, : noise.shape[1]] for k in range(1, 1 + length)
    ]
    return torch.stack(held, dim=-1)


def test_a_delay_line_of_32_steps_holds_32():
    noise = noise_of(8192, delays=48)
    capacity, curve = short_term_memory(delay_line(noise, 32), noise, 48)
    assert capacity == pytest.approx(32, abs=1e-9)
    assert curve[1:33] == pytest.approx([1.0] * 32, abs=1e-12)
    assert max(curve[33:]) < 0.01
    assert curve[0] < 0.01  # the input of this step has not been delayed


def test_a_rotated_delay_line_holds_as_much():
    """A readout combines units, also along directions a millionth as large."""
    mix = torch.randn(32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mix = mix @ torch.diag(torch.logspace(0, -6, 32, dtype=torch.float64))
    noise = noise_of(8192, delays=40)
    capacity, _ = short_term_memory(delay_line(noise, 32) @ mix, noise, 40)
    assert capacity == pytest.approx(32, abs=1e-6)


def test_units_that_say_the_same_count_once():
    noise = noise_of(8192, delays=10)
    capacity, _ = short_term_memory(delay_line(noise, 5).repeat(1, 1, 3), noise, 10)
    assert capacity == pytest.approx(5, abs=1e-9)


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_leaky_integrator_has_its_analytic_curve(keep):
    """r²(k) = a²ᵏ (1 − a²), whose sum from k = 1 on is a²."""
    noise, h, units = noise_of(20_000, delays=20), torch.zeros(16, 1), []
    for step in noise.unsqueeze(-1).unbind(1):
        h = keep * h + step
        units.append(h)
    capacity, curve = short_term_memory(torch.stack(units, 1), noise, 20)
    for k, r2 in enumerate(curve):
        wanted = keep ** (2 * k) * (1 - keep**2)
        assert r2 == pytest.approx(wanted, abs=4 * (math.sqrt(wanted) + 0.01) / math.sqrt(20_000))
    assert capacity == pytest.approx(keep**2, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_units_without_memory_hold_nothing(seed):
    """Unrelated series in 64 units, although the small r² of a hundred delays add up."""
    noise, source = noise_of(2000, 100, seed), torch.Generator().manual_seed(100 + seed)
    unrelated = torch.randn(*noise.shape, 64, dtype=torch.float64, generator=source)
    capacity, curve = short_term_memory(unrelated, noise, 100)
    assert capacity == 0
    assert 0.5 < sum(curve[1:]) * 2000 / 100 < 1.5  # what a bare sum would add up
    capacity, curve = short_term_memory(noise.new_zeros(*noise.shape, 2), noise, 10)
    assert (capacity, max(curve)) == (0, 0)


@pytest.mark.parametrize("layer", ["ramgru", *PEERS])
def test_no_model_holds_more_than_its_units(layer):
    torch.manual_seed(0)
    model = build_model(ModelConfig(layer=layer, d_model=8, num_layers=1), tasks.get("parity"))
    capacity = memory_capacity(model.eval())
    assert 0 < capacity <= 8
    assert capacity == memory_capacity(model, tokens=32_768)
    assert memory_capacity(model, tokens=4096) == pytest.approx(capacity, abs=1e-3)


def test_models_over_features():
    model = build_model(ModelConfig(layer="gru", d_model=8), tasks.get("copy"))
    assert 0 < memory_capacity(model.eval()) <= 8
