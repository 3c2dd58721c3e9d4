"""The native CPU kernels: one shared library with a C interface, called through ctypes.

Installing the package builds the library if a C++ compiler is present. If the library is missing,
PyTorch code runs instead and a warning says so once. Two environment variables are read when the
first kernel runs:

    RAMGRU_ISA       the instruction set: avx512, avx2, baseline, or portable for PyTorch code
    RAMGRU_LIBRARY   the path of another build of the library, which must exist
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

ISAS = ("avx512", "avx2", "baseline")  # best first
PORTABLE = "portable"  # PyTorch in place of native code
STORAGE = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
FILE = Path(__file__).with_name("library.so")


def library() -> ctypes.CDLL | None:
    """The shared library, which shares torch's threads; None if it is missing."""
    return _load()[0]


@cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    """-> the library, and the reason why it did not load"""
    named = os.environ.get("RAMGRU_LIBRARY")
    if named is None and not FILE.exists():
        return None, "not built"
    try:
        lib = ctypes.CDLL(named or str(FILE))
    except OSError as error:
        if named is not None:
            raise OSError(f"RAMGRU_LIBRARY: {error}") from error
        return None, str(error)
    runtime = _openmp()
    if runtime is not None:
        entries = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        lib.ramgru_set_runtime(
            *(ctypes.cast(getattr(runtime, name), ctypes.c_void_p) for name in entries)
        )
    return lib, ""


@cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch has loaded, if that has GNU's entry points."""
    if not sys.platform.startswith("linux"):
        return None
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    found += sorted((Path(torch.__file__).parents[1] / "torch.libs").glob("libgomp*.so*"))
    for name in (*map(str, found), "libgomp.so.1", "libiomp5.so", "libomp.so"):
        try:  # RTLD_NOLOAD: only a library that is loaded already
            runtime = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:
            continue
        if hasattr(runtime, "GOMP_parallel"):
            return runtime
    return None


def team_is_whole() -> bool:
    """Whether OpenMP starts as many threads as torch counts on: not under OMP_DYNAMIC, nor above
    OMP_THREAD_LIMIT. Kernels of this library take any number; oneDNN's are wrong on fewer."""
    threads = torch.get_num_threads()
    if threads == 1:
        return True
    runtime = _openmp()
    if runtime is None:
        return False
    return not runtime.omp_get_dynamic() and int(runtime.omp_get_thread_limit()) >= threads


def fix() -> str:
    """The command that builds a missing library, given a C++ compiler."""
    source = FILE.parents[4]
    if (source / "setup.py").exists():  # an editable install
        return f"pip install --no-deps --editable {source}"
    return "pip install --force-reinstall --no-deps --no-cache-dir PATH-OF-THE-SOURCE"


@cache
def supported() -> tuple[str, ...]:
    """The instruction sets of both this processor and the library, best first."""
    lib = library()
    return tuple(
        isa
        for isa in ISAS
        if lib is not None
        and hasattr(lib, f"ramgru_memory_step_float32_{isa}")
        and lib.ramgru_supports(isa.encode())
    )


_isa: str | None = None


def isa() -> str:
    """The instruction set that kernels run with, or "portable"."""
    global _isa
    if _isa is None:
        wanted = os.environ.get("RAMGRU_ISA")
        _isa = (*supported(), PORTABLE)[0] if wanted is None else _checked("RAMGRU_ISA", wanted)
    return _isa


