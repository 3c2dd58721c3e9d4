"""The native CPU kernels: one shared library with a plain C interface, called through ctypes.

It is built when the package is installed and there is a C++ compiler. Where it is missing, the
portable torch path runs instead, and `available` says so once.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ISAS = ("avx512", "avx2", "baseline")  # best first
PORTABLE = "portable"  # vectorised torch in place of native code
STORAGE = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
FILE = Path(__file__).with_name("library.so")
FIX = "pip install --force-reinstall --no-deps --no-cache-dir ramgru, with a C++ compiler there"


@cache
def library() -> ctypes.CDLL | None:
    """The shared library, told which threads are torch's; None where it is not there."""
    try:
        lib = ctypes.CDLL(str(FILE))
    except OSError:
        return None
    entries = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    runtime = _openmp()
    if runtime is not None:
        lib.ramgru_set_runtime(
            *(ctypes.cast(getattr(runtime, name), ctypes.c_void_p) for name in entries)
        )
    return lib


def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch has loaded, where it has GNU's entry point."""
    if not sys.platform.startswith("linux"):
        return None
    beside = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    beside += sorted((Path(torch.__file__).parents[1] / "torch.libs").glob("libgomp*.so*"))
    for name in (*map(str, beside), "libgomp.so.1", "libiomp5.so", "libomp.so"):
        try:  # only what is loaded already
            found = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:
            continue
        if hasattr(found, "GOMP_parallel"):
            return found
    return None


@cache
def supported() -> tuple[str, ...]:
    """The instruction sets that this processor has, best first; empty without the library."""
    lib = library()
    if lib is None:
        return ()
    return tuple(isa for isa in ISAS if lib.ramgru_supports(isa.encode()))


def _first() -> str:
    wanted = os.environ.get("RAMGRU_ISA")
    if wanted is None:
        return supported()[0] if supported() else PORTABLE
    choices = (*supported(), PORTABLE)
    if wanted not in choices:
        raise ValueError(f"RAMGRU_ISA: expected one of {choices} on this machine, got {wanted!r}")
    return wanted


_isa: str | None = None


def isa() -> str:
    """The instruction set that kernels run with, or "portable". RAMGRU_ISA sets it at the start."""
    global _isa
    if _isa is None:
        _isa = _first()
    return _isa


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run with another instruction set inside a `with`: one of `supported()`, or "portable"."""
    global _isa
    if name not in (*supported(), PORTABLE):
        raise ValueError(f"isa: expected one of {(*supported(), PORTABLE)}, got {name!r}")
    before, _isa = isa(), name
    try:
        yield
    finally:
        _isa = before


@cache
def _warn_of_missing() -> None:
    warnings.warn(
        "ramgru: the native CPU kernels are not built, so the slower portable path runs. "
        f"To build them: {FIX}",
        stacklevel=2,
    )


def runs(*tensors: Tensor | None) -> bool:
    """Whether native code takes these tensors: all on the CPU, with numbers in them."""
    if isa() == PORTABLE:
        if library() is None:
            _warn_of_missing()
        return False
    return all(
        t is None
        or (t.device.type == "cpu" and (t.dtype in STORAGE or not t.dtype.is_floating_point))
        for t in tensors
    )


def arguments(name: str, sizes: str, tensors: str) -> type[ctypes.Structure]:
    """The mirror of a kernel's struct: bytes, threads, the sizes, then one pointer a tensor."""
    fields: list[tuple[str, Any]] = [("bytes", ctypes.c_int64), ("threads", ctypes.c_int64)]
    fields += [(size, ctypes.c_int64) for size in sizes.split()]
    fields += [(tensor, ctypes.c_void_p) for tensor in tensors.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


@cache
def _kernel(name: str, storage: str, isa: str) -> Callable[[Any], int]:
    kernel = getattr(library(), f"ramgru_{name}_{storage}_{isa}")
    kernel.argtypes, kernel.restype = [ctypes.c_void_p], ctypes.c_int
    return kernel


def call(
    name: str,
    storage: torch.dtype,
    struct: type[ctypes.Structure],
    sizes: tuple[int, ...],
    tensors: tuple[Tensor | None, ...],
) -> None:
    """Run a kernel on contiguous tensors, on as many threads as torch is set to."""
    for t in tensors:
        assert t is None or t.is_contiguous(), (name, t.shape, t.stride())
    pointers = (None if t is None else t.data_ptr() for t in tensors)
    given = struct(ctypes.sizeof(struct), torch.get_num_threads(), *sizes, *pointers)
    failed = _kernel(name, STORAGE[storage], isa())(ctypes.addressof(given))
    if failed:
        raise MemoryError(f"{name}: not enough memory") if failed == 1 else AssertionError(name)
