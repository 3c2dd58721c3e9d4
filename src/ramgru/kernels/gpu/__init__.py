"""Which tensors Triton kernels take."""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

STORAGE = (torch.float32, torch.bfloat16, torch.float16)


def interprets() -> bool:
    return os.environ.get("RAMGRU_TRITON") == "1" and os.environ.get("TRITON_INTERPRET") == "1"


def available() -> bool:
    there = importlib.util.find_spec("triton") is not None
    return there and (interprets() or torch.cuda.is_available())


def takes(*tensors: Tensor | None) -> bool:
    places = ("cuda", "cpu") if interprets() else ("cuda",)
    return available() and all(
        t.device.type in places
        and (not t.is_floating_point() or t.dtype in STORAGE)
        and not t.is_neg()
        for t in tensors
        if t is not None
    )


def on_device_of(t: Tensor) -> AbstractContextManager[object]:
    return torch.cuda.device(t.device) if t.device.type == "cuda" else nullcontext()
