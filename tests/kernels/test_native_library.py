"""The native library: found or not, forced to an instruction set, on torch's own threads."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor

from ramgru import kernels
from ramgru.kernels import native
from ramgru.kernels.recurrence import mingru
from ramgru.kernels.recurrence.cpu import MINGRU_FORWARD as FORWARD
from ramgru.kernels.recurrence.torch import mingru as reference

built = pytest.mark.skipif(not native.supported(), reason="the native library is not built")
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
sanitized = pytest.mark.skipif(not SANITIZED, reason="for `make sanitize`")
loader = pytest.mark.skipif(SANITIZED, reason="slow, and hardly any native code runs")

# A process of its own, in which the library is loaded anew: prints one minGRU's outputs and
# gradients in hexadecimal, so that two runs can be held against each other bit for bit.
RUN = """
import torch
from ramgru.kernels import native
from ramgru.kernels.recurrence import mingru
torch.set_num_threads(3)
g = torch.Generator().manual_seed(0)
x = torch.randn(5, 7, 2 * 70, generator=g).requires_grad_()
h, last = mingru(x, torch.randn(5, 70, generator=g))
(h.sum() + last.sum()).backward()
print(h.detach().numpy().tobytes().hex(), x.grad.numpy().tobytes().hex())
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process with no RAMGRU_ISA but a given one."""
    env = {k: v for k, v in os.environ.items() if k != "RAMGRU_ISA"} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


def draw(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    B, T, H = shape
    g = torch.Generator().manual_seed(1)
    return torch.randn(B, T, 2 * H, generator=g), torch.randn(B, H, generator=g)


@pytest.fixture
def missing(monkeypatch):
    """As if no library had been built."""
    monkeypatch.setattr(native, "_load", lambda: (None, "not built"))
    monkeypatch.setattr(native, "_isa", None)
    monkeypatch.delenv("RAMGRU_ISA", raising=False)
    for function in (native.supported, native._warn_of_missing):
        function.cache_clear()
    yield
    for function in (native.supported, native._warn_of_missing):
        function.cache_clear()


def test_without_the_library_torch_runs_and_a_warning_says_so_once(missing):
    x, h = draw(2, 3, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [mingru(x, h) for _ in range(3)]
    assert len(caught) == 1
    assert "native CPU kernels are missing (not built)" in str(caught[0].message)
    assert "pip install" in str(caught[0].message)
    for found, expected in zip(results[0], reference(x, h, None, None), strict=True):
        assert torch.equal(found, expected)


def test_no_warning_where_torch_is_asked_for(missing, monkeypatch):
    monkeypatch.setenv("RAMGRU_ISA", "portable")
    mingru(*draw(2, 3, 4))  # a warning would be an error here


def test_no_warning_for_what_native_code_never_takes(missing):
    assert not native.runs(torch.empty(2, device="meta"))


def test_info_without_the_library(missing):
    found = native.info()
    assert "missing (not built)" in found["library"]
    assert "pip install" in found["library"]
    assert "portable" in found["runs"]
    assert "no native kernel runs" in kernels.info()["mingru"]


@built
def test_info():
    found = native.info()
    assert Path(found["library"]).exists()
    for isa in native.supported():
        with native.use(isa):
            assert native.info()["runs"].startswith(isa)
            assert f"native {isa}" in kernels.info()["mingru"]
    assert str(torch.get_num_threads()) in found["threads"]


@loader
def test_a_file_that_does_not_load_says_why(tmp_path):
    other = tmp_path / "other.so"
    other.write_text("not a library")
    found = python(RUN, RAMGRU_LIBRARY=str(other))
    assert found.returncode == 1
    assert "OSError: RAMGRU_LIBRARY: " in found.stderr
    assert str(other) in found.stderr


@built
def test_use_restores_also_after_an_error():
    before = native.isa()
    with native.use("portable"):
        assert native.isa() == "portable"
        with native.use(native.supported()[-1]):
            assert native.isa() == native.supported()[-1]
        assert native.isa() == "portable"
    with pytest.raises(ZeroDivisionError), native.use("portable"):
        1 / 0  # noqa: B018
    assert native.isa() == before


def test_unknown_instruction_set():
    with (
        pytest.raises(ValueError, match=r"isa: expected one of .*'portable'.*, got 'mmx'"),
        native.use("mmx"),
    ):
        pass


@built
@loader
def test_environment_forces_an_instruction_set():
    code = "from ramgru.kernels import native; print(native.isa(), native.info()['runs'])"
    for isa in (native.supported()[-1], "portable"):
        found = python(code, RAMGRU_ISA=isa)
        assert found.stdout.startswith(f"{isa} {isa} (set by RAMGRU_ISA)"), found.stderr


@loader
def test_a_wrong_environment_is_an_error_where_a_kernel_would_run_not_at_import():
    assert python("import ramgru; ramgru.RAMGRU(3, 4)", RAMGRU_ISA="mmx").returncode == 0
    found = python(RUN, RAMGRU_ISA="mmx")
    assert found.returncode == 1
    message = found.stderr.strip().splitlines()[-1]
    assert message.startswith("ValueError: RAMGRU_ISA: expected one of ")
    assert message.endswith("got 'mmx'")
    told = subprocess.run(
        [sys.executable, "-m", "ramgru", "info"],
        capture_output=True,
        text=True,
        env={**os.environ, "RAMGRU_ISA": "mmx"},
    )
    assert told.returncode != 0
    assert "RAMGRU_ISA: expected one of" in told.stderr
    assert "Traceback" not in told.stderr


@built
def test_a_library_of_other_sources_is_an_error():
    x, h = draw(1, 2, 3)
    longer = native.arguments("MingruForward", "B T H", "x h r n states last and_more")
    with pytest.raises(RuntimeError, match=r"mingru_forward: .* other sources: pip install"):
        native.call("mingru_forward", x.dtype, longer, (1, 2, 3), (x, h, *[None] * 5))
    with pytest.raises(RuntimeError, match=r"no_such: not in the native library"):
        native.call("no_such", x.dtype, FORWARD, (1, 2, 3), (x, h, *[None] * 4))


@built
def test_what_native_code_does_not_take():
    x = torch.randn(4)
    assert native.runs(x, None, x.bfloat16(), x.double(), x > 0, torch.arange(3))
    for other in (
        x.half(),
        x.to("meta"),
        TwoTensor(x, x.clone()),
        torch.complex(x, x).conj().imag,  # a view whose memory holds -1 times its numbers
    ):
        assert not native.runs(x, other)


@built
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_are_those_of_torch():
    runtime = native._openmp()
    if runtime is None:
        pytest.skip("torch has no OpenMP runtime with GNU's entry point")
    mingru(*draw(4, 3, 200))
    maps = Path("/proc/self/maps").read_text().splitlines()
    runtimes = {line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line}
    assert len(runtimes) == 1, runtimes
    assert Path(runtime._name).name in {Path(name).name for name in runtimes}


THREADS = """
import threading, torch
from pathlib import Path
from ramgru.kernels.recurrence import mingru
def count(threads):
    torch.set_num_threads(threads)
    mingru(torch.randn(8, 9, 2 * 300), torch.randn(8, 300))
    return len(list(Path("/proc/self/task").iterdir()))
