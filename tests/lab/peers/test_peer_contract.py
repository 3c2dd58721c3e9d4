"""The contract of all peers: one result, however a batch is cut, padded or reset."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ramgru.lab import peers
from ramgru.lab.peers.base import WIDTH, ShortConvolution

C = 6
PEERS = {
    "gru": lambda: peers.GRU(C, 9),
    "mingru": lambda: peers.MinGRU(C, 9),
    "lstm": lambda: peers.LSTM(C, 9),
    "attention": lambda: peers.Attention(C),
    "attention_rope": lambda: peers.Attention(C, 10, heads=2, positions="rope"),
    "window_attention": lambda: peers.WindowAttention(C, 9, heads=2, window=5),
    "window_attention_rope": lambda: peers.WindowAttention(C, window=33, positions="rope"),
    "window_of_one": lambda: peers.WindowAttention(C, window=1),
    "deltanet": lambda: peers.DeltaNet(C, 7, heads=2, value_size=3),
    "gated_deltanet": lambda: peers.GatedDeltaNet(C, 7, heads=2, value_size=3),
    "gated_slots": lambda: peers.GatedSlots(C, 7, heads=2, slots=3),
    "mamba2": lambda: peers.Mamba2(C, 7, heads=2, d_state=3),
    "ntm": lambda: peers.NTM(C, cells=5, width=3),
    "ntm_feedforward": lambda: peers.NTM(C, 7, cells=4, width=3, heads=2, controller="feedforward"),
    "dnc": lambda: peers.DNC(C, 7, cells=4, width=3, heads=2),
    "sparse_delta": lambda: peers.SparseDelta(C, 7, cells=9, top_k=2, heads=2, key_size=8),
}


def peer(name: str) -> Any:
    torch.manual_seed(0)
    return PEERS[name]().double()


def tensors(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else state.tensors


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, list[int], list[list[int]], list[int]]:
    """Steps, lengths, steps with a reset in each sequence, and where the batch is cut."""
    steps = draw(st.integers(1, 12) | st.integers(60, 70) | st.integers(127, 130))
    lengths = draw(st.lists(st.integers(0, steps), min_size=1, max_size=3))
    place = st.lists(st.integers(0, steps - 1), max_size=4)
    resets = [draw(place) for _ in lengths]
    return steps, lengths, resets, sorted(set(draw(place)) - {0})


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(batches())
def test_pieces_steps_and_sequences_alone_give_what_the_whole_gives(name, batch) -> None:
    steps, sizes, resets, cuts = batch
    layer, x = peer(name), torch.randn(len(sizes), steps, C, dtype=torch.float64)
    lengths, reset = torch.tensor(sizes), torch.zeros(len(sizes), steps, dtype=torch.bool)
    for b, places in enumerate(resets):
        reset[b, places] = True
    expected, after = layer(x, None, lengths=lengths, reset=reset)

    state = layer.initial_state(len(sizes))
    for start, end in zip([0, *cuts], [*cuts, steps]):
        left = (lengths - start).clamp(0, end - start)
        y, state = layer(x[:, start:end], state, lengths=left, reset=reset[:, start:end])
        for b, n in enumerate(left.tolist()):
            close(y[b, :n], expected[b, start : start + n])
    for one, other in zip(tensors(state), tensors(after)):
        close(one, other)

    for b, n in enumerate(sizes):  # each stretch between resets, on its own and in single steps
        starts = sorted({0, *(t for t in resets[b] if t < n)})
        for start, end in zip(starts, [*starts[1:], n]):
            y, _ = layer(x[b : b + 1, start:end], None)
            close(y[0], expected[b, start:end])
        state = layer.initial_state(1)
        for t in range(starts[-1], n):
            y, state = layer(x[b : b + 1, t : t + 1], state)
            close(y[0, 0], expected[b, t])


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_called_with_its_input_alone_starts_fresh(name) -> None:
    layer, x = peers.PEERS[name](8), torch.randn(2, 3, 8)
    y, state = layer(x)
    expected, after = layer(x, layer.initial_state(2))
    assert torch.equal(y, expected)
    assert all(map(torch.equal, tensors(state), tensors(after)))


@pytest.mark.parametrize("name", PEERS)
def test_a_step_is_a_sequence_of_one(name) -> None:
    layer, x = peer(name), torch.randn(3, 8, C, dtype=torch.float64)
    step = getattr(layer, "step_", layer)
    if step is layer:
        x = x.unsqueeze(2)
    expected, after = layer(x.view(3, 8, C), None)
    state = layer.initial_state(3)
    for t in range(8):
        y, state = step(x[:, t], state)
        torch.testing.assert_close(y.view(3, C), expected[:, t], rtol=0, atol=1e-12)
    for one, other in zip(tensors(state), tensors(after)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PEERS)
def test_gradients_run_through_the_state(name) -> None:
    layer, found = peer(name), []
    x = torch.randn(2, 70, C, dtype=torch.float64)
    reset = torch.zeros(2, 70, dtype=torch.bool)
    reset[0, 40] = True
    for cuts in ([], [1, 30, 66]):
        state, outputs, at = layer.initial_state(2), [], 0
        there = x.clone().requires_grad_()
        for cut in [*cuts, 70]:
            y, state = layer(there[:, at:cut], state, reset=reset[:, at:cut])
            outputs.append(y)
            at = cut
        loss = torch.cat(outputs, dim=1).sin().sum()
        found.append(torch.autograd.grad(loss, [there, *layer.parameters()]))
    for one, other in zip(*found):
        close(one, other)
        assert one.any()


@pytest.mark.parametrize("name", PEERS)
def test_no_number_of_the_padding_gets_in(name) -> None:
    layer, x = peer(name), torch.randn(2, 9, C, dtype=torch.float64)
    x[1, 4:] = torch.nan
    y, state = layer(x, None, lengths=torch.tensor([9, 4]))
    alone, after = layer(x[1:, :4], None)
    close(y[1:, :4], alone)
    assert not y[1, 4:].any()
    again = torch.randn(2, 3, C, dtype=torch.float64)
    close(layer(again, state)[0][1:], layer(again[1:], after)[0])


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)], ids=str)
def test_nothing_in_nothing_out(name, shape) -> None:
    layer, x = peer(name), torch.randn(*shape, C, dtype=torch.float64)
    y, state = layer(x, None, lengths=torch.zeros(shape[0], dtype=torch.int64))
    assert y.shape == x.shape
    for one, fresh in zip(tensors(state), tensors(layer.initial_state(shape[0]))):
        assert torch.equal(one.flatten(), fresh.flatten())


@pytest.mark.parametrize("name", PEERS)
def test_state_holds_the_floats_that_are_told(name) -> None:
    layer = peer(name)
    growth = getattr(layer, "state_growth", 0)
    for steps in (0, 5):
        _, state = layer(torch.randn(1, steps, C, dtype=torch.float64), None)
        held = sum(x.numel() for x in tensors(state) if x.is_floating_point())
        assert held == layer.state_size + steps * growth


@pytest.mark.parametrize("name", PEERS)
def test_detached_state_is_cut_off(name) -> None:
    layer, x = peer(name), torch.randn(2, 5, C, dtype=torch.float64)
    _, state = layer(x, None)
    assert any(t.requires_grad for t in tensors(state))
    cut = state.detach()
    assert not any(t.requires_grad for t in tensors(cut))
    assert torch.equal(layer(x, cut)[0], layer(x, state)[0])


@pytest.mark.parametrize("name", PEERS)
def test_lower_precision_keeps_its_state_in_full(name) -> None:
    layer, x = peer(name).float(), torch.randn(2, 70, C)
    if name.startswith("lstm") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("torch's LSTM runs in bfloat16 on no processor without AVX-512")
    with torch.autocast("cpu", torch.bfloat16):
        rough, state = layer(x[:, :40], None)
        after, state = layer(x[:, 40:], state)
    fine, _ = layer(x, None)
    assert {t.dtype for t in tensors(state)} <= {torch.float32, torch.int64}
    error = (torch.cat([rough, after], dim=1).float() - fine).norm() / fine.norm()
    assert 0 < error < 0.03


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: peers.Attention(C, heads=0), "heads: expected at least 1, got 0"),
        (
            lambda: peers.Attention(C, positions="alibi"),
            "positions: expected one .* got 'alibi'",
        ),
        (lambda: peers.WindowAttention(C, window=0), "window: expected at least 1, got 0"),
        (lambda: peers.DeltaNet(C, heads=0), "heads: expected at least 1, got 0"),
        (lambda: peers.DeltaNet(C, value_size=0), "value_size: expected at least 1, got 0"),
        (lambda: peers.GatedSlots(C, slots=0), "slots: expected at least 1, got 0"),
        (lambda: peers.Mamba2(C, d_state=0), "d_state: expected at least 1, got 0"),
        (lambda: peers.NTM(C, cells=0), "cells: expected at least 1, got 0"),
        (lambda: peers.NTM(C, controller="gru"), "controller: expected one of .* got 'gru'"),
        (lambda: peers.DNC(C, heads=0), "heads: expected at least 1, got 0"),
        (lambda: peers.SparseDelta(C, cells=15), "cells: expected a square number, got 15"),
        (lambda: peers.SparseDelta(C, cells=4, top_k=5), "top_k: expected 1 to cells = 4, got 5"),
        (lambda: peers.SparseDelta(C, key_size=5), "key_size: expected an even number .* got 5"),
        (lambda: peers.SparseDelta(C, heads=0), "heads: expected at least 1, got 0"),
    ],
)
def test_bad_options_are_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_short_convolution_is_torchs() -> None:
    layer, twin = ShortConvolution(C), nn.Conv1d(C, C, WIDTH, groups=C, bias=False)
    twin.weight.data = layer.taps.data.flip(0).T.unsqueeze(1).clone()
    x, context = torch.randn(2, 9, C), torch.randn(2, WIDTH - 1, C)
    y, after = layer(x, context, None, None)
    whole = torch.cat([context, x], dim=1)
    torch.testing.assert_close(y, twin(whole.mT).mT)
    assert torch.equal(after, x[:, -3:])
    assert (layer.taps[0] > layer.taps[1:].abs().max(0).values).float().mean() > 0.5
