"""A trained GRU gets a memory: the same bits at first, and a memory that can grow. `gru_kernel`.

And two properties of every layer: the same bits in every run, and no change of given tensors.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from ramgru import RAMGRU, Memory, fast_step
from ramgru.gru import gru
from ramgru.kernels import native

pytestmark = pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")
every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
needs_native = pytest.mark.skipif(not native.supported(), reason="the native library is not built")
MEMORY = Memory(cells=64, heads="key key:2", reads=3)
GRUS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_bias": {"bias": False},
    "two_layers": {"num_layers": 2, "dropout": 0.5},
    "two_way": {"bidirectional": True},
    "all": {"num_layers": 3, "bidirectional": True, "dropout": 0.5, "batch_first": True},
}
every_gru = pytest.mark.parametrize("options", GRUS.values(), ids=GRUS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@every_gru
def test_same_bits_at_the_start(options: dict[str, Any], packed: bool, dtype: torch.dtype) -> None:
    gru = nn.GRU(5, 17, **options, dtype=dtype).eval()
    layer = RAMGRU.from_gru(gru, memory=MEMORY)
    assert not layer.training
    sequences = [torch.randn(n, 5, dtype=dtype) for n in (9, 23, 23, 4, 17)]
    if packed:
        given: Any = pack_sequence(sequences, enforce_sorted=False)
    else:
        given = nn.utils.rnn.pad_sequence(sequences, batch_first=gru.batch_first)
    hx = torch.randn(gru.num_layers * (1 + gru.bidirectional), 5, 17, dtype=dtype)
    for args in ((given,), (given, hx)):
        (output, h_n), (expected, expected_h) = layer(*args), gru(*args)
        if packed:
            for ours, theirs in zip(output, expected):  # data, sizes and both orders
                assert torch.equal(ours, theirs)
            output, expected = output.data, expected.data
        assert torch.equal(output, expected)
        assert torch.equal(h_n, expected_h)


def test_training_mode_options_and_copies_are_kept() -> None:
    gru = nn.GRU(3, 4, 2, bias=False, batch_first=True, dropout=0.3, bidirectional=True)
    layer = RAMGRU.from_gru(gru, memory=MEMORY, carry="state")
    assert layer.training
    assert (layer.memory, layer.carry) == (MEMORY, "state")
    for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        assert getattr(layer, name) == getattr(gru, name)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    assert gru.weight_hh_l0.abs().sum() > 0


def test_gradient_reaches_the_read_out_from_the_start() -> None:
    """The read-out is zero, but its gradient is not, so that the memory can begin to matter."""
    layer = RAMGRU.from_gru(nn.GRU(3, 4, 2), memory=MEMORY)
    x = torch.randn(6, 2, 3)
    before, _ = layer(x)
    before.sin().sum().backward()
    for memory in layer.memories:
        assert not memory.read_out.weight.any()
        assert memory.read_out.weight.grad.abs().sum() > 0
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    layer.zero_grad()
    layer(x)[0].sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_other_modules_are_refused() -> None:
    with pytest.raises(TypeError, match=r"gru: expected a torch.nn.GRU, got LSTM"):
        RAMGRU.from_gru(nn.LSTM(3, 4))


@needs_native
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_an_upgraded_gru_streams_on_the_fast_path(bias: bool) -> None:
    gru = nn.GRU(3, 4, 2, bias=bias)
    layer = RAMGRU.from_gru(gru, memory=MEMORY)
    x, state = torch.randn(5, 2, 3), layer.initial_state(2, dense=True)
    assert fast_step.step_(layer._parts(), x[0], state) is not None
    stream = layer.stream(2)
    outputs = torch.stack([stream.step(now) for now in x])
    torch.testing.assert_close(outputs, gru(x)[0], rtol=0, atol=1e-6)


@every_gru
@pytest.mark.parametrize("given", ["nothing", "reset", "lengths", "both"])
def test_both_kernels_give_the_same_numbers(options: dict[str, Any], given: str) -> None:
    options = {**options, "dropout": 0.0}
    one, other = (
        RAMGRU(5, 17, **options, dtype=torch.float64, memory=MEMORY, gru_kernel=kernel)
        for kernel in ("native", "torch")
    )
    other.load_state_dict(one.state_dict())
    x = torch.randn(9, 6, 5, dtype=torch.float64)
    B, T = (9, 6) if one.batch_first else (6, 9)
    hx = torch.randn(one.num_layers * one.num_directions, B, 17, dtype=torch.float64)
    cut: dict[str, Tensor] = {}
    if given in ("reset", "both"):
        cut["reset"] = torch.rand(9, 6) < 0.2
    if given in ("lengths", "both"):
        cut["lengths"] = torch.randint(T + 1, (B,))
    found = []
    for layer in (one, other):
        output, h_n = layer(x, hx, **cut)
        loss = output.sin().sum() + h_n.cos().sum()
        found.append([output, h_n, *torch.autograd.grad(loss, list(layer.parameters()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_default_is_native_and_an_upgraded_gru_stays_with_torch() -> None:
    assert RAMGRU(3, 4, memory=MEMORY).gru_kernel == "native"
    assert RAMGRU.from_gru(nn.GRU(3, 4), memory=MEMORY).gru_kernel == "torch"


@needs_native
def test_native_code_runs_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own code runs a single step, which does not repay packing weights."""
    calls: list[Any] = []
    monkeypatch.setattr("ramgru.gru.torch_gru", lambda x, h, *_: (calls.append(x), h))

    def torchs(isa: str, steps: int) -> bool:
        calls.clear()
        weights = [[torch.randn(12, 5), torch.randn(12, 4)]]
        with native.use(isa):
            gru(torch.randn(2, steps, 5), torch.zeros(1, 2, 4), weights)
        return bool(calls)

    assert not torchs(native.supported()[0], 3)
    assert torchs(native.PORTABLE, 3)
    assert torchs(native.supported()[0], 1)


