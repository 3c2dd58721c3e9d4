"""Which tensors Triton's kernels take, and what is said of it; needs neither triton nor a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ramgru import kernels
from ramgru.kernels import gpu


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """As in a new process, with no variable set."""
    gpu._missing()  # imports triton while its interpreter is chosen, which other tests rely on
    monkeypatch.setattr(gpu, "_mode", None)
    for name in ("RAMGRU_TRITON", "TRITON_INTERPRET"):
        monkeypatch.delenv(name, raising=False)
    gpu._warn_of_missing.cache_clear()
    yield
    gpu._warn_of_missing.cache_clear()


@pytest.fixture
def there(monkeypatch):
    monkeypatch.setattr(gpu, "_missing", lambda: "")


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(gpu, "_missing", lambda: "No module named 'triton'")


def on_gpu(*dtypes: torch.dtype) -> list[torch.Tensor]:
    """Tensors that stand for some on a GPU."""
    with FakeTensorMode():
        return [torch.empty(2, dtype=dtype, device="cuda") for dtype in dtypes]


def test_takes_a_gpus_tensors_of_float32_and_half_precision(there):
    floats = on_gpu(torch.float32, torch.bfloat16, torch.float16)
    assert gpu.takes(*floats, None, *on_gpu(torch.int64, torch.bool))
    for other in (torch.float64, torch.complex64):
        assert not gpu.takes(*floats, *on_gpu(other))
    assert not gpu.takes(*floats, torch.empty(2))
    assert not gpu.takes(torch.empty(2))
    assert not gpu.takes(torch.empty(2, device="meta"))
    assert not gpu.takes(None)
    assert not gpu.takes()


def test_takes_the_cpus_only_where_triton_interprets_and_ramgru_is_told_so(there, monkeypatch):
    x = torch.empty(2)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not gpu.takes(x)
    monkeypatch.setenv("RAMGRU_TRITON", "1")
    assert gpu.takes(x)
    assert not gpu.takes(x, x.double())
    assert not gpu.takes(x, torch.complex(x, x).conj().imag)  # memory holds -1 times its numbers
    assert gpu.available()
    assert "interpreter" in gpu.summary()
    monkeypatch.delenv("TRITON_INTERPRET")
    assert not gpu.takes(x)


def test_without_triton_a_warning_says_so_once_with_the_command_that_mends_it(missing):
    (x,) = on_gpu(torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [gpu.takes(x) for _ in range(3)] == [False] * 3
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "triton is missing (No module named 'triton')" in message
    assert 'pip install "ramgru[triton]"' in message
    assert not gpu.available()


def test_no_warning_for_what_triton_would_not_take(missing):
    (x,) = on_gpu(torch.float64)
    assert not gpu.takes(torch.empty(2))  # a warning would be an error here
    assert not gpu.takes(x)


def test_no_warning_where_torch_is_asked_for(missing, monkeypatch):
    monkeypatch.setenv("RAMGRU_TRITON", "0")
    assert not gpu.takes(*on_gpu(torch.float32))
    assert "turned off" in gpu.summary()


def test_use_restores_also_after_an_error(there):
    (x,) = on_gpu(torch.float32)
    with gpu.use("off"):
        assert not gpu.takes(x)
        with gpu.use("on"):
            assert gpu.takes(x)
        assert not gpu.takes(x)
    with pytest.raises(ZeroDivisionError), gpu.use("off"):
        1 / 0  # noqa: B018
    assert gpu.takes(x)


def test_says_which_values_there_are(monkeypatch):
    with pytest.raises(ValueError, match=r"wanted: expected one of \('on', 'off'\), got 'auto'"):
        gpu.use("auto").__enter__()
    monkeypatch.setenv("RAMGRU_TRITON", "yes")
    with pytest.raises(ValueError, match="RAMGRU_TRITON: expected 0, 1 or nothing, got 'yes'"):
        gpu.takes(*on_gpu(torch.float32))


@pytest.mark.parametrize(
    ("has_gpu", "why", "line"),
    [
        (False, "", "Triton on a GPU, of which torch sees none here"),
        (
            True,
            "no",
            'torch on the GPU: triton is missing; to install it: pip install "ramgru[triton]"',
        ),
        (True, "", "Triton on the GPU in float32, bfloat16 and float16, torch in float64"),
    ],
)
def test_a_line_says_what_runs_on_a_gpu(monkeypatch, has_gpu, why, line):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(gpu, "_missing", lambda: why)
    assert gpu.summary() == line
    assert kernels.info()["linear_scan"].endswith(f"; {line}")
    assert "Triton" not in kernels.info()["gated_sum"]
    assert "gpu" not in kernels.info()


def test_imports_and_runs_where_triton_cannot_be_imported():
    code = """
import sys, torch, ramgru
assert "triton" not in sys.modules  # later, torch itself may import it
sys.modules["triton"] = None
layer = ramgru.RAMGRU(3, 4, controller="mingru", memory_size=16)
layer(torch.randn(5, 2, 3))[0].sum().backward()
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert found.returncode == 0, found.stderr
