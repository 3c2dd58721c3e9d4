"""Which code runs for which tensors and why, and how `info` reports it; needs no GPU, no triton."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.testing._internal.two_tensor import TwoTensor

from ramgru import kernels
from ramgru.kernels import dispatch, gpu, native
from ramgru.kernels.dispatch import CPU, TORCH, TRITON, choose

built = pytest.mark.skipif(not native.supported(), reason="the native library is not built")
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """As in a new process, with no variable set."""
    gpu._missing()  # import triton before the environment changes: other tests interpret
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
    """Fake tensors on a GPU."""
    with FakeTensorMode():
        return [torch.empty(2, dtype=dtype, device="cuda") for dtype in dtypes]


def path(*tensors: torch.Tensor | None, triton: bool = True) -> str:
    """As inside an operator, where fake tensors come too."""
    return choose(*tensors, triton=triton, in_operator=True).path


@built
def test_native_kernels_take_plain_cpu_tensors():
    x = torch.randn(4)
    assert choose(x, None, x.bfloat16(), x.double(), x > 0, torch.arange(3)).path == CPU
    negative = torch.complex(x, x).conj().imag  # a view whose memory holds -1 times its numbers
    for other, why in (
        (x.half(), "native kernels take float32, float64, bfloat16, got torch.float16"),
        (torch.complex(x, x), "got torch.complex64"),
        (x.to("meta"), "native kernels need CPU tensors, got meta"),
        (TwoTensor(x, x.clone()), "hides the numbers in memory"),
        (x.to_sparse(), "hides the numbers in memory"),
        (negative, "hides the numbers in memory"),
        (torch._efficientzerotensor(4), "hides the numbers in memory"),
        (x.to(torch.int8), "got torch.int8"),
    ):
        chosen = choose(x, other)
        assert chosen.path == TORCH
        assert why in chosen.reason


@built
def test_native_kernels_run_only_where_nothing_traces():
    x = torch.randn(4)
    with FakeTensorMode():
        assert choose(x).path == TORCH
    with forward_ad.dual_level():
        assert choose(x).path == TORCH
    found = []
    torch.func.vmap(lambda t: found.append(choose(t)) or t)(x)
    assert found == [dispatch.TRACED]
    assert choose(x).path == CPU


def test_the_reason_names_a_forced_path():
    with native.use("portable"):
        assert "PyTorch code was asked for" in choose(torch.randn(2)).reason


def test_triton_takes_a_gpus_tensors_of_float32_and_half_precision(there):
    floats = on_gpu(*FLOATS)
    assert path(*floats, None, *on_gpu(torch.int64, torch.bool)) == TRITON
    for other in (torch.float64, torch.complex64):
        assert path(*floats, *on_gpu(other)) == TORCH
    assert path(*floats, torch.empty(2)) == TORCH
    assert path(*floats, triton=False) == TORCH
    for nothing in ((), (None,), (torch.empty(2, device="meta"),)):
        assert path(*nothing) != TRITON


def test_triton_takes_cpu_tensors_only_through_its_interpreter_on_demand(there, monkeypatch):
    x = torch.empty(2)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert path(x) != TRITON
    monkeypatch.setenv("RAMGRU_TRITON", "1")
    assert path(x) == TRITON
    assert path(x, x.double()) != TRITON
    assert path(x, torch.complex(x, x).conj().imag) != TRITON
    assert "interpreter" in gpu.summary()
    monkeypatch.delenv("TRITON_INTERPRET")
    assert path(x) != TRITON


def test_a_missing_triton_warns_once_with_the_command_that_installs_it(missing):
    (x,) = on_gpu(torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [path(x) for _ in range(3)] == [TORCH] * 3
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "triton is missing (No module named 'triton')" in message
    assert "pip install triton" in message


def test_a_missing_triton_does_not_warn_of_tensors_that_it_would_not_take(missing, monkeypatch):
    path(torch.empty(2))  # a warning would be an error here
    path(*on_gpu(torch.float64))
    monkeypatch.setenv("RAMGRU_TRITON", "0")
    assert path(*on_gpu(torch.float32)) == TORCH
    assert "turned off" in gpu.summary()


def test_gpu_use_restores_also_after_an_error(there):
    (x,) = on_gpu(torch.float32)
    with gpu.use("off"):
        assert path(x) == TORCH
        with gpu.use("on"):
            assert path(x) == TRITON
        assert path(x) == TORCH
    with pytest.raises(ZeroDivisionError), gpu.use("off"):
        1 / 0  # noqa: B018
    assert path(x) == TRITON


def test_wrong_values_name_the_right_ones(monkeypatch):
    with pytest.raises(ValueError, match=r"wanted: expected one of \('on', 'off'\), got 'auto'"):
        gpu.use("auto").__enter__()
    monkeypatch.setenv("RAMGRU_TRITON", "yes")
    with pytest.raises(ValueError, match="RAMGRU_TRITON: expected 0, 1 or nothing, got 'yes'"):
        path(*on_gpu(torch.float32))


@pytest.mark.parametrize(
    ("has_gpu", "why", "line"),
    [
        (False, "", "Triton on a GPU; PyTorch finds no GPU here"),
        (
            True,
            "no",
            "PyTorch on the GPU: triton is missing; to install it: pip install triton",
        ),
        (True, "", "Triton on the GPU in float32, bfloat16 and float16, PyTorch in float64"),
    ],
)
def test_info_says_what_runs_on_a_gpu(monkeypatch, has_gpu, why, line):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(gpu, "_missing", lambda: why)
    assert gpu.summary() == line
    assert kernels.info()["memory_scan"].endswith(f"; {line}")
    assert kernels.info()["gated_sum"].endswith("; PyTorch on a GPU")


NATIVE = (
    "diagonal_gru gated_sum gru key_attention layer_step linear_scan memory_scan mingru "
    "product_keys short_convolution tag_rows tape unit"
)


@built
def test_info_names_every_operation_and_its_native_kernels():
    for isa in native.supported():
        with native.use(isa):
            found = kernels.info()
            assert {*NATIVE.split()} <= found.keys()
            for name in NATIVE.split():
                assert found[name].startswith(f"native {isa} on the CPU; "), name
    with native.use("portable"):
        assert "PyTorch on the CPU: PyTorch code was asked for" in kernels.info()["mingru"]


# In a process of its own, where triton cannot be imported.
WITHOUT_TRITON = """
import sys, torch, ramgru
assert "triton" not in sys.modules  # torch itself may import it later
sys.modules["triton"] = None
layer = ramgru.RAMGRU(3, 4, controller="mingru", memory=ramgru.Memory(cells=16))
layer(torch.randn(5, 2, 3))[0].sum().backward()
from ramgru import kernels
print(kernels.__file__, *kernels.info().items(), sep="\\n")
"""


@built
def test_a_wheel_which_holds_no_sources_runs_native_kernels_and_says_so(tmp_path):
    source = Path(importlib.util.find_spec("ramgru").origin).parent
    ignore = shutil.ignore_patterns("*.h", "*.cpp", "__pycache__", "lab")
    shutil.copytree(source, tmp_path / "ramgru", ignore=ignore)
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert found.stdout.startswith(str(tmp_path)), found.stderr
    for name in NATIVE.split():
        assert f"('{name}', 'native {native.isa()} on the CPU; " in found.stdout
