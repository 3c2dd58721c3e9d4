"""The step of a stream as one native call: the numbers of the general path, on every ISA."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramgru import RAMGRU, RAMGRUState
from ramgru import stream as streaming
from ramgru.kernels import native

pytestmark = pytest.mark.skipif(not native.supported(), reason="the native library is not built")


def layer(seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> RAMGRU:
    torch.manual_seed(seed)
    options = {"memory_size": 64, "controller": "mingru", **options}
    size = options.pop("input_size", 6), options.pop("hidden_size", 8)
    unit = RAMGRU(*size, batch_first=True, dtype=dtype, **options)
    with torch.no_grad():  # biases and sharpness away from their even start
        for parameter in unit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return unit


def stream(unit: RAMGRU, x: torch.Tensor, isa: str) -> tuple[torch.Tensor, RAMGRUState]:
    state = unit.initial_state(x.shape[0], dense=True)
    outputs = []
    with native.use(isa):
        for t in range(x.shape[1]):
            y, state = unit.step(x[:, t], state, donate=True)
            outputs.append(y)
    return torch.stack(outputs, dim=1), state


def assert_same(one: Any, other: Any, tolerance: float) -> None:
    torch.testing.assert_close(other[0], one[0], rtol=tolerance, atol=tolerance)
    for a, b in zip(
        (one[1].hidden, *one[1].context, *(m.rows for m in one[1].memory)),
        (other[1].hidden, *other[1].context, *(m.rows for m in other[1].memory)),
        strict=True,
    ):
        torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("isa", native.supported())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_native_steps_equal_portable_ones(isa, data):
    draw = data.draw
    cells = draw(st.sampled_from([1, 6, 64, 1000]))
    unit = layer(
        draw(st.integers(0, 1000)),
        input_size=draw(st.sampled_from([1, 3, 8, 17, 40])),
        hidden_size=draw(st.sampled_from([1, 5, 16, 33])),
        controller=draw(st.sampled_from(["gru", "mingru"])),
        bias=draw(st.booleans()),
        num_layers=draw(st.integers(1, 2)),
        num_heads=draw(st.integers(1, 5)),
        head_size=draw(st.sampled_from([None, 1, 7, 20])),
        top_k=draw(st.integers(1, min(6, cells))),
        write_rule=draw(st.sampled_from(["gru", "delta"])),
        memory_size=cells,
        parts=draw(st.sampled_from([None, 1, 2] if cells > 1 else [None])),
        address_size=draw(st.sampled_from([2, 5, 32])),
        offsets=draw(st.sampled_from([(1,), (0, 2), (1, 0, 4)])),
        skips=draw(st.sampled_from([(0,), (0,), (1, 0)])),
        spans=draw(st.sampled_from([(1,), (1,), (1, 2, 3)])),
        window=draw(st.sampled_from([None, 8])),
        learn_context=draw(st.booleans()),
        candidate_activation=draw(st.sampled_from(["identity", "tanh"])),
        learn_initial=draw(st.booleans()),
    )
    x = torch.randn(draw(st.integers(1, 4)), 7, unit.input_size, dtype=torch.float64)
    assert_same(stream(unit, x, native.PORTABLE), stream(unit, x, isa), 1e-9)


@pytest.mark.parametrize("isa", native.supported())
def test_single_precision(isa):
    unit = layer(dtype=torch.float32, input_size=50, hidden_size=70, controller="gru")
    x = torch.randn(2, 9, 50)
    wide = layer(dtype=torch.float64, input_size=50, hidden_size=70, controller="gru")
    wide.load_state_dict(unit.state_dict())
    exact = stream(wide, x.double(), native.PORTABLE)[0]
    found = stream(unit, x, isa)[0]
    assert float((found - exact).norm() / exact.norm()) < 1e-6


def test_threads_change_no_bit():
    unit = layer(dtype=torch.float32, input_size=130, hidden_size=131, num_heads=3)
    x = torch.randn(3, 5, 130)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(stream(unit, x, native.isa()))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert_same(found[0], other, 0)


def test_the_general_path_takes_what_is_not_simple():
    unit = layer()
    x, state = torch.randn(1, 6, dtype=torch.float64), unit.initial_state(1, dense=True)
    assert streaming.step_(unit, x, state) is not None
    assert streaming.step_(unit, x, unit.initial_state(1)) is None  # not laid out yet
    assert streaming.step_(unit, x, unit.initial_state(2, dense=True)) is None
    assert streaming.step_(layer(gate="cell"), x, state) is None
    handle = unit.memories[0].candidate.register_forward_hook(lambda *_: None)
    assert streaming.step_(unit, x, state) is None
    handle.remove()
    with native.use(native.PORTABLE):
        assert streaming.step_(unit, x, state) is None


@pytest.mark.parametrize("general", [False, True])
def test_a_graph_that_needs_the_cells_notices(general):
    unit = layer()
    given = {"write_index": torch.tensor([1])} if general else {}
    state = unit.initial_state(1, dense=True)
    rows = state.memory[0].rows.requires_grad_()
    square = rows.square().sum()
    unit.step(torch.randn(1, 6, dtype=torch.float64), state, donate=True, **given)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        square.backward()


def test_weights_that_change_or_move_are_seen():
    unit = layer()
    x = torch.randn(1, 6, dtype=torch.float64)

    def steps_alike() -> None:
        start = unit.initial_state(1, dense=True)
        assert streaming.step_(unit, x, start.clone()) is not None
        outputs = []
        for isa in (native.PORTABLE, native.isa()):
            with native.use(isa):
                outputs.append(unit.step(x, start.clone(), donate=True)[0])
        torch.testing.assert_close(*outputs)

    steps_alike()
    with torch.no_grad():
        unit.memories[0].candidate.weight.mul_(2)  # in place
    steps_alike()
    unit.memories[0].candidate.weight.data = torch.randn(8, 6, dtype=torch.float64)  # moved
    steps_alike()
    unit.weight_ih_l0 = torch.nn.Parameter(torch.randn(16, 6, dtype=torch.float64))  # replaced
    steps_alike()
    unit.memories[0].read_out = torch.nn.Linear(8, 8, bias=False, dtype=torch.float64)
    assert streaming.step_(unit, x, unit.initial_state(1, dense=True)) is None
