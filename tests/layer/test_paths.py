"""One result on every path: pieces, single steps, ragged, packed and reset batches, checkpoints.

Outputs, final states and gradients equal those of the whole sequence, in float64.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import (
    CONTROLLERS,
    MIXED,
    Case,
    Result,
    Run,
    Tensors,
    assert_same,
    cases,
    everything,
    whole,
)
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ramgru import RAMGRU, RAMGRUState

every_controller = pytest.mark.parametrize("controller", CONTROLLERS)


def assert_same_cut(case: Case, run: Run) -> None:
    """The same numbers in a run that cuts the sequence; gradients too, but where keys are learned:
    those come from attention over the steps of one piece."""
    gradients = "learned" not in case.heads
    assert_same(everything(case, run, gradients), everything(case, whole, gradients))


def part(options: Tensors, start: int, end: int) -> Tensors:
    """The options of the steps from start to end."""
    return {
        name: (v - start).clamp(0, end - start) if name == "lengths" else v[:, start:end]
        for name, v in options.items()
    }


def join(states: list[RAMGRUState]) -> RAMGRUState:
    """One batch of states that each hold one sequence."""
    return states[0].from_tensor(torch.cat([s.to_tensor() for s in states], dim=1))


def in_pieces(*borders: int):
    def run(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        outputs, edges = [], [0, *borders, x.shape[1]]
        for start, end in itertools.pairwise(edges):
            if start < end:
                y, state = layer(x[:, start:end], state, **part(options, start, end))
                outputs.append(y)
        return torch.cat(outputs, dim=1), state

    return run


def in_flat_pieces(border: int):
    """carry="flat": all that two calls hand over is one tensor."""

    def run(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        layer.carry, T = "flat", x.shape[1]
        cut = min(border, T)
        flat, outputs = state.to_tensor(), []
        for start, end in ((0, cut), (cut, T)):
            if start < end:
                y, flat = layer(x[:, start:end], flat, **part(options, start, end))
                outputs.append(y)
        return torch.cat(outputs, dim=1), layer.initial_state(1).from_tensor(flat)

    return run


def checkpointed(every: int):
    def run(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        layer.checkpoint_every = every
        return layer(x, state, **options)

    return run


def step_by_step(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    outputs = []
    for t in range(x.shape[1]):
        y, state = layer.step(x[:, t], state, **{name: v[:, t] for name, v in options.items()})
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def one_by_one(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    """Every sequence of a ragged batch alone, at its own length."""
    outputs, states = [], []
    for b, length in enumerate(options["lengths"].tolist()):
        rest = {name: v[b : b + 1, :length] for name, v in options.items() if name != "lengths"}
        if length:
            y, after = layer(x[b : b + 1, :length], state[b], **rest)
        else:
            y, after = x.new_zeros(1, 0, layer.output_size * layer.num_directions), state[b]
        outputs.append(torch.nn.functional.pad(y, (0, 0, 0, x.shape[1] - length)))
        states.append(after)
    return torch.cat(outputs), join(states)


def stream_by_stream(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    """Cut every sequence at its resets, and begin each part but the first with a fresh stream."""
    outputs, states = [], []
    for b in range(x.shape[0]):
        edges = sorted({0, x.shape[1], *options["reset"][b].nonzero().flatten().tolist()})
        now, ys = state[b], []
        for start, end in itertools.pairwise(edges):
            if options["reset"][b, start]:
                now = layer.initial_state(1)
            rest = {k: v[b : b + 1, start:end] for k, v in options.items() if k != "reset"}
            y, now = layer(x[b : b + 1, start:end], now, **rest)
            ys.append(y)
        outputs.append(torch.cat(ys, dim=1))
        states.append(now)
    return torch.cat(outputs), join(states)


@given(case=cases(bidirectional=False), data=st.data())
@settings(max_examples=20)
def test_any_split(case: Case, data: st.DataObject) -> None:
    borders = data.draw(st.lists(st.integers(0, case.T), max_size=3).map(sorted))
    assert_same_cut(case, in_pieces(*borders))


@given(case=cases(bidirectional=False), border=st.integers(1, 5))
@settings(max_examples=15)
def test_any_split_with_a_flat_state(case: Case, border: int) -> None:
    assert_same_cut(case, in_flat_pieces(border))


@given(case=cases(bidirectional=False), every=st.integers(1, 7))
@settings(max_examples=25)
def test_any_gradient_checkpointing(case: Case, every: int) -> None:
    assert_same_cut(case, checkpointed(every))


@given(case=cases(bidirectional=False, lengths=False))
@settings(max_examples=15)
def test_one_step_at_a_time(case: Case) -> None:
    assert_same_cut(case, step_by_step)


@given(case=cases(lengths=True, index="none"))
@settings(max_examples=20)
def test_ragged_batch(case: Case) -> None:
    assert_same(everything(case, one_by_one), everything(case, whole))


@given(case=cases(reset=False, lengths=False, index="none"), every=st.booleans(), data=st.data())
@settings(max_examples=20)
def test_packed_sequence(case: Case, every: bool, data: st.DataObject) -> None:
    """Also with gradient checkpointing, where no keys are learned."""
    drawn = st.lists(st.integers(1, case.T), min_size=case.B, max_size=case.B)
    lengths = torch.tensor(data.draw(drawn))

    def ragged(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        return layer(x, state, lengths=lengths)

    def packed(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        layer.checkpoint_every = (
            2 if every and not (case.bidirectional or "learned" in case.heads) else None
        )
        given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, after = layer(given, state)
        padded, found = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        assert torch.equal(found, lengths)
        return padded, after

    assert_same(everything(case, packed), everything(case, ragged))


@given(case=cases(bidirectional=False, reset=True, lengths=False))
@settings(max_examples=20)
def test_resets_in_the_middle(case: Case) -> None:
    assert_same(everything(case, stream_by_stream), everything(case, whole))


def renamed(layer: RAMGRU, part: str, to: str) -> Tensors:
    """The parameters and buffers whose names hold `part`, by the names with `to` in its place."""
    found = layer.state_dict().items()
    return {name.replace(part, to): value for name, value in found if part in name}


@every_controller
@pytest.mark.parametrize("reset", [False, True], ids=["", "resets"])
def test_reverse_direction_is_the_flipped_sequence(controller: str, reset: bool) -> None:
    """A layer of one direction with the reverse weights, run over the sequence back to front."""
    case = Case(T=6, heads=MIXED, controller=controller, reset=reset, bidirectional=True)
    layer, x, options = case.layer(), case.input(), case.options()
    there = replace(case, bidirectional=False).layer()
    there.load_state_dict(renamed(layer, "_reverse", ""))
    if reset:  # a border lies between the same two steps
        first = torch.zeros(case.B, 1, dtype=torch.bool)
        options["reset"] = torch.cat([first, options["reset"][:, 1:].flip(1)], dim=1)
    expected, expected_h = there(x.flip(1), **options)
    both, h_n = layer(x, **case.options())
    torch.testing.assert_close(both[..., case.C :], expected.flip(1), rtol=0, atol=1e-12)
    torch.testing.assert_close(h_n[1:], expected_h, rtol=0, atol=1e-12)


@every_controller
def test_stack_is_its_layers_one_after_the_other(controller: str) -> None:
    case = Case(T=6, C=3, L=2, heads=MIXED, controller=controller)
    layer, y, h_n = case.layer(), case.input(), []
    expected, expected_h = layer(y)
    for n in range(2):
        one = replace(case, L=1).layer()
        one.load_state_dict(renamed(layer, f"_l{n}", "_l0"))
        y, h = one(y)
        h_n.append(h)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat(h_n), expected_h, rtol=0, atol=1e-12)


def test_learned_keys_learn_from_the_steps_of_one_call() -> None:
    """A carried state brings cells, whose candidates get a gradient, but no steps to attend to."""
    case = Case(T=8, heads="learned", tag=0)
    layer, x, given = case.layer(), case.input(), case.normal(7, 2, 4, 4)
    unit = layer.memories[0]
    leaves = [unit.heads["key"].projection, unit.log_match, unit.candidate.weight]

    def gradients(output: Tensor) -> tuple[Tensor, ...]:
        loss = (output[:, -4:] * given).sum()
        return torch.autograd.grad(loss, leaves, retain_graph=True)

    state = layer(x[:, :4], layer.initial_state(2))[1]
    after, alone = (gradients(layer(x[:, 4:], s)[0]) for s in (state, state.detach()))
    whole = gradients(layer(x)[0])
    for n in (0, 1):
        assert alone[n].any()
        torch.testing.assert_close(after[n], alone[n], rtol=0, atol=1e-12)
        assert not torch.allclose(whole[n], after[n])
    assert not torch.allclose(after[2], alone[2])
