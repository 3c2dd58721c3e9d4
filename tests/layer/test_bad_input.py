"""Bad input: one sentence that names the argument, what came and what was expected."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from ramgru import RAMGRU


def make(**options: Any) -> RAMGRU:
    made = {"memory_size": 16, "num_heads": 2, "top_k": 2, "batch_first": True, **options}
    return RAMGRU(3, 4, **made)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"top_k": 17}, ValueError, "top_k: expected at most memory_size = 16, got 17"),
        ({"top_k": 0}, ValueError, "top_k: expected at least 1, got 0"),
        ({"top_k": 2.0}, TypeError, "top_k: expected an int, got float"),
        ({"memory_size": 0}, ValueError, "memory_size: expected at least 1, got 0"),
        ({"memory_size": 1e6}, TypeError, "memory_size: expected an int, got float"),
        ({"memory_size": 2**62}, ValueError, f"memory_size: expected at most {2**40}, got {2**62}"),
        ({"num_heads": 0}, ValueError, "num_heads: expected at least 1, got 0"),
        ({"num_heads": "2"}, TypeError, "num_heads: expected an int, got str"),
        ({"head_size": 0}, ValueError, "head_size: expected at least 1, got 0"),
        ({"head_size": -3}, ValueError, "head_size: expected at least 1, got -3"),
        ({"parts": 0}, ValueError, "parts: expected at least 1, got 0"),
        ({"parts": True}, TypeError, "parts: expected an int, got bool"),
        ({"address_size": 0}, ValueError, "address_size: expected at least 2, got 0"),
        ({"address_size": 1}, ValueError, "address_size: expected at least 2, got 1"),
        ({"tape_heads": -1}, ValueError, "tape_heads: expected at least 0, got -1"),
        ({"tape_heads": 2.0}, TypeError, "tape_heads: expected an int, got float"),
        (
            {"num_heads": 2, "tape_heads": 2},
            ValueError,
            "tape_heads: expected 0 or more, and fewer than num_heads = 2, got 2",
        ),
        (
            {"num_heads": 2, "tape_heads": 1, "top_k": 1},
            ValueError,
            "tape_heads: expected top_k and memory_size of at least 2, .* got 1 and 16",
        ),
        ({"gate_bias": "1"}, TypeError, "gate_bias: expected a number, got str"),
        ({"gate_bias": math.nan}, ValueError, "gate_bias: expected a finite number, got nan"),
        ({"learn_context": "no"}, TypeError, "learn_context: expected a bool, got str"),
        ({"learn_initial": 1}, TypeError, "learn_initial: expected a bool, got int"),
        ({"window": 0}, ValueError, "window: expected at least 1, got 0"),
        ({"offsets": (4,), "window": 4}, ValueError, "window: expected at least 5, .* got 4"),
        ({"spans": (3, 2), "window": 3}, ValueError, "window: expected at least 4, .* got 3"),
        ({"offsets": (-1,)}, ValueError, r"offsets: .* at least 0, got \(-1,\)"),
        ({"offsets": ()}, ValueError, r"offsets: .* at least 0, got \(\)"),
        ({"spans": (0,)}, ValueError, r"spans: .* at least 1, got \(0,\)"),
        ({"skips": [1.5]}, ValueError, r"skips: .* at least 0, got \[1.5\]"),
        ({"gate": "vector"}, ValueError, "gate: expected 'scalar' or 'cell', got 'vector'"),
        ({"gate_range": (0.5, 0.5)}, ValueError, r"gate_range: expected low < high"),
        ({"gate_range": 1}, TypeError, "gate_range: expected two numbers, got int"),
        ({"offsets": 1}, TypeError, "offsets: expected a tuple of int, got int"),
        ({"write_rule": "add"}, ValueError, r"write_rule: expected one of .*'delta'.*, got 'add'"),
        ({"controller": "lstm"}, ValueError, r"controller: expected one of .* got 'lstm'"),
        (
            {"candidate_activation": "relu"},
            ValueError,
            "candidate_activation: expected 'identity' or 'tanh', got 'relu'",
        ),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("memory_size", "parts", "cells", "shown"), [(17, 2, 20, "5 x 4"), (1000003, 3, 1010000, "")]
)
def test_a_size_without_factors_is_rounded_up_and_says_so(
    memory_size: int, parts: int, cells: int, shown: str
) -> None:
    with pytest.warns(UserWarning, match=rf"memory_size={memory_size} is rounded up to") as said:
        layer = make(memory_size=memory_size, parts=parts)
    assert layer.memory_size >= memory_size
    assert f"{layer.memory_size} = {shown}" in str(said[0].message)
    assert layer.memory_size <= cells
    last = torch.full((1, 2), layer.memory_size - 1)  # every one of them can be named
    layer(torch.zeros(1, 2, 3), layer.initial_state(1), write_index=last, read_index=last)


@pytest.mark.parametrize("name", ["write_index", "read_index"])
@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (torch.full((2, 5), 16), IndexError, r"cells in \[0, memory_size = 16\).*, got 16"),
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
    ],
    ids=["long", "negative", "float", "bool", "many", "one"],
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
    layer = make()
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]"):
        layer(torch.zeros(2, 5, 3), layer.initial_state(3))
    with pytest.raises(ValueError, match="state: expected one of this layer"):
        layer(torch.zeros(2, 5, 3), make(memory_size=25).initial_state(2, dense=True))
    with pytest.raises(ValueError, match="state: expected one of this layer"):
        layer(torch.zeros(2, 5, 3), make(num_heads=1).initial_state(2))
    with pytest.raises(ValueError, match="state: expected one of this layer"):
        layer(torch.zeros(2, 5, 3), make(window=2, offsets=(0,)).initial_state(2))
    packed = pack_sequence([torch.zeros(2, 3), torch.zeros(5, 3)], enforce_sorted=False)
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 4\), got \[1, 1, 4\]"):
        layer(packed, layer.initial_state(1))
