"""`h_n`, and the three forms of a carried state: "hidden", "state" and "flat"."""

from __future__ import annotations

import socket
import warnings
from typing import Any

import pytest
import torch
from layer_cases import MIXED
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from ramgru import RAMGRU, Memory, RAMGRUState, write_cost

every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
directions = pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "two_way"])
quiet = pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")
C = 4


def make(**options: Any) -> RAMGRU:
    options = {"num_layers": 2, "batch_first": True, "dtype": torch.float64, **options}
    memory = Memory(cells=16, heads=MIXED, reads=2, learned_start=True)
    return RAMGRU(3, C, memory=memory, **options)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@every_controller
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_h_n_is_the_last_output_to_the_bit(controller: str, dtype: torch.dtype) -> None:
    layer = make(controller=controller, dtype=dtype)
    output, h_n = layer(torch.randn(5, 7, 3, dtype=dtype))
    assert torch.equal(output[:, -1], h_n[-1])
    _, first = layer(torch.randn(7, 3, dtype=dtype))
    assert first.shape == (2, C)


@quiet
@every_controller
@directions
@pytest.mark.parametrize("given", [False, True], ids=["fresh", "hx"])
def test_h_n_is_the_output_at_each_sequence_end(
    controller: str, bidirectional: bool, given: bool
) -> None:
    """Of the reverse direction at the first step; padded or packed; without a step, hx."""
    layer = make(controller=controller, bidirectional=bidirectional)
    x, lengths, D = normal(4, 6, 3), torch.tensor([6, 1, 0, 3]), layer.num_directions
    hx = normal(2 * D, 4, C) if given else None
    output, h_n = layer(x, hx, lengths=lengths)
    some = [0, 1, 3]
    hx_some = None if hx is None else hx[:, some]
    packed, h_packed = layer(
        pack_sequence([x[b, : lengths[b]] for b in some], enforce_sorted=False), hx_some
    )
    torch.testing.assert_close(h_packed, h_n[:, some], rtol=0, atol=1e-12)
    for place, b in enumerate(some):
        end = int(lengths[b]) - 1
        assert torch.equal(h_n[-D, b], output[b, end, :C])
        assert torch.equal(unpack_sequence(packed)[place][end, :C], h_packed[-D, place])
        if bidirectional:
            assert torch.equal(h_n[-1, b], output[b, 0, C:])
    assert torch.equal(h_n[:, 2], torch.zeros_like(h_n[:, 2]) if hx is None else hx[:, 2])
    assert not output[2].any()
    nothing, h_nothing = layer(x, hx, lengths=torch.zeros(4, dtype=torch.int64))
    assert not nothing.any()
    assert torch.equal(h_nothing, torch.zeros_like(h_n) if hx is None else hx)


def test_h_n_with_resets_and_checkpoints_is_the_last_output() -> None:
    layer, x, reset = make(checkpoint_every=4), normal(3, 9, 3), torch.rand(3, 9) < 0.3
    output, h_n = layer(x, reset=reset, lengths=torch.tensor([9, 4, 5]))
    for b, end in enumerate((8, 3, 4)):
        assert torch.equal(h_n[-1, b], output[b, end])


class Classifier(nn.Module):
    """The usual one: a linear layer on h_n[-1], or on both directions' last h_n."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.rnn = make(**options)
        self.head = nn.Linear(C * self.rnn.num_directions, 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        _, h_n = self.rnn(x)
        return self.head(torch.cat([*h_n[-self.rnn.num_directions :]], dim=-1))


@every_controller
@directions
def test_a_classifier_on_h_n_trains_every_parameter(controller: str, bidirectional: bool) -> None:
    model = Classifier(controller=controller, bidirectional=bidirectional)
    model(normal(5, 7, 3)).sin().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_data_parallel_training_of_a_classifier_runs() -> None:
    """DistributedDataParallel stops in its second step at a parameter without a gradient."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"tcp://localhost:{free.getsockname()[1]}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    try:
        alone = Classifier()
        model = nn.parallel.DistributedDataParallel(alone)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (model(normal(5, 7, 3)).sin().sum() + write_cost(model)).backward()
            optimizer.step()
        assert all(parameter.grad is not None for parameter in alone.parameters())
    finally:
        torch.distributed.destroy_process_group()


