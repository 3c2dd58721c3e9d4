"""Which path the kernels' tests run on: the best native kernels and the PyTorch code."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from ramgru.kernels import gpu, native

# Under sanitizers, only native code is of interest: the rules of operators and the choice of a path
# are Python, and the probe of the vector functions is compiled without sanitizers.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
PYTHON_ONLY = ("dispatch", "memory_scan_autograd", "memory_scan_check", "memory_scan_operator")
collect_ignore = [f"test_{name}.py" for name in (*PYTHON_ONLY, "native_simd")] * SANITIZED
PATHS = (*native.supported()[:1], *[native.PORTABLE] * (not SANITIZED))


@pytest.fixture(autouse=True, scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """The instruction set, or "portable", of the test's kernels."""
    with native.use(getattr(request, "param", native.isa())):
        yield native.isa()


@pytest.fixture(scope="module")
def gpu_device() -> Iterator[str]:
    """The device of the Triton kernels: a GPU, or the CPU through Triton's interpreter."""
    pytest.importorskip("triton", reason=f"triton is missing: {gpu.FIX}")
    if torch.cuda.is_available():
        yield "cuda"
        return
    with pytest.MonkeyPatch.context() as patch, gpu.use(gpu.ON):
        patch.setenv("RAMGRU_TRITON", "1")
        assert gpu.interprets()
        yield "cpu"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__
    reference_alone = metafunc.function.__name__.startswith("test_reference")
    if (
        name.startswith("test_memory_scan")
        and name != "test_memory_scan_native"
        and not reference_alone
    ):
        metafunc.parametrize("path", PATHS, indirect=True, scope="module")
