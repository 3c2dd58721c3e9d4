"""The promises of `nn.GRU` about calls: shapes, errors, packing, initial states, dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from ramgru import RAMGRU, Memory

every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
MEMORY = Memory(cells=16, heads="key tape", reads=2)
pytestmark = pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")


def make(*args: Any, **options: Any) -> RAMGRU:
    return RAMGRU(*args, memory=MEMORY, **options)


def silent(gru: nn.GRU, **options: Any) -> RAMGRU:
    return RAMGRU.from_gru(gru, memory=MEMORY, **options)


@every_controller
def test_forward_half_comes_first(controller: str) -> None:
    """A change of the last step reaches earlier steps in the reverse half alone."""
    layer = make(3, 4, bidirectional=True, controller=controller)
    x = torch.randn(5, 1, 3)
    y = layer(x)[0]
    x[-1] += 1
    changed = (layer(x)[0] != y).any(-1).any(-1)
    halves = (layer(x)[0] != y).view(5, 2, 4).any(-1)
    assert changed.all()
    assert halves[:, 1].all()
    assert not halves[:-1, 0].any()


@every_controller
@pytest.mark.parametrize(
    ("input_shape", "hx_shape", "message"),
    [
        ((1, 2, 5, 3), None, "Expected input to be 2D or 3D, got 4D"),
        ((3,), None, "Expected input to be 2D or 3D, got 1D"),
        ((5, 3), (1, 2, 4), "For unbatched 2-D input, hx should also be 2-D but got 3-D"),
        ((5, 2, 3), (1, 4), "For batched 3-D input, hx should also be 3-D but got 2-D"),
        ((5, 2, 4), None, r"input.size\(-1\) must be equal to input_size. Expected 3, got 4"),
        ((5, 2, 3), (2, 2, 4), r"Expected hidden size \(1, 2, 4\), got \[2, 2, 4\]"),
        ((5, 2, 3), (1, 3, 4), r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]"),
        ((5, 2, 3), (1, 2, 5), r"Expected hidden size \(1, 2, 4\), got \[1, 2, 5\]"),
        ((5, 3), (2, 4), r"Expected hidden size \(1, 1, 4\), got \[2, 1, 4\]"),
        ((0, 2, 3), None, "Expected sequence length to be larger than 0 in RNN"),
    ],
    ids=str,
)
def test_same_errors(controller: str, input_shape: Any, hx_shape: Any, message: str) -> None:
    args = [torch.zeros(shape) for shape in (input_shape, hx_shape) if shape is not None]
    with pytest.raises((ValueError, RuntimeError), match=message) as theirs:
        nn.GRU(3, 4)(*args)
    with pytest.raises(theirs.type, match=message):
        make(3, 4, controller=controller)(*args)


@every_controller
def test_dtype_mismatch(controller: str) -> None:
    layer = make(3, 4, controller=controller)
    with pytest.raises(ValueError, match=r"RNN input dtype \(torch.float64\) does not match"):
        layer(torch.zeros(5, 2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"RNN input dtype \(torch.int64\) does not match"):
        layer(torch.zeros(5, 2, 3, dtype=torch.int64))
    with pytest.raises(RuntimeError, match=r"Expected hidden dtype torch.float32, got torch.fl"):
        layer(torch.zeros(5, 2, 3), torch.zeros(1, 2, 4, dtype=torch.float64))


@every_controller
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "two_way"])
def test_empty_batch(controller: str, bidirectional: bool) -> None:
    layer = make(3, 4, 2, bidirectional=bidirectional, controller=controller)
    gru = nn.GRU(3, 4, 2, bidirectional=bidirectional)
    x = torch.zeros(5, 0, 3, requires_grad=True)
    output, h_n = layer(x)
    expected, expected_h = gru(x)
    assert output.shape == expected.shape
    assert h_n.shape == expected_h.shape
    (output.sum() + h_n.sum()).backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


@every_controller
def test_empty_batch_of_streams(controller: str) -> None:
    layer = make(3, 4, controller=controller)
    output, state = layer(torch.zeros(5, 0, 3), layer.initial_state(0))
    assert output.shape == (5, 0, 4)
    assert state.batch_size == 0
    assert state.to_tensor().shape == (1, 0, layer.state_size)


@every_controller
def test_packed_sorted_without_indices(controller: str) -> None:
    layer = make(3, 4, controller=controller)
    x = torch.randn(5, 2, 3)
    packed = pack_padded_sequence(x, torch.tensor([5, 3]))
    bare = PackedSequence(packed.data, packed.batch_sizes)
    output, h_n = layer(bare, torch.zeros(1, 2, 4))
    assert output.sorted_indices is None
    padded, h_padded = layer(x, lengths=torch.tensor([5, 3]))
    torch.testing.assert_close(h_n, h_padded)


def test_packed_errors() -> None:
    layer = make(3, 4)
    packed = pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 4\)"):
        layer(packed, torch.zeros(1, 3, 4))
    with pytest.raises(RuntimeError, match=r"Expected 3, got 2"):
        layer(pack_sequence([torch.randn(4, 2)]))
    with pytest.raises(ValueError, match="lengths: a PackedSequence has its own"):
        layer(packed, lengths=torch.tensor([4, 2]))
    with pytest.raises(ValueError, match="write_index: give padded input and lengths"):
        layer(packed, write_index=torch.zeros(4, 2, dtype=torch.int64))


@every_controller
def test_no_hx_is_zeros(controller: str) -> None:
    layer = make(3, 4, 2, bidirectional=True, controller=controller)
    x = torch.randn(5, 2, 3)
    for ours, zeros in zip(layer(x), layer(x, torch.zeros(4, 2, 4))):
        assert torch.equal(ours, zeros)


@every_controller
def test_hx_has_a_gradient(controller: str) -> None:
    layer = make(3, 4, controller=controller, dtype=torch.float64)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    hx = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: layer(x, h), (hx,))


def scattered(*shape: int) -> Tensor:
    """A tensor of unusual strides."""
    return torch.randn(*shape[::-1], 2, dtype=torch.float64)[..., 0].permute(
        *reversed(range(len(shape)))
    )


@every_controller
@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
def test_strided_tensors(controller: str, batch_first: bool) -> None:
    layer = make(
        3,
        4,
        2,
        batch_first=batch_first,
        bidirectional=True,
        controller=controller,
        dtype=torch.float64,
    )
    x, hx = scattered(5, 5, 3), scattered(4, 5, 4)
    grad_y, grad_h = scattered(5, 5, 8), scattered(4, 5, 4)
    found = []
    for tensors in ((x, hx, grad_y, grad_h), [t.contiguous() for t in (x, hx, grad_y, grad_h)]):
        x_, hx_ = (t.detach().requires_grad_() for t in tensors[:2])
        result = layer(x_, hx_)
        grads = torch.autograd.grad(result, [x_, hx_, *layer.parameters()], tensors[2:])
        found.append([*result, *grads])
    assert not x.is_contiguous()
    for strided, straight in zip(*found):
        torch.testing.assert_close(strided, straight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "two_way"])
def test_dropout_draws_as_nn_gru(batch_first: bool, bidirectional: bool) -> None:
    gru = nn.GRU(3, 4, 3, batch_first=batch_first, dropout=0.4, bidirectional=bidirectional)
    layer, x = silent(gru), torch.randn(5, 2, 3)
    torch.manual_seed(7)
    expected = gru(x)
    torch.manual_seed(7)
    output = layer(x)
    assert torch.equal(output[0], expected[0])
    assert torch.equal(output[1], expected[1])
    torch.manual_seed(8)
    assert not torch.equal(layer(x)[0], output[0])
    assert torch.equal(layer.eval()(x)[0], gru.eval()(x)[0])


@every_controller
def test_dropout_is_between_layers_only(controller: str) -> None:
    x = torch.randn(5, 2, 3)
    with pytest.warns(UserWarning, match="num_layers=1"):
        one = make(3, 4, 1, dropout=0.9, controller=controller)
    assert torch.equal(one(x)[0], one(x)[0])
    all_dropped = make(3, 4, 2, dropout=1.0, controller=controller)
    output, _ = all_dropped(x)
    assert not torch.equal(output, torch.zeros_like(output))  # the biases of the last layer remain
    assert torch.equal(output, all_dropped(x + 1)[0])  # but nothing of the input
