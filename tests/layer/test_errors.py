"""Bad input: one sentence that names the argument, the value that came and the expected ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from ramgru import RAMGRU, Memory

MEMORY = Memory(cells=16, heads=2, reads=2)


def make(memory: Any = MEMORY, **options: Any) -> RAMGRU:
    return RAMGRU(3, 4, memory=memory, **{"batch_first": True, **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"memory": 4096}, TypeError, r"memory: expected a ramgru.Memory, .* got int: 4096"),
        ({"memory": "key"}, TypeError, r"memory: expected a ramgru.Memory, .* got str: 'key'"),
        ({"controller": "lstm"}, ValueError, r"controller: expected one of .* got 'lstm'"),
        ({"carry": "tensor"}, ValueError, r"carry: expected one of .* got 'tensor'"),
        ({"gru_kernel": "fast"}, ValueError, r"gru_kernel: expected one of .* got 'fast'"),
        ({"write_rule": "delta"}, TypeError, "RAMGRU has no argument 'write_rule'"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every: expected at least 1 step, got 0"),
        ({"checkpoint_every": 2.0}, TypeError, "checkpoint_every: expected an int .* got float"),
        ({"checkpoint_every": True}, TypeError, "checkpoint_every: expected an int .* got bool"),
        (
            {"checkpoint_every": 8, "bidirectional": True},
            ValueError,
            "checkpoint_every: expected one direction",
        ),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.parametrize("name", ["write_index", "read_index"])
@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (torch.full((2, 5), 16), IndexError, r"cells in \[0, Memory.cells = 16\).*, got 16"),
        (torch.full((2, 5), -2), IndexError, r"-1 for no access, got -2"),
        (torch.zeros(2, 5), TypeError, "expected int64, got torch.float32"),
        (torch.zeros(2, 5, dtype=torch.int32), TypeError, "expected int64, got torch.int32"),
        (torch.zeros(2, 4).long(), ValueError, r"2 sequences and 5 steps.* got shape \(2, 4\)"),
        ([[1] * 5] * 2, TypeError, "expected a tensor of int64, got list"),
        (torch.zeros(5).long(), ValueError, r"got shape \(5,\)"),
        (torch.zeros(2, 5, 3).long(), ValueError, r"\(2,\) heads .* got shape \(2, 5, 3\)"),
        (torch.zeros(2, 5, 2, 0).long(), ValueError, r"got shape \(2, 5, 2, 0\)"),
        (torch.zeros(2, 5, 2, 1, 1).long(), ValueError, r"got shape \(2, 5, 2, 1, 1\)"),
    ],
    ids=["high", "low", "float", "int32", "steps", "list", "batch", "heads", "empty", "deep"],
)
def test_addresses(name: str, index: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"{name}: .*{message}"):
        make()(torch.zeros(2, 5, 3), **{name: index})


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        (torch.tensor([6, 1]), ValueError, r"in \[0, 5\], the steps of the input, got 6"),
        (torch.tensor([1, -1]), ValueError, r"in \[0, 5\], the steps of the input, got -1"),
        (torch.tensor([1.0, 2.0]), TypeError, "expected integers, got torch.float32"),
        (torch.tensor([True, False]), TypeError, "expected integers, got torch.bool"),
        (torch.tensor([1, 2, 3]), ValueError, r"expected shape \(2,\), got \(3,\)"),
        (torch.tensor(3), ValueError, r"expected shape \(2,\), got \(\)"),
        ("53", TypeError, "expected integers, got '53'"),
    ],
    ids=["long", "negative", "float", "bool", "many", "one", "text"],
)
def test_lengths(lengths: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"lengths: .*{message}"):
        make()(torch.zeros(2, 5, 3), lengths=lengths)


@pytest.mark.parametrize(
    ("reset", "error", "message"),
    [
        (torch.zeros(2, 5), TypeError, "expected bool, got torch.float32"),
        ([[True] * 5] * 2, TypeError, "expected a tensor of bool, got list"),
        (torch.zeros(5, 2).bool(), ValueError, r"2 sequences and 5 steps, got shape \(5, 2\)"),
        (torch.zeros(2).bool(), ValueError, r"got shape \(2,\)"),
    ],
    ids=["float", "list", "swapped", "short"],
)
def test_reset(reset: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"reset: .*{message}"):
        make()(torch.zeros(2, 5, 3), reset=reset)


@pytest.mark.parametrize("input", [[[1.0, 2.0, 3.0]], np.zeros((2, 5, 3)), None], ids=type)
def test_input_that_is_no_tensor(input: Any) -> None:
    with pytest.raises(TypeError, match=f"input: expected a tensor .*, got {type(input).__name__}"):
        make()(input)


def test_step() -> None:
    layer = make()
    with pytest.raises(ValueError, match=r"input: expected shape \(B, 3\), got \(2, 1, 3\)"):
        layer.step(torch.zeros(2, 1, 3))
    with pytest.raises(RuntimeError, match="Expected 3, got 4"):
        layer.step(torch.zeros(2, 4))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 3, 4\)"):
        layer.step(torch.zeros(3, 3), layer.initial_state(2))
    with pytest.raises(ValueError, match="step: a bidirectional layer"):
        make(bidirectional=True).step(torch.zeros(2, 3))
    with pytest.raises(TypeError, match="state: expected a RAMGRUState or None, got Tensor"):
        layer.step(torch.zeros(2, 3), torch.zeros(1, 2, 4))  # type: ignore[arg-type]


def test_state_of_another_batch_or_layer() -> None:
    layer, x = make(), torch.zeros(2, 5, 3)
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]"):
        layer(x, layer.initial_state(3))
    others = [
        make(Memory(cells=25, heads=2)).initial_state(2, dense=True),
        make(Memory(cells=16, heads=1)).initial_state(2),
        make(Memory(cells=16, heads=2, width=3)).initial_state(2),
        make(Memory(cells=16, heads="key key:2")).initial_state(2),
        make(Memory(cells=16, heads="key tape")).initial_state(2),
    ]
    for state in others:
        for call in (
            lambda state=state: layer(x, state),
            lambda state=state: layer.step_(x[:, 0], state),
            lambda state=state: layer.stream(state=state),
        ):
            with pytest.raises(ValueError, match=r"state: expected one of this layer"):
                call()
    packed = pack_sequence([torch.zeros(2, 3), torch.zeros(5, 3)], enforce_sorted=False)
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 4\), got \[1, 1, 4\]"):
        layer(packed, layer.initial_state(1))


HX = torch.zeros(1, 2, 4)


@pytest.mark.parametrize(
    ("hx", "error", "message"),
    [
        ((HX, HX), TypeError, r"got two tensors, as an LSTM's \(h_0, c_0\): give h_0 alone"),
        ([HX], TypeError, "a RAMGRUState or None, got list$"),
        ([[0.0] * 4], TypeError, "a RAMGRUState or None, got list$"),
        (np.zeros((1, 2, 4)), TypeError, "got numpy.ndarray; torch.from_numpy makes it one"),
        (0, TypeError, "a RAMGRUState or None, got int$"),
        ("zeros", TypeError, "a RAMGRUState or None, got str$"),
        ({"hidden": HX}, TypeError, "a RAMGRUState or None, got dict$"),
        ((HX, ((HX,),)), ValueError, "expected 3 tensors for the memory of a layer, got 1"),
        ((HX, ((1, 2, 3),)), TypeError, "a RAMGRUState or None, got tuple$"),
        ((HX, (HX, HX)), TypeError, "a RAMGRUState or None, got tuple$"),
        ((HX, ((HX,) * 3,)), ValueError, r"expected cells .* got shapes \(1, 2, 4\)"),
    ],
    ids=["lstm", "list", "lists", "numpy", "number", "text", "dict"] + ["nested"] * 4,
)
def test_hx(hx: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^hx: expected .*{message}|^hx: {message}"):
        make()(torch.zeros(2, 5, 3), hx)


def test_a_flat_state_as_hx_is_recognised() -> None:
    layer = make()
    flat = layer.initial_state(2).to_tensor()
    with pytest.raises(ValueError, match=r"hx: got a flat state, .* carry='flat' .*'hidden'"):
        layer(torch.zeros(2, 5, 3), flat)
    with pytest.raises(ValueError, match=r"flat: expected shape \(1, B, \d+\), got \(1, 2, 4\)"):
        make(carry="flat")(torch.zeros(2, 5, 3), HX)
