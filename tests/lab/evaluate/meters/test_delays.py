"""Short-term memory capacity where it is known: delay lines, leaky integrators, nothing at all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ramgru import RAMGRU
from ramgru.lab import tasks
from ramgru.lab.evaluate.meters import short_term_memory, through_layer, through_model
from ramgru.lab.peers import PEERS
from ramgru.lab.train import ModelConfig, build_model


class DelayLine(nn.Module):
    """Outputs the last `steps` inputs of its first channel, without the one that comes in."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = x.new_zeros(x.shape[0], self.steps)
        line = torch.cat([state, x[..., 0]], 1)
        return line.unfold(1, self.steps, 1)[:, : x.shape[1]], line[:, -self.steps :]


class Leaky(nn.Module):
    """One unit: h <- a h + x."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        h, units = x.new_zeros(x.shape[0], 1), []
        for step in x.unbind(1):
            h = self.keep * h + step
            units.append(h)
        return torch.stack(units, 1), h


ONE = torch.ones(1)


def test_a_delay_line_of_32_steps_holds_32():
    found = short_term_memory(through_layer(DelayLine(32), ONE), delays=48)
    assert found.capacity == pytest.approx(32, abs=1e-9)
    assert found.units == 32
    assert found.curve[1:33] == pytest.approx([1.0] * 32, abs=1e-12)
    assert max(found.curve[33:]) < found.limit
    assert found.curve[0] < found.limit  # what has just come in has not been delayed


def test_a_rotated_delay_line_holds_as_much():
    """Readouts find what no single unit shows, also along directions of a millionth the size."""
    mix = torch.randn(32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mix = mix @ torch.diag(torch.logspace(0, -6, 32, dtype=torch.float64))
    line = through_layer(DelayLine(32), ONE)
    found = short_term_memory(lambda noise: line(noise) @ mix, delays=40)
    assert found.capacity == pytest.approx(32, abs=1e-6)


def test_units_that_say_the_same_count_once():
    line = through_layer(DelayLine(5), ONE)
    found = short_term_memory(lambda noise: line(noise).repeat(1, 1, 3), delays=10)
    assert (found.units, found.capacity) == (15, pytest.approx(5, abs=1e-9))


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_leaky_integrator_has_its_analytic_curve(keep):
    """r²(k) = a²ᵏ (1 − a²), which from k = 1 on sums to a²."""
    found = short_term_memory(through_layer(Leaky(keep), ONE), delays=20, steps=20_000)
    for k, r2 in enumerate(found.curve):
        wanted = keep ** (2 * k) * (1 - keep**2)
        assert r2 == pytest.approx(wanted, abs=4 * (math.sqrt(wanted) + 0.01) / math.sqrt(20_000))
    assert found.capacity == pytest.approx(keep**2, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_what_does_not_remember_holds_nothing(seed):
    """Though the small r² of a hundred delays add up: unrelated series, 64 units."""
    source = torch.Generator().manual_seed(100 + seed)

    def unrelated(noise: Tensor) -> Tensor:
        return torch.randn(*noise.shape, 64, dtype=torch.float64, generator=source)

    found = short_term_memory(unrelated, delays=100, steps=2000, seed=seed)
    assert found.capacity == 0
    assert 0.5 < sum(found.curve[1:]) * found.steps / 100 < 1.5  # what a bare sum would add up
    silent = short_term_memory(lambda noise: noise.new_zeros(*noise.shape, 2), delays=10)
    assert (silent.capacity, max(silent.curve)) == (0, 0)


@pytest.mark.parametrize("layer", ["ramgru", *PEERS])
def test_no_layer_holds_more_than_its_units(layer):
    torch.manual_seed(0)
    model = build_model(ModelConfig(layer=layer, d_model=8, num_layers=1), tasks.get("parity"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inside = through_layer(model.layers[0], torch.ones(8))
    for drive in (inside, through_model(model)):
        found = short_term_memory(drive, delays=24, steps=1024)
        assert 0 < found.capacity <= found.units == 8
        assert found == short_term_memory(drive, delays=24, steps=1024)
    for name, value in model.state_dict().items():  # a copy was driven
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


def test_layers_of_either_layout_and_models_over_features():
    gru = nn.GRU(3, 6)
    turned = nn.GRU(3, 6, batch_first=True)
    turned.load_state_dict(gru.state_dict())
    into = torch.tensor([1.0, 0.0, -1.0])
    found = [
        short_term_memory(through_layer(layer, into), delays=8, steps=512)
        for layer in (gru, turned)
    ]
    assert found[0] == found[1]
    layer = RAMGRU(3, 6, batch_first=True, memory_size=16)
    assert short_term_memory(through_layer(layer, into), delays=8, steps=512).units == 6
    model = build_model(ModelConfig(layer="gru", d_model=8), tasks.get("copy"))
    assert short_term_memory(through_model(model), delays=8, steps=512).capacity > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delays": 0}, "delays must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 100}, "steps must be at least 320 for 32 units, got 100"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        short_term_memory(through_layer(DelayLine(32), ONE), **options)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"projection must have shape \(C,\), got \(1, 1\)"):
        through_layer(DelayLine(2), torch.ones(1, 1))
    with pytest.raises(ValueError, match=r"drive must return units \(B, T, U\) of float64"):
        short_term_memory(lambda noise: noise.float().unsqueeze(-1))