@every_controller
@pytest.mark.parametrize("carry", ["state", "flat"])
@pytest.mark.parametrize("layout", ["batch_first", "time_first", "unbatched"])
def test_chunks_give_the_whole_sequence(controller: str, carry: str, layout: str) -> None:
    layer = make(controller=controller, carry=carry, batch_first=layout == "batch_first")
    x = normal(9, 3) if layout == "unbatched" else normal(9, 9, 3)
    time = 1 if layout == "batch_first" else 0
    whole, end = layer(x)
    h, outputs = None, []
    for chunk in x.split([1, 4, 2, 2], dim=time):
        y, h = layer(chunk, h)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=time), whole, rtol=0, atol=1e-12)
    flat, expected = (v if carry == "flat" else v.to_tensor() for v in (h, end))
    torch.testing.assert_close(flat, expected, rtol=0, atol=1e-12)
    assert isinstance(h, Tensor if carry == "flat" else RAMGRUState)
    size = layer.flat_size if carry == "flat" else C
    assert layer.hidden_size == size
    if carry == "flat":
        assert h.shape == ((2, size) if layout == "unbatched" else (2, 9, size))


@directions
@pytest.mark.parametrize("carry", ["state", "flat"])
def test_a_carried_state_comes_from_every_kind_of_call(carry: str, bidirectional: bool) -> None:
    """With the same output as carry="hidden"; also packed, whose order is kept."""
    layer = make(carry=carry, bidirectional=bidirectional)
    plain = make(bidirectional=bidirectional)
    plain.load_state_dict(layer.state_dict())
    x, lengths = normal(3, 6, 3), [2, 6, 3]
    packed = pack_sequence([x[b, :n] for b, n in enumerate(lengths)], enforce_sorted=False)
    output, after = layer(x, lengths=torch.tensor(lengths))
    expected, _ = plain(x, lengths=torch.tensor(lengths))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    _, after_packed = layer(packed)
    one, other = (s if carry == "flat" else s.to_tensor() for s in (after, after_packed))
    assert one.shape == (2 * layer.num_directions, 3, layer.flat_size)
    torch.testing.assert_close(other, one, rtol=0, atol=1e-12)
    one.sum().backward()
    assert layer.weight_ih_l0.grad.any()


def test_a_flat_state_of_zeros_is_a_fresh_one() -> None:
    """As frameworks begin: zeros of (L, B, hidden_size)."""
    layer = RAMGRU(3, C, 2, carry="flat", memory=Memory(cells=16, heads="key:2 tape"))
    x = torch.randn(5, 2, 3)
    zeros = torch.zeros(layer.num_layers, 2, layer.hidden_size)
    for ours, expected in zip(layer(x, zeros), layer(x)):
        assert torch.equal(ours, expected)


def test_a_tensor_that_continues_a_stream_warns_once_and_names_the_remedy() -> None:
    layer, x = make(), normal(5, 7, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, torch.zeros(2, 5, C, dtype=torch.float64))  # zeros begin a stream
        _, h = layer(x)
    with pytest.warns(UserWarning, match=r"memory starts fresh .* with carry='state'") as said:
        layer(x, h)
    assert [each.filename for each in said] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, h)
        make(carry="state")(x, make().initial_state(5))
        fresh = make(carry="flat")
        fresh(x, fresh(x)[1])
    with pytest.warns(UserWarning, match="carry='state'"):
        make()(x, h)


@quiet
@every_controller
def test_a_tensor_hx_begins_with_a_fresh_memory(controller: str) -> None:
    layer, x = make(controller=controller), normal(5, 7, 3)
    hx = normal(2, 5, C)
    state = RAMGRUState(hx, layer.initial_state(5).memory)
    torch.testing.assert_close(layer(x, hx)[0], layer(x, state)[0], rtol=0, atol=1e-12)
    layer.carry = "state"
    torch.testing.assert_close(
        layer(x, hx)[1].to_tensor(), layer(x, state)[1].to_tensor(), rtol=0, atol=1e-12
    )