def one_run(controller: str) -> list[Tensor]:
    torch.manual_seed(11)
    memory = Memory(cells=256, heads="key key:2 tape", writes=2, learned_start=True)
    layer = RAMGRU(16, 32, controller=controller, memory=memory)
    x = torch.randn(40, 8, 16)
    options = {"reset": torch.rand(40, 8) < 0.1, "lengths": torch.randint(1, 41, (8,))}
    output, state = layer(x, layer.initial_state(8), **options)
    loss = output.sin().sum() + state.to_tensor().cos().sum()
    return [output, state.to_tensor(), *torch.autograd.grad(loss, layer.parameters())]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@every_controller
@pytest.mark.parametrize("number", [1, 2], ids=["one_thread", "two_threads"])
def test_same_bits_in_every_run(controller: str, number: int, threads: Any) -> None:
    threads(number)
    first = one_run(controller)
    for _ in range(2):
        for a, b in zip(one_run(controller), first):
            assert torch.equal(a, b)


@every_controller
@pytest.mark.parametrize("dense", [False, True], ids=["compact", "dense"])
def test_given_tensors_are_not_changed(controller: str, dense: bool) -> None:
    layer = RAMGRU(3, 4, 2, controller=controller, memory=Memory(16, "key:2 tape"))
    given: dict[str, Any] = {
        "x": torch.randn(5, 2, 3),
        "hx": torch.randn(2, 2, 4),
        "lengths": torch.tensor([5, 3]),
        "reset": torch.rand(5, 2) < 0.4,
        "write_index": torch.randint(-1, 16, (5, 2)),
        "read_index": torch.randint(-1, 16, (5, 2, 2)),
    }
    options = {k: v for k, v in given.items() if k not in ("x", "hx")}
    with torch.no_grad():
        _, state = layer(given["x"], layer.initial_state(2, dense=dense))
    kept, kept_state = copy.deepcopy(given), copy.deepcopy(state)
    layer(given["x"], given["hx"], **options)
    output, _ = layer(given["x"], state, **options)
    output.sum().backward()
    with torch.no_grad():
        layer.step(given["x"][0], state, reset=given["reset"][0])
        layer.step(given["x"][0], state, write_index=given["write_index"][0])
        layer.stream(state=state).step(given["x"][0])
    for name, value in kept.items():
        assert torch.equal(given[name], value), name
    assert torch.equal(state.hidden, kept_state.hidden)
    for ours, theirs in zip(state.memory, kept_state.memory):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
