"""Which code computes an operation: a native CPU kernel, a Triton kernel or PyTorch.

`choose` is the only place that decides, and it gives the reason in a sentence.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ramgru.kernels import gpu, native

CPU, TRITON, TORCH = "cpu", "triton", "torch"


class Choice(NamedTuple):
    path: str  # CPU, TRITON or TORCH
    reason: str


NATIVE = Choice(CPU, "the native library has a kernel for these tensors")
ON_GPU = Choice(TRITON, "a Triton kernel takes these tensors")
TRACED = Choice(TORCH, "torch.compile, a torch.func transform or forward-mode AD is active")
WRAPPED = Choice(
    TORCH, "a tensor subclass, a sparse tensor or a negative-bit view hides the numbers in memory"
)

_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})
_NUMBERS = frozenset({*native.STORAGE, torch.int64, torch.bool})


def choose(*tensors: Tensor | None, triton: bool = False, in_operator: bool = False) -> Choice:
    """The code for these tensors; None stands for an input that is absent.

    triton: whether the operation has a Triton kernel
    in_operator: the caller implements a `torch.library` operator, which is called below all
        transforms, and with fake tensors while tracing
    """
    if not in_operator:
        if not is_eager():
            return TRACED
        if not are_plain(*tensors):
            return WRAPPED
    interprets = triton and gpu.interprets()
    refused = native_refusal(*tensors)
    if not refused and not interprets:
        return NATIVE
    if triton:
        why = triton_refusal(*tensors)
        if not why:
            return ON_GPU
        if any(t is not None and t.device.type == "cuda" for t in tensors):
            refused = why
    return Choice(TORCH, refused) if refused else NATIVE


def is_eager() -> bool:
    """Whether calls simply compute: nothing traces, compiles or transforms them."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether the numbers lie in memory at the tensors' addresses, with their own signs."""
    for t in tensors:
        if t is not None and (
            type(t) not in _PLAIN
            or t.layout is not torch.strided
            or t.is_neg()
            or t._is_zerotensor()
        ):
            return False
    return True


def held(*tensors: Tensor | None) -> list[Tensor | None]:
    """The same tensors, as they are now: `.data = …` in another thread does not reach a kernel."""
    # Nobody else has a tensor that has a history.
    return [t if t is None or t.grad_fn is not None else t.detach() for t in tensors]


def native_refusal(*tensors: Tensor | None) -> str:
    """Why the native kernels do not take tensors like these; empty if they do."""
    for t in tensors:
        if t is None:
            continue
        if not t.is_cpu:
            return f"native kernels need CPU tensors, got {t.device.type}"
        if t.dtype not in _NUMBERS:
            return f"native kernels take {', '.join(native.STORAGE.values())}, got {t.dtype}"
    return native.refusal()


def triton_refusal(*tensors: Tensor | None) -> str:
    """Why the Triton kernels do not take tensors like these; empty if they do."""
    places = gpu.devices()
    given = [t for t in tensors if t is not None]
    for t in given:
        if t.device.type not in places:
            return f"Triton kernels need tensors on {' or '.join(places)}, got {t.device.type}"
        if t.dtype not in gpu.STORAGE and is_number(t.dtype):
            return f"Triton kernels take {gpu.DTYPES}, got {t.dtype}"
        if t.is_neg():
            return "Triton kernels take no negative-bit views"
    if len({t.device for t in given}) != 1:
        return "Triton kernels need all tensors on one device"
    return gpu.refusal()


def is_number(dtype: torch.dtype) -> bool:
    """Whether the elements are real or complex numbers, as opposed to integers or booleans."""
    return dtype.is_floating_point or dtype.is_complex


_OPERATIONS: dict[str, Operation] = {}
_noted: ContextVar[dict[str, list[Choice]] | None] = ContextVar("noted", default=None)


@contextmanager
def noted() -> Iterator[dict[str, list[Choice]]]:
    """-> the choices that are made inside a `with` in this thread, by operation, each once."""
    found: dict[str, list[Choice]] = {}
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


@dataclass(frozen=True)
class Operation:
    """An operation of this package, and the kernels that it has beside its PyTorch code."""

    name: str
    kernel: str  # its name in the native library
    triton: str = ""  # the module of its Triton kernels

    def __post_init__(self) -> None:
        _OPERATIONS[self.name] = self

    def choose(self, *tensors: Tensor | None, in_operator: bool = False) -> Choice:
        choice = choose(*tensors, triton=bool(self.triton), in_operator=in_operator)
        if not torch.compiler.is_compiling() and (found := _noted.get()) is not None:
            choices = found.setdefault(self.name, [])
            choices += [choice] * (choice not in choices)
        return choice

    def summary(self) -> str:
        """The code that computes the operation on the CPU and on a GPU."""
        if native.isa() == native.PORTABLE:
            cpu = f"PyTorch on the CPU: {native.refusal(warn=False)}"
        elif native.has(self.kernel):
            cpu = f"native {native.isa()} on the CPU"
        else:
            cpu = "PyTorch on the CPU: the native library has no kernel for it"
        return f"{cpu}; {gpu.summary() if self.triton else 'PyTorch on a GPU'}"


def info() -> dict[str, str]:
    """The name of each operation -> a line about the code that computes it."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")  # registers its operations
    return {name: _OPERATIONS[name].summary() for name in sorted(_OPERATIONS)}
