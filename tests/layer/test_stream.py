"""Streams: the numbers of `forward`, by native and by general steps, on a state of their own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import (
    MIXED,
    Case,
    Result,
    Tensors,
    assert_same,
    cases,
    everything,
    key_heads,
    whole,
)
from torch import Tensor
from torch.nn.utils import parametrizations, prune

from ramgru import RAMGRU, Lag, Memory, RAMGRUState, Tape, fast_step
from ramgru.config import heads_text
from ramgru.kernels import native
from ramgru.kernels.projection import Projection
from ramgru.stream import Stream

needs_native = pytest.mark.skipif(not native.supported(), reason="the native library is not built")
every_isa = pytest.mark.parametrize("isa", native.supported())


def make(
    seed: int = 0, inputs: int = 6, hidden: int = 8, memory: Any = None, **options: Any
) -> RAMGRU:
    torch.manual_seed(seed)
    memory = memory or Memory(cells=64, heads="key key:2")
    options = {"batch_first": True, "dtype": torch.float64, **options}
    layer = RAMGRU(inputs, hidden, memory=memory, **options)
    with torch.no_grad():  # biases and sharpness away from their even start
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@given(case=cases(bidirectional=False, lengths=False, index="none"), data=st.data())
@settings(max_examples=40)
def test_any_stream_of_steps_and_chunks(case: Case, data: st.DataObject) -> None:
    """Steps and chunks in any order equal one forward pass."""
    sizes: list[int] = []  # 0: a step
    while sum(max(size, 1) for size in sizes) < case.T:
        most = case.T - sum(max(size, 1) for size in sizes)
        sizes.append(data.draw(st.integers(0, most)))

    def run(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        stream, outputs, t = layer.stream(state=state), [], 0
        for size in sizes:
            now = {name: v[:, t : t + max(size, 1)] for name, v in options.items()}
            if size:
                outputs.append(stream.read(x[:, t : t + size], **now))
            else:
                one = stream.step(x[:, t], **{name: v[:, 0] for name, v in now.items()})
                outputs.append(one.unsqueeze(1))
            t += max(size, 1)
        return torch.cat(outputs, dim=1), stream.state

    assert_same(everything(case, run, gradients=False), everything(case, whole, gradients=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch_first", "time_first"])
def test_dtypes_and_layouts(dtype: torch.dtype, batch_first: bool) -> None:
    layer = make(dtype=dtype, batch_first=batch_first, controller="mingru")
    x = torch.randn(2, 9, 6).to(dtype)
    stream, outputs = layer.stream(2), []
    for t in range(4):
        outputs.append(stream.step(x[:, t]))
    chunk = x[:, 4:] if batch_first else x[:, 4:].transpose(0, 1)
    rest = stream.read(chunk)
    outputs += (rest if batch_first else rest.transpose(0, 1)).unbind(1)
    expected, _ = layer(x if batch_first else x.transpose(0, 1))
    expected = expected if batch_first else expected.transpose(0, 1)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.05}[dtype]
    close(torch.stack(outputs, dim=1), expected, tolerance)
    assert all(y.dtype == dtype for y in outputs)


@pytest.mark.parametrize("dense", [False, True], ids=["compact", "dense"])
def test_a_stream_owns_its_state(dense: bool) -> None:
    """A given state, and a copy that was taken, stay as they are."""
    layer, x = make(memory=Memory(cells=64, heads=MIXED, learned_start=True)), normal(2, 6, 6)
    _, given = layer(x, layer.initial_state(2, dense=dense))
    before = given.to_tensor().clone()
    stream = layer.stream(state=given)
    taken, kept = [stream.state], [before]
    for now in x.unbind(1):
        assert not stream.step(now).requires_grad
        taken.append(stream.state)
        kept.append(taken[-1].to_tensor())
    stream.read(x)
    stream.step(x[:, 0], reset=torch.tensor([True, False]))
    other = layer.stream(state=given)
    stream.join(other)
    stream.join(given)
    stream.step(normal(6, 6))
    assert torch.equal(other.state.to_tensor(), before)
    assert torch.equal(given.to_tensor(), before)
    assert given.hidden.requires_grad
    for state, expected in zip(taken, kept):
        assert torch.equal(state.to_tensor(), expected)
    taken[0].hidden.fill_(7)  # a change of a copy does not reach the stream
    assert not (stream.state.hidden == 7).any()


def test_sequences_join_and_leave_while_a_stream_runs() -> None:
    """Each has the numbers that it would have alone: of steps, dense, and of chunks, compact."""
    layer = make(num_layers=2, memory=Memory(cells=64, heads=MIXED, reads=2, learned_start=True))
    x = normal(5, 12, 6)
    expected, _ = layer(x)
    one, other = layer.stream(2), layer.stream()
    close(torch.stack([one.step(x[:2, t]) for t in range(4)], 1), expected[:2, :4])
    close(other.read(x[2:3, :4]), expected[2:3, :4])
    one.join(other)  # a compact state to a dense one
    assert one.batch_size == 3
    close(torch.stack([one.step(x[:3, t]) for t in range(4, 6)], 1), expected[:3, 4:6])
    one.join(layer(x[3:4, :6], layer.initial_state(1))[1])  # a state with gradients
    close(one.step(x[:4, 6]), expected[:4, 6])
    dropped = one.drop(1)
    assert dropped.batch_size == 1
    close(layer(x[1:2, 7:], dropped)[0], expected[1:2, 7:])
    one.join(1)  # a fresh one
    assert one.batch_size == 4
    now = torch.cat([x[[0, 2, 3], 7:10], x[4:5, :3]])
    close(one.read(now), torch.cat([expected[[0, 2, 3], 7:10], expected[4:5, :3]]))
    left = one.drop([0, -1])
    assert (left.batch_size, one.batch_size) == (2, 2)
    alone = [layer(v, layer.initial_state(1))[1].hidden for v in (x[:1, :10], x[4:, :3])]
    close(left.hidden, torch.cat(alone, dim=1))
    close(one.read(x[[2, 3], 10:]), expected[[2, 3], 10:])
    assert one.drop(torch.tensor([], dtype=torch.int64)).batch_size == 0
    assert one.drop([0, 1]).batch_size == 2
    assert one.batch_size == 0
    one.join(2)
    close(one.read(x[:2]), expected[:2])


def test_bad_arguments_are_named() -> None:
    layer = make()
    stream = layer.stream(2)
    with pytest.raises(ValueError, match="stream: expected one direction, got bidirectional=True"):
        make(bidirectional=True).stream()
    with pytest.raises(ValueError, match=r"input: expected shape \(B, 6\), got \(2, 1, 6\)"):
        stream.step(torch.zeros(2, 1, 6))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 3, 8\)"):
        stream.step(normal(3, 6))
    with pytest.raises(TypeError, match=r"reset: expected bool, got torch.int64"):
        stream.step(normal(2, 6), reset=torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="reset: expected one flag for each of 2 sequences"):
        stream.step(normal(2, 6), reset=torch.tensor([True]))
    with pytest.raises(TypeError, match="other: expected a Stream, a RAMGRUState or a number"):
        stream.join(torch.zeros(1, 2, 8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="state: expected one of this layer"):
        stream.join(make(num_layers=2).stream())
    with pytest.raises(IndexError, match=r"indices: expected sequences in \[0, 2\), got \[2\]"):
        stream.drop(2)
    for call in (layer.stream, stream.join):
        with pytest.raises(ValueError, match="expected at least 0, got -1"):
            call(-1)
    with pytest.raises(TypeError, match="batch_size: expected an int, got str: '2'"):
        layer.stream("2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"state: expected a RAMGRUState, got torch.Tensor"):
        layer.stream(state=torch.zeros(1, 2, 8))  # type: ignore[arg-type]
    assert stream.batch_size == 2
    assert repr(stream).startswith("Stream(batch_size=2, layer=RAMGRU(6, 8, batch_first=True")


# The native step.


any_head = key_heads | st.builds(Lag, st.integers(1, 5)) | st.just(Tape())


def steps(layer: RAMGRU, x: Tensor, isa: str) -> tuple[Tensor, RAMGRUState]:
    state = layer.initial_state(x.shape[0], dense=True)
    outputs = []
    with native.use(isa):
        for now in x.unbind(1):
            y, state = layer.step_(now, state)
            outputs.append(y)
    return torch.stack(outputs, dim=1), state


def assert_equal_steps(one: Any, other: Any, tolerance: float) -> None:
    close(other[0], one[0], tolerance)
    close(other[1].hidden, one[1].hidden, tolerance)
    for a, b in zip(one[1].memory, other[1].memory, strict=True):
        for ours, theirs in zip(a, b, strict=True):
            close(theirs, ours, tolerance)


@needs_native
@every_isa
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_native_steps_equal_portable_ones(isa: str, data: st.DataObject) -> None:
    draw = data.draw
    heads = draw(st.lists(any_head, min_size=1, max_size=6))
    needed = any(isinstance(head, Lag | Tape) for head in heads)  # more than one cell
    cells = draw(st.sampled_from([6, 64, 1000] if needed else [1, 6, 64, 1000]))
    memory = Memory(
        cells=cells,
        heads=heads_text(heads),
        width=draw(st.sampled_from([None, 1, 7, 20])),
        tag=draw(st.sampled_from([0, 1, 8, 16])),
        writes=draw(st.integers(1, min(6, cells))),
        reads=draw(st.integers(1, min(6, cells))),
        learned_start=draw(st.booleans()),
    )
    layer = make(
        draw(st.integers(0, 1000)),
        draw(st.sampled_from([1, 3, 8, 17, 40])),
        draw(st.sampled_from([1, 5, 16, 33])),
        memory,
        controller=draw(st.sampled_from(["gru", "mingru", "diagonal"])),
        bias=draw(st.booleans()),
        num_layers=draw(st.integers(1, 2)),
    )
    x = normal(draw(st.integers(1, 4)), 7, layer.input_size)
    with native.use(isa):
        state = layer.initial_state(len(x), dense=True)
        assert fast_step.step_(layer._parts(), x[:, 0], state) is not None
    assert_equal_steps(steps(layer, x, native.PORTABLE), steps(layer, x, isa), 1e-9)


@needs_native
@every_isa
def test_single_precision(isa: str) -> None:
    layer = make(0, 50, 70, dtype=torch.float32)
    wide = make(0, 50, 70)
    wide.load_state_dict(layer.state_dict())
    x = torch.randn(2, 9, 50)
    exact, found = steps(wide, x.double(), native.PORTABLE)[0], steps(layer, x, isa)[0]
    assert float((found - exact).norm() / exact.norm()) < 1e-6


@needs_native
@every_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "memory", [Memory(), Memory(256, MIXED, reads=5)], ids=["default", "mixed"]
)
def test_steps_of_every_kind_of_head_give_the_numbers_of_forward(
    isa: str, dtype: torch.dtype, memory: Memory
) -> None:
    layer, x = make(1, 12, 24, memory, dtype=dtype, num_layers=2), normal(2, 30, 12).to(dtype)
    with native.use(isa):
        parts, state, outputs = layer._parts(), layer.initial_state(2, dense=True), []
        for now in x.unbind(1):
            taken = fast_step.step_(parts, now, state)
            assert taken is not None
            outputs.append(taken[0])
            state = taken[1]
    expected, after = layer(x, layer.initial_state(2))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    close(torch.stack(outputs, dim=1), expected, tolerance)
    close(state.compact().to_tensor(), after.compact().to_tensor(), tolerance)


@needs_native
def test_threads_change_no_bit() -> None:
    layer, x = make(0, 130, 131, Memory(), dtype=torch.float32), torch.randn(3, 5, 130)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(steps(layer, x, native.isa()))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert_equal_steps(found[0], other, 0)


@needs_native
def test_the_general_path_runs_options_that_the_native_step_does_not_support() -> None:
    layer, x = make(), normal(1, 6)

    def takes(state: RAMGRUState, of: RAMGRU = layer) -> bool:
        return fast_step.step_(of._parts(), x, state) is not None

    dense = layer.initial_state(1, dense=True)
    assert takes(dense)
    assert not takes(layer.initial_state(1))
    assert not takes(layer.initial_state(2, dense=True))
    other = make(memory=Memory(cells=64, heads="key key:2 tape"))
    assert not takes(other.initial_state(1, dense=True))
    handle = layer.memories[0].candidate.register_forward_hook(lambda *_: None)
    assert not takes(dense)
    handle.remove()
    with native.use(native.PORTABLE):
        assert not takes(dense)
    assert takes(dense)


def transpose_a_weight(layer: RAMGRU) -> None:
    layer.stream(2).step(normal(2, 6))  # a plan with the former layout is in the cache
    weight = layer.memories[0].read_out.weight
    weight.data = weight.data.t().contiguous().t()


CHANGES = {
    "weight_norm": lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    "pruned": lambda layer: prune.random_unstructured(layer, "bias_ih_l0", 0.5),
    "pruned_memory": lambda layer: prune.identity(layer.memories[0].candidate, "bias"),
    "transposed": transpose_a_weight,
}


@pytest.mark.parametrize("how", CHANGES)
def test_weights_that_are_computed_or_strided_give_the_numbers_of_forward(how: str) -> None:
    layer, x = make(memory=Memory(cells=64, heads="key key:2", width=3)), normal(2, 5, 6)
    CHANGES[how](layer)
    stream = layer.stream(2)
    close(torch.stack([stream.step(now) for now in x.unbind(1)], 1), layer(x)[0])


@pytest.mark.parametrize("reset", [None, torch.tensor([False])], ids=["native", "general"])
def test_a_graph_that_needs_the_cells_notices(reset: Tensor | None) -> None:
    """The general path runs where a reset is given."""
    layer = make()
    state = layer.initial_state(1, dense=True)
    square = state.memory[0].rows.requires_grad_().square().sum()
    layer.step_(normal(1, 6), state, reset=reset)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        square.backward()


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
def test_a_step_in_place_keeps_no_graph_and_no_copy(controller: str) -> None:
    layer = make(memory=Memory(cells=4), controller=controller)
    _, state = layer(normal(2, 5, 6), layer.initial_state(2, dense=True))
    assert state.memory[0].rows.requires_grad
    place = state.memory[0].rows.data_ptr()
    for _ in range(3):
        output, state = layer.step_(normal(2, 6), state)
        assert state.memory[0].rows.data_ptr() == place
        assert not output.requires_grad
        assert not state.to_tensor().requires_grad
    flat = normal(1, 2, layer.flat_size)
    before = flat.clone()
    layer.step_(normal(2, 6), layer.initial_state(1).from_tensor(flat))
    assert torch.equal(flat, before)


@needs_native
def test_weights_that_change_or_move_are_seen() -> None:
    memory = Memory(cells=64, heads="key learned:2 lag:4 tape", width=8)
    layer, x = make(controller="mingru", memory=memory), normal(1, 6)

    def steps_alike() -> None:
        _, start = layer(normal(1, 9, 6), layer.initial_state(1))  # lags and tapes have moved
        start = start.detach().dense()
        assert fast_step.step_(layer._parts(), x, start.clone()) is not None
        outputs = []
        for isa in (native.PORTABLE, native.isa()):
            with native.use(isa):
                outputs.append(layer.step_(x, start.clone())[0])
        torch.testing.assert_close(*outputs)

    steps_alike()
    with torch.no_grad():
        layer.memories[0].candidate.weight.mul_(2)  # in place
    steps_alike()
    of_memory = layer.memories[0]
    for tensor in (*of_memory.parameters(), *of_memory.buffers()):  # some of which it has packed
        with torch.no_grad():
            tensor.mul_(torch.randn_like(tensor))  # taps outside of a key stay 0
        steps_alike()
    of_memory.candidate.weight.data = normal(32, 6)  # moved
    steps_alike()
    layer.weight_ih_l0 = torch.nn.Parameter(normal(16, 6))  # replaced
    steps_alike()
    of_memory.heads["tape"].moves = Projection(6, 3, dtype=torch.float64)
    steps_alike()
    of_memory.read_out = torch.nn.Linear(36, 8, bias=False, dtype=torch.float64)
    start = layer.initial_state(1, dense=True)
    assert fast_step.step_(layer._parts(), x, start) is None


# Steps of a stream that go on from native ones (`fast_stream`).


def prepared(layer: RAMGRU, x: Tensor) -> Stream:
    """A stream after two steps, the first of which lays out its cells."""
    stream = layer.stream(len(x))
    for _ in range(2):
        stream.step(x)
    assert stream._native is not None
    return stream


@needs_native
@every_isa
@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize("heads", [MIXED, "key", "lag tape"])
def test_prepared_steps_equal_steps_in_place_to_the_last_bit(
    isa: str, controller: str, heads: str
) -> None:
    memory = Memory(cells=64, heads=heads, learned_start=True)
    layer = make(5, memory=memory, controller=controller, num_layers=2)
    x, resets = normal(9, 3, 6), torch.rand(9, 3) < 0.3
    given = x.clone()
    with native.use(isa):
        stream = prepared(layer, x[0])
        state = stream.state
        for t, now in enumerate(x):
            reset = resets[t] if t % 3 else None
            taken = stream._native.step(now, reset)  # type: ignore[union-attr]
            y, state = layer.step_(now, state, reset=reset)
            assert taken is not None
            assert torch.equal(taken, y)
            if t % 4 == 0:
                assert torch.equal(stream.state.to_tensor(), state.to_tensor())
    assert torch.equal(x, given)


@needs_native
def test_a_prepared_stream_sees_whatever_changes() -> None:
    layer, x = make(memory=Memory(cells=64, heads=MIXED)), normal(2, 6)
    stream = prepared(layer, x)
    of_memory = layer.memories[0]
    called: list[int] = []

    def alike(native_step: bool) -> None:
        state = stream.state
        taken = stream._native is not None and stream._native.step(x, None) is not None
        assert taken == native_step
        if taken:  # once too often: back again
            stream._state = state.clone()
        y = stream.step(x)
        close(y, layer(x[:, None], state)[0][:, 0])
        assert (stream._native is not None) == (not layer._forward_hooks)

    alike(True)
    with torch.no_grad():
        of_memory.candidate.weight.mul_(2)  # where it lies
    stream.step(x)
    alike(True)
    of_memory.candidate.weight.data = normal(*of_memory.candidate.weight.shape)
    alike(False)
    stream.step(x)
    with torch.no_grad():
        of_memory.heads["key"].codes.normal_()
    alike(False)
    stream.step(x)
    layer.weight_ih_l0 = torch.nn.Parameter(normal(*layer.weight_ih_l0.shape))
    alike(False)
    stream.step(x)
    handle = layer.register_forward_hook(lambda *_: called.append(1))
    alike(False)
    assert called
    handle.remove()
    stream._state = stream.state.dense()  # as before the call of the module
    stream.step(x)
    alike(True)
    with native.use(native.PORTABLE):
        assert stream._native is not None
        assert stream._native.step(x, None) is None
    wide = stream.step(x.repeat(1, 2)[:, ::2])  # strided
    assert wide.shape == (2, 8)


@needs_native
def test_a_copy_of_a_prepared_stream_goes_on_alone() -> None:
    layer, x = make(), normal(4, 2, 6)
    stream = prepared(layer, x[0])
    state = stream.state
    others = [copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    expected = [stream.step(now) for now in x]
    for other in others:
        assert torch.equal(other.state.to_tensor(), state.to_tensor())
        for now, y in zip(x, expected, strict=True):
            assert torch.equal(other.step(now), y)


@needs_native
def test_a_prepared_stream_leaves_inference_mode() -> None:
    layer, x, reset = make(), normal(2, 6), torch.tensor([True, False])
    stream = layer.stream(2)
    stream.step(x)
    with torch.inference_mode():
        stream.step(x)
        expected = layer.step_(x, stream.state, reset=reset)[0]
    assert stream._native is not None
    assert torch.equal(stream.step(x, reset=reset), expected)
