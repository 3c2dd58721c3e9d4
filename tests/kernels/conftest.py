"""Tests of `memory_scan` run on the best native kernels there are, and on the portable path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ramgru.kernels import gpu, native

PATHS = (*native.supported()[:1], native.PORTABLE)


@pytest.fixture(autouse=True, scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """What the test's kernels run on."""
    with native.use(getattr(request, "param", native.isa())):
        yield native.isa()


@pytest.fixture(scope="module")
def gpu_device() -> Iterator[str]:
    """Where Triton's kernels run in these tests: a GPU, or the CPU through Triton's interpreter."""
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
    if name.startswith("test_memory_scan") and name != "test_memory_scan_native":
        metafunc.parametrize("path", PATHS, indirect=True, scope="module")
