"""PyTorch's own samples for `nn.GRU`: every input and every error, on every kind of layer.

32 samples (with packed ones) and 14 error samples, each in two dtypes, training and evaluating,
as `torch.testing._internal.common_modules.modules` draws them: 128 and 56.
"""

from __future__ import annotations

import copy
import functools
import itertools
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from ramgru import RAMGRU, Memory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import (
        ModuleErrorEnum,
        module_error_inputs_torch_nn_RNN_GRU,
        module_inputs_torch_nn_RNN_GRU,
    )

MODES = list(itertools.product((torch.float32, torch.float64), (True, False)))
MEMORY = Memory(cells=16, heads="key:2 tape", reads=3)
pytestmark = pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")


def draw(function: Any, **options: Any) -> list[Any]:
    """(sample, dtype, training) of every mode, each with a readable id."""
    found = []
    for dtype, training in MODES:
        samples = function(None, "cpu", dtype, requires_grad=True, training=training, **options)
        for n, sample in enumerate(samples):
            name = f"{n}-{str(dtype).removeprefix('torch.')}-{'train' if training else 'eval'}"
            found.append(pytest.param(sample, dtype, training, id=name))
    return found


SAMPLES = draw(module_inputs_torch_nn_RNN_GRU, with_packed_sequence=True, is_rnn=False)
UNBATCHED = draw(module_inputs_torch_nn_RNN_GRU, is_rnn=False)
ERRORS = draw(module_error_inputs_torch_nn_RNN_GRU)


def test_as_many_samples_as_the_contract_says() -> None:
    assert len(SAMPLES) == 128
    assert len(ERRORS) == 56
    packed = [isinstance(s.values[0].forward_input.args[0], PackedSequence) for s in SAMPLES]
    assert sum(packed) == 64


def tensors(output: Any, h_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (output.data if isinstance(output, PackedSequence) else output), h_n


def gradients(module: nn.Module, args: tuple[Any, ...], result: Any) -> list[torch.Tensor]:
    leaves = [a.data if isinstance(a, PackedSequence) else a for a in args]
    output, h_n = tensors(*result)
    loss = output.sin().sum() + h_n.cos().sum()
    return list(torch.autograd.grad(loss, [*leaves, *module.parameters()], materialize_grads=True))


def in_float64(argument: Any) -> Any:
    if isinstance(argument, PackedSequence):
        return argument._replace(data=in_float64(argument.data))
    return argument.detach().double().requires_grad_()


def relative_error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """Of all gradients as one vector: the one that is small beside the others counts little."""
    difference = sum((f - e).square().sum() for f, e in zip(found, exact))
    return float((difference / sum(e.square().sum() for e in exact)).sqrt())


@pytest.mark.parametrize("kernel", ["native", "torch"])
@pytest.mark.parametrize(("sample", "dtype", "training"), SAMPLES)
def test_silent_memory_gives_the_numbers_of_nn_gru(
    sample: Any, dtype: torch.dtype, training: bool, kernel: str
) -> None:
    made, args = sample.constructor_input, sample.forward_input.args
    gru = nn.GRU(*made.args, **made.kwargs, dtype=dtype).train(training)
    layer = RAMGRU(*made.args, **made.kwargs, dtype=dtype, gru_kernel=kernel, memory=MEMORY)
    layer.train(training)
    for memory in layer.memories:
        nn.init.zeros_(memory.read_out.weight)
    left = layer.load_state_dict(gru.state_dict(), strict=False)
    assert left.unexpected_keys == []
    expected, result = gru(*args), layer(*args)
    assert type(result[0]) is type(expected[0])
    n = len(args) + len(list(gru.parameters()))
    ours, theirs = (gradients(m, args, r) for m, r in ((layer, result), (gru, expected)))
    if kernel == "native" and dtype == torch.float32:
        # Inputs up to 9 make terms that cancel: both round, so that each is held to float64.
        wide = [in_float64(a) for a in args]
        exact = copy.deepcopy(gru).double()
        told = exact(*wide)
        for mine, its, right in zip(*(tensors(*each) for each in (result, expected, told))):
            off = float((its - right).abs().max().detach())
            torch.testing.assert_close(mine.double(), right, rtol=1e-6, atol=1e-6 + 2 * off)
        right = gradients(exact, wide, told)
        assert relative_error(ours[:n], right) < 2e-5 + 2 * relative_error(theirs, right)
    else:
        tolerance = 0 if kernel == "torch" else 1e-12
        for mine, its in zip(tensors(*result), tensors(*expected)):
            torch.testing.assert_close(mine, its, rtol=tolerance, atol=tolerance)
        for mine, its in zip(ours[:n], theirs):
            torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize(("sample", "dtype", "training"), SAMPLES)
def test_shapes_with_the_memory_on(
    sample: Any, dtype: torch.dtype, training: bool, controller: str
) -> None:
    made, args = sample.constructor_input, sample.forward_input.args
    gru = nn.GRU(*made.args, **made.kwargs, dtype=dtype)
    layer = RAMGRU(*made.args, **made.kwargs, dtype=dtype, controller=controller, memory=MEMORY)
    expected, result = gru(*args), layer.train(training)(*args)
    assert len(result) == 2
    assert type(result[0]) is type(expected[0])
    if isinstance(result[0], PackedSequence):
        assert torch.equal(result[0].batch_sizes, expected[0].batch_sizes)
    for ours, theirs in zip(tensors(*result), tensors(*expected)):
        assert ours.shape == theirs.shape
        assert ours.dtype == dtype
        assert ours.isfinite().all()
    for gradient in gradients(layer, args, result):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("sample", "dtype", "training"), UNBATCHED)
def test_unbatched_is_a_batch_of_one(sample: Any, dtype: torch.dtype, training: bool) -> None:
    """The reference that PyTorch gives with each sample."""
    made, args = sample.constructor_input, sample.forward_input.args
    layer = RAMGRU(*made.args, **made.kwargs, dtype=dtype, memory=MEMORY).train(training)
    for ours, theirs in zip(layer(*args), sample.reference_fn(layer, *args)):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize(("sample", "dtype", "training"), ERRORS)
def test_errors(sample: Any, dtype: torch.dtype, training: bool, controller: str) -> None:
    made = sample.module_error_input.constructor_input
    build = functools.partial(RAMGRU, *made.args, **made.kwargs, controller=controller)
    if sample.error_on is ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(sample.error_type, match=sample.error_regex):
            build()
        return
    layer = build().train(training)
    args = sample.module_error_input.forward_input.args
    with pytest.raises(sample.error_type, match=sample.error_regex):
        layer(*args)
