"""What all Triton kernels share: the switches, the import of triton and the choice of a device.

Triton is imported when the first tensor on a GPU arrives, never with ramgru. If triton is missing,
PyTorch code runs on the GPU and a warning says so once. Two environment variables:

    RAMGRU_TRITON      0: no Triton kernel runs; 1: with TRITON_INTERPRET=1, CPU tensors as well
    TRITON_INTERPRET   1, before triton is imported: its interpreter runs the kernels, slowly
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor

STORAGE = (torch.float32, torch.bfloat16, torch.float16)
DTYPES = "float32, bfloat16 and float16"
FIX = "pip install triton"
ON, OFF = "on", "off"

_mode: str | None = None


def mode() -> str:
    """Whether Triton kernels run for tensors on a GPU: "on" or "off"."""
    global _mode
    if _mode is None:
        wanted = os.environ.get("RAMGRU_TRITON", "")
        if wanted not in ("", "0", "1"):
            raise ValueError(f"RAMGRU_TRITON: expected 0, 1 or nothing, got {wanted!r}")
        _mode = OFF if wanted == "0" else ON
    return _mode


@contextmanager
def use(wanted: str) -> Iterator[None]:
    """Turn Triton kernels "on" or "off" inside a `with`."""
    global _mode
    if wanted not in (ON, OFF):
        raise ValueError(f"wanted: expected one of {(ON, OFF)}, got {wanted!r}")
    before, _mode = mode(), wanted
    try:
        yield
    finally:
        _mode = before


def interprets() -> bool:
    """Whether Triton's interpreter runs the kernels on CPU tensors, as in the tests."""
    return os.environ.get("TRITON_INTERPRET") == "1" and os.environ.get("RAMGRU_TRITON") == "1"


def devices() -> tuple[str, ...]:
    """The types of device whose tensors Triton kernels take."""
    return ("cuda", "cpu") if interprets() else ("cuda",)


@cache
def _missing() -> str:
    """Why triton cannot be imported; empty if it can."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return str(error)
    return ""


def refusal() -> str:
    """Why no Triton kernel runs at all; empty if they run. Warns once if triton is missing."""
    if mode() == OFF:
        return "Triton is turned off"
    if why := _missing():
        _warn_of_missing()
        return f"triton is missing ({why})"
    return ""


def on_device_of(t: Tensor) -> AbstractContextManager[object]:
    """Launch on this tensor's GPU inside a `with`, whichever GPU is current outside."""
    return torch.cuda.device(t.device) if t.device.type == "cuda" else nullcontext()


@cache
def _warn_of_missing() -> None:
    warnings.warn(
        f"ramgru: triton is missing ({_missing()}), so slower PyTorch code runs on the GPU. "
        f"To install it: {FIX}",
        stacklevel=3,
    )


def info() -> dict[str, str]:
    """The version of triton or how to install it, and what runs on a GPU."""
    missing = _missing()
    version = f"missing ({missing}); to install it: {FIX}" if missing else _version()
    return {"triton": version, "runs": summary()}


def _version() -> str:
    return str(importlib.import_module("triton").__version__)


def summary() -> str:
    """What runs an operation that has a Triton kernel, for tensors on a GPU."""
    if mode() == OFF:
        return "PyTorch on a GPU: Triton is turned off"
    if interprets() and not _missing():
        return "Triton's interpreter, for CPU tensors as well"
    if not torch.cuda.is_available():
        return "Triton on a GPU; PyTorch finds no GPU here"
    if _missing():
        return f"PyTorch on the GPU: triton is missing; to install it: {FIX}"
    return f"Triton on the GPU in {DTYPES}, PyTorch in float64"
