"""minGRU by its Triton kernel: on a GPU, or through Triton's interpreter on the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ramgru import RAMGRU, Memory
from ramgru.kernels import gpu, native
from ramgru.kernels.recurrence import mingru
from ramgru.kernels.recurrence.reference import mingru as reference

pytestmark = pytest.mark.gpu


@pytest.fixture
def kernel(gpu_device, monkeypatch) -> Iterator[object]:
    """The module of the kernel, with chunks of 4 steps; no native kernel takes its place."""
    from ramgru.kernels.recurrence import triton

    monkeypatch.setattr(triton, "CHUNK", 4)
    with native.use(native.PORTABLE):
        yield triton


def draw(device, B=3, T=21, H=5, resets=True, lengths=True) -> list[Tensor | None]:
    """projected, initial, reset, lengths: an empty sequence, a whole one, and one between."""
    g = torch.Generator().manual_seed(7)
    x = 2 * torch.randn(B, T, 2 * H, generator=g)
    values = [x, torch.randn(B, H, generator=g)]
    reset = torch.rand(B, T, generator=g) < 0.15 if resets else None
    ends = torch.tensor([(0, T, 2 * T // 3)[b % 3] for b in range(B)]) if lengths else None
    return [v if v is None else v.to(device) for v in (*values, reset, ends)]


def evaluate(run, values: list[Tensor | None], use: str = "both") -> list[Tensor]:
    """States, the last, and the gradients of what is projected and of the start."""
    x, h = (v.detach().requires_grad_() for v in values[:2])
    results = run(x, h, *values[2:])
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(r.shape, generator=g).to(r) for r in results]
    chosen = {"both": slice(2), "states": slice(1), "last": slice(1, 2)}[use]
    grads = torch.autograd.grad(results[chosen], [x, h], above[chosen])
    return [v.detach().cpu() for v in (*results, *grads)]


def ours(*values):
    return mingru(*values)


def exact(values: list[Tensor | None], use: str = "both") -> list[Tensor]:
    wide = [v.double() if v is not None and v.is_floating_point() else v for v in values]
    return evaluate(reference, wide, use)


def assert_near(found: list[Tensor], wanted: list[Tensor], relative: float = 1e-5) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b.double()).abs().max() <= relative * b.double().abs().max()


def test_the_kernel_is_what_runs(kernel, gpu_device, monkeypatch):
    calls = []
    for name in ("forward", "backward"):
        real = getattr(kernel, name)
        monkeypatch.setattr(
            kernel, name, lambda *a, name=name, real=real: calls.append(name) or real(*a)
        )
    evaluate(ours, draw(gpu_device))
    assert calls == ["forward", "backward"]
    with gpu.use(gpu.OFF):
        evaluate(ours, draw(gpu_device))
    assert calls == ["forward", "backward"]


@pytest.mark.parametrize("T", [1, 2, 7, 8, 9, 33])
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
def test_equals_the_parts(kernel, gpu_device, T, resets, lengths):
    values = draw(gpu_device, T=T, resets=resets, lengths=lengths)
    assert_near(evaluate(ours, values), exact(values))


@pytest.mark.parametrize("H", [1, 129])
def test_at_the_edges_of_tiles(kernel, gpu_device, H):
    values = draw(gpu_device, T=9, H=H)
    assert_near(evaluate(ours, values), exact(values))


@pytest.mark.parametrize("use", ["states", "last"])
def test_gradients_of_one_result_alone(kernel, gpu_device, use):
    values = draw(gpu_device)
    assert_near(evaluate(ours, values, use), exact(values, use))


def test_a_sum_of_the_states_has_a_gradient_without_memory_of_its_own(kernel, gpu_device):
    values = draw(gpu_device)
    grads = []
    for run in (ours, reference):
        x = values[0].detach().requires_grad_()
        run(x, *values[1:])[0].sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_what_is_projected_in_half_precision_is_computed_wide(kernel, gpu_device, dtype):
    values = draw(gpu_device)
    values[0] = values[0].to(dtype)
    found, wanted = evaluate(ours, values), exact(values)
    assert [v.dtype for v in found] == [torch.float32, torch.float32, dtype, torch.float32]
    assert_near(found[:2] + found[3:], wanted[:2] + wanted[3:])
    assert_near(found[2:3], wanted[2:3], relative=torch.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_in_its_sequence_and_ends_at_a_reset(kernel, gpu_device, bad):
    values = draw(gpu_device, lengths=False)
    clean = evaluate(ours, values)
    values[2][:, 9] = True
    values[2][1, :9] = False
    values[0][1, 3, 5:] = bad  # the candidate of step 3
    states, last, grad_x, grad_h = evaluate(ours, values)
    finite = states.isfinite()
    assert finite[::2].all()
    assert finite[1, :3].all()
    assert not finite[1, 3:9].any()
    assert finite[1, 9:].all()
    assert last.isfinite().all()
    assert grad_x[::2].isfinite().all()
    assert grad_x[1, 9:].isfinite().all()
    assert torch.equal(states[2, :9], clean[0][2, :9])


def test_padding_keeps_the_bits_of_the_state(kernel, gpu_device):
    x, h, _, _ = draw(gpu_device, B=2, resets=False)
    states, last = mingru(x, h, None, torch.tensor([7, 0], device=gpu_device))
    assert torch.equal(last, torch.stack([states[0, 6], h[1]]))
    assert not states[0, 7:].any()
    assert not states[1].any()


def test_the_same_bits_twice_and_inputs_are_never_changed(kernel, gpu_device):
    values = draw(gpu_device)
    before = [v.clone() for v in values]
    first, second = evaluate(ours, values), evaluate(ours, values)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))


def test_second_derivatives_equal_those_of_the_parts(kernel, gpu_device):
    def second(run, values):
        x, h = (v.detach().requires_grad_() for v in values[:2])
        states, last = run(x, h, *values[2:])
        value = states.pow(3).sum() + last.square().sum()
        grads = torch.autograd.grad(value, [x, h], create_graph=True)
        return [v.cpu() for v in torch.autograd.grad(sum(g.square().sum() for g in grads), [x, h])]

    values = draw(gpu_device, T=9)
    wide = [v.double() if v.is_floating_point() else v for v in values]
    assert_near(second(ours, values), second(reference, wide))


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True, "memory": Memory(cells=64, heads="key key")},
        {"checkpoint_every": 4, "memory": Memory(cells=64, heads="key key tape")},
    ],
    ids=["both ways", "recomputed"],
)
def test_a_layer_computes_what_it_does_in_torch(kernel, gpu_device, options):
    torch.manual_seed(0)
    layer = RAMGRU(6, 8, 2, controller="mingru", batch_first=True, **options).to(gpu_device)
    x = torch.randn(2, 11, 6, device=gpu_device, requires_grad=True)
    lengths = torch.tensor([11, 6], device=gpu_device)

    def run() -> list[Tensor]:
        output, h = layer(x, lengths=lengths)
        leaves = [x, *layer.parameters()]
        return [output, h, *torch.autograd.grad(output.square().sum() + h.sum(), leaves)]

    found = run()
    with gpu.use(gpu.OFF):
        wanted = run()
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
