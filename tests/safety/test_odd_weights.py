"""Weights that are not plain tensors, and modules with code of their own: paths have the numbers
of the plain form."""

from __future__ import annotations

import functools
import itertools
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils._pytree import tree_map_only

from ramgru import RAMGRU, Memory, fast_step
from ramgru.kernels import native

built = pytest.mark.skipif(not native.supported(), reason="the native library is not built")


class Wrapped(Tensor):
    """A tensor that holds its numbers elsewhere, as quantised and sharded weights do."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapped:
        made: Any = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(Wrapped, lambda t: t.inner, (args, kwargs or {}))
        found = func(*args, **kwargs)
        aten = torch.ops.aten
        return Wrapped(found) if func in (aten.detach.default, aten.alias.default) else found


class Doubled(nn.Parameter):
    """A weight of half the size, which its functions double."""

    @classmethod
    def __torch_function__(cls, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            twice = tree_map_only(Doubled, lambda t: t.as_subclass(Tensor) * 2, args)
            return func(*(args if func.__name__ in PROPERTIES else twice), **(kwargs or {}))


PROPERTIES = {"__get__", "dim", "size", "is_neg", "__repr__", "detach", "is_complex", "numel"}


def negative(x: Tensor) -> Tensor:
    """The same numbers as a view of their negatives."""
    return torch._neg_view(x.neg())


def of_conjugate(x: Tensor) -> Tensor:
    return torch.complex(torch.zeros_like(x), -x).conj().imag


def strided(x: Tensor) -> Tensor:
    return torch.stack([x, x + 1], dim=-1)[..., 0]


def back_to_front(x: Tensor) -> Tensor:
    """The same numbers, the first dimension last in memory."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


def expanded(x: Tensor) -> Tensor:
    """Other numbers: the first entry in place of all, once in memory."""
    return x[:1].expand_as(x)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "wrapped": Wrapped,
    "negative": negative,
    "of a conjugate": of_conjugate,
    "strided": strided,
    "back to front": back_to_front,
    "expanded": expanded,
    "a part of a whole": lambda x: torch.cat([x.flatten(), x.flatten()])[x.numel() :].view(x.shape),
}


def layer(**options: Any) -> RAMGRU:
    torch.manual_seed(3)
    memory = Memory(cells=36, heads="key key:2 learned lag:5 tape tape", tag=4)
    made = RAMGRU(5, 8, **{"batch_first": True, "memory": memory, **options}).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made.requires_grad_(False)


def numbers(of: RAMGRU) -> list[Tensor]:
    """Of a sequence and of a stream."""
    x = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(7))
    stream = of.stream(2)
    return [of(x)[0], torch.stack([stream.step(now) for now in x.unbind(1)], dim=1)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


NAMES = [name for name, _ in layer().named_parameters()]
BUFFERS = [name for name, _ in layer().named_buffers()]


@functools.cache
def plain_numbers(controller: str = "gru") -> list[Tensor]:
    return numbers(layer(controller=controller))


@built
def test_the_plain_form_takes_the_native_step() -> None:
    assert fast_step.refusal(layer()._parts(), torch.float32) == ""


@settings(max_examples=25)
@given(
    name=st.sampled_from(NAMES + BUFFERS),
    form=st.sampled_from([*FORMS]),
    how=st.sampled_from(["replaced", "data"]),
    warm=st.booleans(),
    controller=st.sampled_from(["gru", "diagonal"]),
)
def test_any_form_of_any_weight(
    name: str, form: str, how: str, warm: bool, controller: str
) -> None:
    """Before the first step or after some, as another tensor or as other `.data`."""
    odd = layer(controller=controller)
    if warm:
        numbers(odd)
    owner = odd.get_submodule(name.rpartition(".")[0])
    own = owner._parameters if name in NAMES else owner._buffers
    last = name.rpartition(".")[2]
    other = FORMS[form](own[last].detach().clone())
    expected = plain_numbers(controller)
    if form == "expanded":
        plain = layer(controller=controller)
        with torch.no_grad():
            plain.state_dict(keep_vars=True)[name].copy_(other)
        expected = numbers(plain)
    if how == "data" and form != "wrapped":
        own[last].data = other
    else:
        own[last] = nn.Parameter(other, requires_grad=False) if name in NAMES else other
    assert_same(numbers(odd), expected)


def hook_nothing(module: nn.Module) -> None:
    module.register_forward_hook(lambda *_: None)


def doubles_forward(module: nn.Module) -> None:
    """The output of the module twice, by a forward of its own."""
    former = module.forward

    def forward(self: nn.Module, *args: Any) -> Any:
        found = former(*args)
        return (2 * found[0], *found[1:]) if isinstance(found, tuple) else 2 * found

    module.forward = types.MethodType(forward, module)


def doubles_by_hook(module: nn.Module) -> None:
    def hook(_: nn.Module, args: Any, found: Any) -> Any:
        return (2 * found[0], *found[1:]) if isinstance(found, tuple) else 2 * found

    module.register_forward_hook(hook)


PARTS = ("memory_l0", "memory_l0.candidate", "memory_l0.read_out", "")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("change", [doubles_forward, doubles_by_hook])
@pytest.mark.parametrize("warm", [False, True], ids=["at first", "later"])
def test_code_of_a_module_runs_in_steps_too(part: str, change: Any, warm: bool) -> None:
    odd = layer()
    plain = numbers(odd)[0] if warm else plain_numbers()[0]
    if not part and change is doubles_forward:
        return  # a step of such a layer is a function of its own
    change(odd.get_submodule(part))
    whole, steps = numbers(odd)
    assert not torch.allclose(whole, plain)
    torch.testing.assert_close(steps, whole, rtol=1e-5, atol=1e-6)


def test_a_global_hook_sees_the_modules_of_a_step() -> None:
    made, seen = layer(), []
    stream = made.stream(2)
    for _ in range(2):
        stream.step(torch.zeros(2, 5))
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.append(m))
    try:
        stream.step(torch.zeros(2, 5))
    finally:
        handle.remove()
    assert made.memories[0].candidate in seen


