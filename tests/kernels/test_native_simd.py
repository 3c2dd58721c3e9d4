"""The vector functions of the kernels, compiled alone for each instruction set."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ramgru.kernels import native

CXX = os.environ.get("CXX", "g++")
SOURCE = Path(__file__).with_name("simd_probe.cpp")
# As in setup.py.
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
ISAS = {
    "avx512": (64, ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"]),
    "avx2": (32, ["-mavx2", "-mfma"]),
    "baseline": (16, []),
}
pytestmark = pytest.mark.skipif(shutil.which(CXX) is None, reason="no C++ compiler")


@pytest.fixture(scope="module", params=native.supported())
def probe(request, tmp_path_factory):
    width, flags = ISAS[request.param]
    target = tmp_path_factory.mktemp("probe") / "probe.so"
    defines = [f"-DRAMGRU_ISA={request.param}", f"-DRAMGRU_VECTOR_BYTES={width}"]
    where = f"-I{native.FILE.parent}"
    subprocess.run(
        [CXX, *FLAGS, *defines, *flags, where, str(SOURCE), "-o", str(target)],
        check=True,
        env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},  # not into the compiler
    )
    return ctypes.CDLL(str(target))


def run(probe: ctypes.CDLL, name: str, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    y = torch.full_like(x, torch.nan, dtype=dtype or x.dtype)
    function = getattr(probe, name)
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(x.data_ptr(), y.data_ptr(), x.numel())
    return y


def grid(dtype: torch.dtype) -> Tensor:
    """Both signs, from the smallest numbers to the far tails, near 0 and near whole numbers."""
    wide = torch.linspace(-100, 100, 200_003, dtype=torch.float64)
    small = torch.logspace(-44, 2, 20_001, dtype=torch.float64)
    x = torch.cat([wide, small, -small, torch.tensor([0.0, -0.0])])
    return x.to(dtype)


EXACT = {"exp": torch.exp, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
C_TYPE = {torch.float32: "float", torch.float64: "double"}


@pytest.mark.parametrize("dtype", C_TYPE, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_functions_are_accurate_to_a_few_units_in_the_last_place(probe, name, dtype):
    x = grid(dtype)
    if name == "exp":
        x = x[(x >= -87) & (x <= 88)]
    if name == "sigmoid":
        x = x[x >= -87]
    found = run(probe, f"{name}_{C_TYPE[dtype]}", x)
    exact = EXACT[name](x.double())
    error = (found.double() - exact).abs() / exact.abs().clamp_min(torch.finfo(dtype).tiny)
    assert float(error.max()) <= 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", C_TYPE, ids=str)
def test_cosine(probe, dtype):
    """The absolute error alone is small near the zeros, where the argument has too few digits."""
    near = torch.arange(-40, 41, dtype=torch.float64) * torch.pi / 4  # where signs and parts change
    x = torch.cat(
        [grid(dtype), near.to(dtype), near.to(dtype).nextafter(torch.zeros(81, dtype=dtype))]
    )
    found = run(probe, f"cos_{C_TYPE[dtype]}", x)
    assert float((found.double() - x.double().cos()).abs().max()) <= 4 * torch.finfo(dtype).eps
    assert run(probe, f"cos_{C_TYPE[dtype]}", torch.full_like(x, torch.nan)).isnan().all()


@pytest.mark.parametrize("dtype", C_TYPE, ids=str)
def test_logarithm(probe, dtype):
    """The absolute error alone is small near 1, where the logarithm is 0."""
    near = torch.linspace(0.6, 1.5, 20_001, dtype=torch.float64)
    ends = torch.tensor([1, torch.finfo(dtype).tiny], dtype=torch.float64)
    x = torch.cat([torch.logspace(-37, 38, 100_003, dtype=torch.float64), near, ends]).to(dtype)
    found = run(probe, f"log_{C_TYPE[dtype]}", x).double()
    exact = x.double().log()
    error = (found - exact).abs() / exact.abs().clamp_min(1)
    assert float(error.max()) <= 2 * torch.finfo(dtype).eps
    assert found[x == 1].eq(0).all()


@pytest.mark.parametrize("dtype", C_TYPE, ids=str)
def test_functions_in_the_tails(probe, dtype):
    inf, nan = torch.inf, torch.nan
    x = torch.tensor([-inf, -1e30, -200.0, 200.0, 1e30, inf, nan], dtype=dtype)
    kind = C_TYPE[dtype]
    sigmoid = run(probe, f"sigmoid_{kind}", x)
    assert sigmoid[:3].abs().max() < 1e-37
    assert sigmoid[3:6].eq(1).all()
    assert sigmoid[6].isnan()
    tanh = run(probe, f"tanh_{kind}", x)
    assert tanh[:3].eq(-1).all()
    assert tanh[3:6].eq(1).all()
    assert tanh[6].isnan()
    exp = run(probe, f"exp_{kind}", x)
    assert exp[:3].abs().max() < 1e-37
    assert (exp[3:6] > 1e38).all()
    assert exp[6].isnan()


def every_bfloat16() -> Tensor:
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)


@pytest.mark.parametrize("name", ["widen_vectors", "widen_scalars"])
def test_every_bfloat16_widens_exactly(probe, name):
    x = every_bfloat16()
    found = run(probe, name, x, torch.float32)
    assert torch.equal(found.view(torch.int32) >> 16, x.view(torch.int16).int())
    assert not (found.view(torch.int32) & 0xFFFF).any()


@pytest.mark.parametrize("name", ["narrow_vectors", "narrow_scalars"])
def test_bfloat16_rounds_to_the_nearest_even(probe, name, generator):
    exact = every_bfloat16().float()
    bits = exact.view(torch.int32)
    # At every number, the ties half way to the next, and their neighbours; and random bits.
    near = [(bits + d).view(torch.float32) for d in (-1, 0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    some = torch.randint(-(2**31), 2**31 - 1, (10_001,), generator=generator)
    x = torch.cat([*near, some.to(torch.int32).view(torch.float32)])
    found = run(probe, name, x, torch.bfloat16)
    number = ~x.isnan()
    assert found[~number].isnan().all()
    expected = x.to(torch.bfloat16)
    assert torch.equal(found[number].view(torch.int16), expected[number].view(torch.int16))


def test_sizes_that_are_no_multiple_of_a_vector_touch_nothing_behind(probe):
    for size in range(1, 40):
        x = torch.rand(size) + 0.5
        y = torch.full((size + 16,), 7.0)
        function = probe.exp_float
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        function(x.data_ptr(), y.data_ptr(), size)
        torch.testing.assert_close(y[:size], x.exp(), rtol=1e-6, atol=0)
        assert y[size:].eq(7).all()
