"""`checkpoint_every`: the same numbers and gradients, with less kept for backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from ramgru import RAMGRU, Memory

B, T, INPUTS, C = 3, 11, 6, 8


def layer(**options: Any) -> RAMGRU:
    torch.manual_seed(0)
    memory = Memory(cells=64, heads="key:2 tape", learned_start=True)
    return RAMGRU(INPUTS, C, batch_first=True, dtype=torch.float64, memory=memory, **options)


def run(unit: RAMGRU, every: int | None, packed: bool, lengths: Any) -> list[torch.Tensor]:
    """-> output, h_n, and the gradients of input, initial hidden vectors and parameters"""
    unit.checkpoint_every = every
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(B, T, INPUTS, dtype=torch.float64, generator=draw, requires_grad=True)
    hx = torch.randn(2, B, C, dtype=torch.float64, generator=draw, requires_grad=True)
    if packed:
        given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, h_n = unit(given, hx)
        y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=T)[0]
    else:
        y, h_n = unit(x, hx, lengths=lengths)
    loss = y.sin().sum() + h_n.cos().sum()
    return [y, h_n, *torch.autograd.grad(loss, [x, hx, *unit.parameters()])]


@pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")
@pytest.mark.parametrize("every", [1, 4, 10, 11, 50])
@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize("way", ["whole", "lengths", "empty", "packed"])
def test_pieces_change_nothing(every: int, controller: str, way: str) -> None:
    """With hidden vectors as hx; `test_paths` has the same for states, resets and addresses."""
    unit = layer(num_layers=2, controller=controller)
    lengths = {"whole": None, "empty": torch.tensor([11, 0, 2])}.get(way, torch.tensor([4, 11, 5]))
    for one, other in zip(run(unit, None, way == "packed", lengths),
                          run(unit, every, way == "packed", lengths), strict=True):  # fmt: skip
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_less_is_kept(packed: bool) -> None:
    unit = layer(controller="mingru")
    x: Any = torch.randn(1, 4096, INPUTS, dtype=torch.float64)
    if packed:
        x = pack_padded_sequence(x, torch.tensor([4096]), batch_first=True)

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

    # A checkpoint keeps its arguments outside of autograd's saved tensors, pieces of x here.
    assert kept(128) < kept(None) / 8


@pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")
@pytest.mark.parametrize("way", ["whole", "lengths", "packed"])
@pytest.mark.parametrize("long", [8, 64, T])
def test_long_sequences_are_cut_of_themselves(
    monkeypatch: pytest.MonkeyPatch, long: int, way: str
) -> None:
    """Into pieces of `long` / 2 steps of the whole batch, the numbers of a pass that is not cut."""
    unit = layer(num_layers=2)
    lengths = None if way == "whole" else torch.tensor([4, 11, 5])
    expected = run(unit, T, way == "packed", lengths)
    runs: list[int] = []
    through = type(unit)._run
    monkeypatch.setattr(
        type(unit),
        "_run",
        lambda self, x, *given: runs.append(x.shape[1]) or through(self, x, *given),
    )
    monkeypatch.setattr("ramgru.layer.LONG", long)
    for one, other in zip(expected, run(unit, None, way == "packed", lengths), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-11)
    assert max(runs) == (1 if long == 8 else T)  # 8 steps / 2 / 3 sequences
    assert len(runs) == (2 * T if long == 8 else 1)  # forward, and again in backward


def test_what_traces_or_transforms_a_long_sequence_is_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ramgru.layer.LONG", 8)
    unit, both = layer(), layer(bidirectional=True)
    x = torch.randn(2, T, INPUTS, dtype=torch.float64, requires_grad=True)
    of_a_function = torch.func.grad(lambda value: unit(value)[0].sum())(x)
    torch.testing.assert_close(of_a_function, torch.autograd.grad(unit(x)[0].sum(), x)[0])
    exported = torch.export.export(unit, (x.detach(),)).module()
    torch.testing.assert_close(exported(x.detach())[0], unit(x)[0])
    both(x)[0].sum().backward()


@pytest.mark.parametrize("every", [None, 4, 50])
@pytest.mark.parametrize("steps", [T - 6, T + 6])
@pytest.mark.parametrize("name", ["reset", "write_index", "read_index"])
def test_options_of_another_number_of_steps_are_refused(
    name: str, steps: int, every: int | None
) -> None:
    unit, kind = layer(checkpoint_every=every), torch.bool if name == "reset" else torch.int64
    with pytest.raises(ValueError, match=rf"{name}: expected .*{T} steps.* got shape .*{steps}"):
        unit(torch.zeros(B, T, INPUTS).double(), **{name: torch.zeros(B, steps, dtype=kind)})