def _checked(name: str, wanted: str) -> str:
    choices = (*supported(), PORTABLE)
    if wanted not in choices:
        without = "" if supported() else f"; the library is missing: {_load()[1]}"
        raise ValueError(f"{name}: expected one of {choices} here, got {wanted!r}{without}")
    return wanted


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run with another instruction set inside a `with`: one of `supported()` or "portable"."""
    global _isa
    before, _isa = isa(), _checked("isa", name)
    try:
        yield
    finally:
        _isa = before


def info() -> dict[str, str]:
    """The path of the library or how to build it, the instruction set and the threads."""
    forced = " (set by RAMGRU_ISA)" if "RAMGRU_ISA" in os.environ else ""
    lib, why = _load()
    if lib is None:
        return {
            "library": f"missing ({why}); to build it, with a C++ compiler installed: {fix()}",
            "runs": f"{isa()}{forced}: slower PyTorch code",
        }
    runtime = _openmp()
    pool = "threads of its own" if runtime is None else f"torch's OpenMP ({runtime._name})"
    return {
        "library": os.environ.get("RAMGRU_LIBRARY", str(FILE)),
        "runs": f"{isa()}{forced}; available: {', '.join(supported())}",
        "threads": f"{torch.get_num_threads()}, {pool}",
    }


def refusal(warn: bool = True) -> str:
    """Why no native kernel runs at all; empty if they run. Warns once if the library is missing."""
    if isa() != PORTABLE:
        return ""
    if "RAMGRU_ISA" in os.environ or library() is not None:
        return "PyTorch code was asked for (RAMGRU_ISA=portable or native.use)"
    if warn:
        _warn_of_missing()
    return f"the native library is missing ({_load()[1]})"


@cache
def _warn_of_missing() -> None:
    warnings.warn(
        f"ramgru: the native CPU kernels are missing ({_load()[1]}), so slower PyTorch code runs. "
        f"To build them, with a C++ compiler installed: {fix()}",
        stacklevel=2,
    )


def has(name: str) -> bool:
    """Whether the library holds this kernel, for the instruction set that runs."""
    return hasattr(library(), f"ramgru_{name}_float32_{isa()}")


def arguments(name: str, sizes: str, tensors: str) -> struct.Struct:
    """The layout of the C++ struct `name`: bytes, threads, the sizes, then a pointer a tensor."""
    return struct.Struct(f"{2 + len(sizes.split())}q{len(tensors.split())}Q")


@cache
def _kernel(name: str, storage: torch.dtype, isa: str) -> Callable[[bytes | int], int]:
    kernel = getattr(library(), f"ramgru_{name}_{STORAGE[storage]}_{isa}", None)
    if kernel is None:
        raise RuntimeError(
            f"{name}: not in the native library, which is older; to build it: {fix()}"
        )
    kernel.argtypes, kernel.restype = [ctypes.c_void_p], ctypes.c_int
    return kernel


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """The tensor as kernels take it; None stays None."""
    return None if tensor is None else tensor.contiguous()


def call(
    name: str,
    storage: torch.dtype,
    layout: struct.Struct,
    sizes: tuple[int, ...],
    tensors: tuple[Tensor | None, ...],
    strided: tuple[Tensor, ...] = (),
) -> None:
    """Run a kernel on torch's number of threads.

    `tensors` are contiguous; the strides of the `strided` ones are among the sizes. Whoever calls
    has chosen this path by `dispatch`, for tensors that no other thread replaces (`held`).
    """
    pointers = []
    for t in (*tensors, *strided):
        if t is None:
            pointers.append(0)
            continue
        if not t.is_cpu or t.is_neg() or not (t.is_contiguous() or len(pointers) >= len(tensors)):
            raise RuntimeError(
                f"{name}: expected plain, contiguous CPU tensors, got one of shape "
                f"{tuple(t.shape)}, strides {t.stride()}, device {t.device}"
            )
        pointers.append(t.data_ptr())
    run(name, storage, layout.pack(layout.size, torch.get_num_threads(), *sizes, *pointers))


def run(name: str, storage: torch.dtype, given: bytes | int) -> None:
    """Run a kernel on its packed arguments, or on those at an address, which are not checked. The
    caller holds the memory."""
    failed = _kernel(name, storage, isa())(given)
    if failed == 1:
        raise MemoryError(f"{name}: not enough memory")
    if failed == 3:
        raise ValueError(
            f"{name}: expected cells of the state in [0, memory_size), or -1 for unused places"
        )
    if failed:
        raise RuntimeError(f"{name}: the native library has other sources; to build it: {fix()}")