print(count(1), count(2), count(5), count(5))
"""


@built
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_as_many_threads_as_torch_is_set_to():
    if native._openmp() is None:
        pytest.skip("torch has no OpenMP runtime with GNU's entry point")
    found = python(THREADS)
    one, two, five, again = map(int, found.stdout.split())
    assert (two - one, five - one, again) == (1, 4, five), found.stderr


@built
def test_same_bits_without_an_openmp_runtime():
    cut = "from ramgru.kernels import native; native.library().ramgru_set_runtime(None, None, None)"
    with_runtime, without = python(RUN), python(cut + RUN)
    assert with_runtime.stdout, with_runtime.stderr
    assert without.stdout == with_runtime.stdout, without.stderr


@sanitized
def test_the_sanitizer_watches_and_working_memory_is_poisoned():
    lib = native.library()
    assert lib is not None
    assert lib.ramgru_poisoned()
    beyond = """
import torch
from ramgru.kernels import native
from ramgru.kernels.recurrence.cpu import MINGRU_FORWARD as FORWARD
x, h = torch.zeros(1, 9, 8), torch.zeros(1, 4)
states, last = torch.zeros(1, 9, 4), torch.zeros(1, 4)
T = 9 + 1  # a step more than there is
native.call("mingru_forward", x.dtype, FORWARD, (1, T, 4), (x, h, None, None, states, last))
"""
    found = python(beyond)
    assert found.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in found.stderr
