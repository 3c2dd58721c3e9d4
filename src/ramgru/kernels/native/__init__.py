"""The native CPU kernels: one shared library with a plain C interface, called through ctypes.

It is built when the package is installed and there is a C++ compiler. Where it is missing, the
portable torch path runs instead, and a warning says so once. Two environment variables, both read
when the first kernel runs:

    RAMGRU_ISA       which instruction set runs: avx512, avx2, baseline, or portable for torch code
    RAMGRU_LIBRARY   another build of the library, which then has to be there
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
PORTABLE = "portable"  # vectorised torch in place of native code
STORAGE = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
FILE = Path(__file__).with_name("library.so")


def library() -> ctypes.CDLL | None:
    """The shared library, told which threads are torch's; None where it is not there."""
    return _load()[0]


@cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    """-> the library, and what kept it from loading"""
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


def fix() -> str:
    """The command that builds a missing library, once a C++ compiler is there."""
    source = FILE.parents[4]
    if (source / "setup.py").exists():  # an editable install
        return f"pip install --no-deps --editable {source}"
    return (
        "pip install --force-reinstall --no-deps --no-cache-dir ramgru (or the path to its source)"
    )


@cache
def supported() -> tuple[str, ...]:
    """The sets that this processor and the library have, best first; empty without the library."""
    lib = library()
    return tuple(
        isa
        for isa in ISAS
        if lib is not None
        and hasattr(lib, f"ramgru_mingru_forward_float32_{isa}")
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
    """Run with another instruction set inside a `with`: one of `supported()`, or "portable"."""
    global _isa
    before, _isa = isa(), _checked("isa", name)
    try:
        yield
    finally:
        _isa = before


def info() -> dict[str, str]:
    """Where the library lies or how to build it, what runs and why, and on which threads."""
    forced = " (set by RAMGRU_ISA)" if "RAMGRU_ISA" in os.environ else ""
    lib, why = _load()
    if lib is None:
        return {
            "library": f"missing ({why}); to build it, with a C++ compiler there: {fix()}",
            "runs": f"{isa()}{forced}: the slower torch path",
        }
    runtime = _openmp()
    pool = "threads of its own" if runtime is None else f"torch's OpenMP ({runtime._name})"
    return {
        "library": os.environ.get("RAMGRU_LIBRARY", str(FILE)),
        "runs": f"{isa()}{forced}; this processor has {', '.join(supported())}",
        "threads": f"{torch.get_num_threads()}, {pool}",
    }


@cache
def _warn_of_missing() -> None:
    warnings.warn(
        f"ramgru: the native CPU kernels are missing ({_load()[1]}), so the slower torch path "
        f"runs. To build them, with a C++ compiler there: {fix()}",
        stacklevel=2,
    )


def runs(*tensors: Tensor | None) -> bool:
    """Whether native code runs for these tensors: plain ones, of a device and dtype it takes."""
    return are_plain(*tensors) and takes(*tensors)


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether these are numbers in memory, as code that is given their address takes them."""
    return all(
        t is None
        or (
            type(t).__torch_dispatch__ is Tensor.__torch_dispatch__  # not a wrapper of others
            and not t.is_neg()  # nor a view whose numbers in memory have the other sign
        )
        for t in tensors
    )


def takes(*tensors: Tensor | None) -> bool:
    """Whether native code is there for tensors like these; it may be asked of fake ones."""
    for t in tensors:
        if t is not None and not (
            t.device.type == "cpu" and (t.dtype in STORAGE or not t.dtype.is_floating_point)
        ):
            return False
    if isa() != PORTABLE:
        return True
    if library() is None and "RAMGRU_ISA" not in os.environ:
        _warn_of_missing()
    return False


def summary() -> str:
    """What an operation with a native kernel runs on, in a line."""
    if isa() == PORTABLE:
        return "torch on any device: no native kernel runs, see above"
    return f"native {isa()} on the CPU; torch elsewhere (docs/native.md)"


def arguments(name: str, sizes: str, tensors: str) -> struct.Struct:
    """The mirror of the C++ struct `name`: bytes, threads, the sizes, then a pointer a tensor."""
    return struct.Struct(f"{2 + len(sizes.split())}q{len(tensors.split())}Q")


@cache
def _kernel(name: str, storage: torch.dtype, isa: str) -> Callable[[bytes], int]:
    kernel = getattr(library(), f"ramgru_{name}_{STORAGE[storage]}_{isa}", None)
    if kernel is None:
        raise RuntimeError(f"{name}: not in the native library, which is older: {fix()}")
    kernel.argtypes, kernel.restype = [ctypes.c_void_p], ctypes.c_int
    return kernel


def call(
    name: str,
    storage: torch.dtype,
    layout: struct.Struct,
    sizes: tuple[int, ...],
    tensors: tuple[Tensor | None, ...],
    strided: tuple[Tensor, ...] = (),
) -> None:
    """Run a kernel on as many threads as torch is set to.

    On contiguous tensors, and then those whose strides the kernel finds among the sizes.
    """
    pointers = []
    for t in tensors:
        assert t is None or t.is_contiguous(), (name, t.shape, t.stride())
        pointers.append(0 if t is None else t.data_ptr())
    for t in strided:
        pointers.append(t.data_ptr())
    run(name, storage, layout, *sizes, *pointers)


def run(name: str, storage: torch.dtype, layout: struct.Struct, *fields: int) -> None:
    """Run a kernel on sizes and addresses, which nobody checks."""
    given = layout.pack(layout.size, torch.get_num_threads(), *fields)
    failed = _kernel(name, storage, isa())(given)
    if failed == 1:
        raise MemoryError(f"{name}: not enough memory")
    if failed:
        raise RuntimeError(f"{name}: the native library is of other sources: {fix()}")