@pytest.mark.parametrize("name", NAMES)
def test_pruned_weights(name: str) -> None:
    odd, plain = layer(), layer()
    owner, _, last = name.rpartition(".")
    numbers(odd)
    prune.random_unstructured(odd.get_submodule(owner), last, 0.5)
    weight = getattr(odd.get_submodule(owner), last)
    with torch.no_grad():
        plain.get_parameter(name).copy_(weight)
    assert_same(numbers(odd), numbers(plain))


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


@pytest.mark.parametrize("name", NAMES)
def test_parametrized_weights(name: str) -> None:
    odd, plain = layer(), layer()
    owner, _, last = name.rpartition(".")
    numbers(odd)
    parametrize.register_parametrization(odd.get_submodule(owner), last, Twice())
    with torch.no_grad():
        plain.get_parameter(name).mul_(2)
    assert_same(numbers(odd), numbers(plain))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("name", [name for name in NAMES if "weight" in name])
def test_normed_weights_that_train_between_steps(name: str, norm: Any) -> None:
    odd, plain = layer(), layer()
    owner, _, last = name.rpartition(".")
    module = odd.get_submodule(owner)
    norm(module, last)
    assert_same(numbers(odd), numbers(plain))
    scales = [p for n, p in module.named_parameters() if n.endswith(("_g", "original0"))]
    with torch.no_grad():
        scales[0].mul_(3)
        plain.get_parameter(name).mul_(3)
    if owner:  # a hook of the layer itself computes the weight at each call of a step too
        steps, expected = numbers(odd)[1], numbers(plain)[1]
        torch.testing.assert_close(steps, expected, rtol=1e-5, atol=1e-5)
    stream, other = odd.stream(2), plain.stream(2)
    x = torch.ones(2, 5)
    torch.testing.assert_close(stream.step(x), other.step(x), rtol=1e-5, atol=1e-5)


def test_weights_that_compute_by_torch_function() -> None:
    odd, plain = layer(), layer()
    numbers(odd)
    weight = odd.memories[0].candidate._parameters["weight"]
    assert weight is not None
    odd.memories[0].candidate._parameters["weight"] = Doubled(weight / 2, requires_grad=False)
    assert_same(numbers(odd), numbers(plain))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantized tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:.*leaves it as it is:UserWarning")
def test_layers_beside_quantised_ones() -> None:
    """Dynamic quantisation replaces `nn.Linear` alone."""
    model = nn.Sequential(nn.Linear(5, 5), layer())
    expected = numbers(model[1])
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert_same(numbers(quantised[1]), expected)


def test_inputs_and_gradients_of_any_form() -> None:
    made = layer().train().requires_grad_(True)
    x = torch.randn(2, 5, 5)

    def gradients(x: Tensor, form: Callable[[Tensor], Tensor]) -> list[Tensor]:
        y, h = made(x, torch.zeros(1, 2, 8))
        given = torch.ones_like(y).cumsum(1)
        found = torch.autograd.grad(
            [y, h], list(made.parameters()), [form(given), form(h.detach())], allow_unused=True
        )
        return [g for g in found if g is not None]

    expected = gradients(x, Tensor.clone)
    for form in (negative, of_conjugate, strided, back_to_front):
        assert_same(gradients(form(x), form), expected)
    x = x[:1].expand(2, -1, -1)  # one sequence twice, with one gradient
    found = gradients(x, lambda g: g[:1].expand_as(g))
    assert_same(found, gradients(x.clone(), lambda g: g[:1].expand_as(g).clone()))


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
def test_weights_replaced_while_threads_run(controller: str) -> None:
    """The new weights are equal to the old ones, and so are the outputs. The old ones are kept:
    torch itself crashes, in nn.GRU too, where `p.data = …` frees what another thread reads."""
    made, failed, kept = layer(controller=controller), [], []
    expected, stop = numbers(made), threading.Event()

    def run() -> None:
        try:
            for _ in range(15):
                assert_same(numbers(made), expected)
        except BaseException as error:
            failed.append(error)

    def replace() -> None:
        for p in itertools.cycle([*made.parameters(), *made.buffers()]):
            kept.append(p.data)
            p.data = p.data.clone()
            if stop.is_set():
                break

    threads = [threading.Thread(target=run) for _ in range(2)]
    other = threading.Thread(target=replace)
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    other.join()
    assert not failed, failed[0]
