"""`checkpoint_every`: the same numbers and gradients, with less kept for backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ramgru import RAMGRU, RAMGRUState

B, T, INPUTS, C = 3, 11, 6, 8


def layer(**options: Any) -> RAMGRU:
    torch.manual_seed(0)
    options = {"controller": "mingru", "memory_size": 64, **options}
    return RAMGRU(INPUTS, C, batch_first=True, dtype=torch.float64, **options)


def run(unit: RAMGRU, every: int | None, hx: Any, **given: Any) -> list[torch.Tensor]:
    """-> output, state, and the gradients of input and parameters"""
    unit.checkpoint_every = every
    unit.zero_grad()
    x = torch.randn(B, T, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    y, after = unit(x, hx, **given)
    flat = after.to_tensor() if isinstance(after, RAMGRUState) else after
    (y.sin().sum() + flat.cos().sum()).backward()
    grads = [p.grad.clone() for p in unit.parameters() if p.grad is not None]
    return [y.detach(), flat.detach(), x.grad, *grads]


@pytest.mark.parametrize("every", [1, 4, 10, 11, 50])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"controller": "gru"},
        {"num_layers": 2, "write_rule": "delta"},
        {"learn_initial": True, "memory_size": 7},
    ],
)
@pytest.mark.parametrize("start", ["fresh", "hidden", "state"])
def test_pieces_change_nothing(every, options, start):
    unit = layer(**options)
    hidden = torch.randn(unit.num_layers, B, C, dtype=torch.float64)
    hx = {"fresh": None, "hidden": hidden, "state": unit.initial_state(B)}[start]
    given = {
        "lengths": torch.tensor([T, 3, 7]),
        "reset": torch.rand(B, T, generator=torch.Generator().manual_seed(2)) < 0.2,
        "write_index": torch.randint(-1, 7, (B, T)),
        "read_index": torch.randint(-1, 7, (B, T)),
    }
    for some in ({}, {"lengths": given["lengths"], "reset": given["reset"]}, given):
        whole, cut = run(unit, None, hx, **some), run(unit, every, hx, **some)
        for one, other in zip(whole, cut, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-11)


def test_less_is_kept():
    unit = layer()
    x = torch.randn(1, 4096, INPUTS, dtype=torch.float64)

    def kept(every: int | None) -> int:
        unit.checkpoint_every = every
        storages: dict[int, int] = {}

        def pack(value: torch.Tensor) -> torch.Tensor:
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            unit(x)
        return sum(storages.values())

    # A checkpoint keeps its arguments outside of autograd's saved tensors, pieces of what is there.
    assert kept(128) < kept(None) / 8


@pytest.mark.parametrize(
    ("every", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_a_bad_number_of_steps_is_named(every, error):
    with pytest.raises(error, match="checkpoint_every"):
        RAMGRU(INPUTS, C, checkpoint_every=every)


def test_both_directions_are_refused():
    with pytest.raises(ValueError, match="checkpoint_every"):
        RAMGRU(INPUTS, C, bidirectional=True, checkpoint_every=8)
