"""What all Triton kernels share: which tensors they take, and a line that says so.

Triton is imported when the first tensor on a GPU comes by, never with ramgru. Where it is missing,
torch code runs on the GPU instead, and a warning says so once. Two environment variables:

    RAMGRU_TRITON      0: no Triton kernel runs; 1: the CPU's tensors too, if the next is 1 as well
    TRITON_INTERPRET   1, before triton is imported: its interpreter runs them, slowly, anywhere
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
FIX = 'pip install "ramgru[triton]"'
ON, OFF = "on", "off"

_mode: str | None = None


def mode() -> str:
    """Whether Triton kernels run: "on" where a GPU's tensors come, or "off"."""
    global _mode
    if _mode is None:
        wanted = os.environ.get("RAMGRU_TRITON", "")
        if wanted not in ("", "0", "1"):
            raise ValueError(f"RAMGRU_TRITON: expected 0, 1 or nothing, got {wanted!r}")
        _mode = OFF if wanted == "0" else ON
    return _mode


@contextmanager
def use(wanted: str) -> Iterator[None]:
    """Run with Triton's kernels or without them inside a `with`: "on" or "off"."""
    global _mode
    if wanted not in (ON, OFF):
        raise ValueError(f"wanted: expected one of {(ON, OFF)}, got {wanted!r}")
    before, _mode = mode(), wanted
    try:
        yield
    finally:
        _mode = before


def interprets() -> bool:
    """Whether Triton's interpreter runs the kernels on the CPU's tensors, as in the tests."""
    return os.environ.get("RAMGRU_TRITON") == "1" and os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _missing() -> str:
    """Why triton cannot be imported; empty where it can."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return str(error)
    return ""


def available() -> bool:
    """Whether triton is there, and something to run its kernels on."""
    return (interprets() or torch.cuda.is_available()) and not _missing()


def takes(*tensors: Tensor | None) -> bool:
    """Whether a Triton kernel runs for tensors like these; it may be asked of fake ones.

    Those of a GPU (or of the CPU under the interpreter), of float32, bfloat16 or float16 where they
    are real numbers. None stands for no tensor. Warns, once, of tensors on a GPU without triton.
    """
    if mode() == OFF:
        return False
    places = ("cuda", "cpu") if interprets() else ("cuda",)
    given = [t for t in tensors if t is not None]
    for t in given:
        if t.device.type not in places or (t.dtype not in STORAGE and _is_real(t)) or t.is_neg():
            return False
    if not given or len({t.device for t in given}) > 1:
        return False
    if _missing():
        _warn_of_missing()
        return False
    return True


def _is_real(t: Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def on_device_of(t: Tensor) -> AbstractContextManager[object]:
    """Launches inside a `with` go to this tensor's GPU, whichever is current outside."""
    return torch.cuda.device(t.device) if t.device.type == "cuda" else nullcontext()


@cache
def _warn_of_missing() -> None:
    warnings.warn(
        f"ramgru: triton is missing ({_missing()}), so slower torch code runs on the GPU. "
        f"To install it: {FIX}",
        stacklevel=3,
    )


def info() -> dict[str, str]:
    """What runs on a GPU and why, and which triton is there."""
    missing = _missing()
    version = f"missing ({missing}); to install it: {FIX}" if missing else _version()
    return {"triton": version, "runs": summary()}


def _version() -> str:
    return str(importlib.import_module("triton").__version__)


def summary() -> str:
    """What an operation with a Triton kernel runs on where its tensors are on a GPU, in a line."""
    if mode() == OFF:
        return "torch on a GPU: Triton is turned off"
    if interprets() and not _missing():
        return "Triton's interpreter for the CPU's tensors as well"
    if not torch.cuda.is_available():
        return "Triton on a GPU, of which torch sees none here"
    if _missing():
        return f"torch on the GPU: triton is missing; to install it: {FIX}"
    return "Triton on the GPU in float32, bfloat16 and float16, torch in float64"
