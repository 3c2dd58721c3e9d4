"""The native library: loaded or missing, forced to an instruction set, on torch's own threads."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from memory_cases import Case, fast, slow

from ramgru.kernels import native
from ramgru.kernels.memory_scan import cpu
from ramgru.lab.cli.main import main

built = pytest.mark.skipif(not native.supported(), reason="the native library is not built")
sanitized = pytest.mark.skipif(
    "asan" not in os.environ.get("LD_PRELOAD", ""), reason="for `make sanitize`"
)
CASE = Case(B=2, T=3, H=2)


def python(code: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "RAMGRU_ISA"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


@pytest.fixture
def afresh(monkeypatch):
    """As before the first kernel runs, with no variable set."""
    monkeypatch.setattr(native, "_isa", None)
    monkeypatch.delenv("RAMGRU_ISA", raising=False)
    functions = (native.supported, native._warn_of_missing)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


@pytest.fixture
def missing(afresh, monkeypatch):
    """As if no library had been built."""
    monkeypatch.setattr(native, "_load", lambda: (None, "not built"))


def test_without_the_library_pytorch_runs_and_one_warning_says_so(missing):
    x = CASE.tensors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [fast(x, CASE) for _ in range(3)]
    assert len(caught) == 1
    assert "native CPU kernels are missing (not built)" in str(caught[0].message)
    assert "pip install" in str(caught[0].message)
    for found, expected in zip(results[0], slow(x, CASE), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_no_warning_where_pytorch_is_asked_for_or_native_code_takes_no_such_tensor(
    missing, monkeypatch
):
    fast({k: v.to("meta") for k, v in CASE.tensors().items()}, CASE)  # a warning would be an error
    monkeypatch.setenv("RAMGRU_ISA", "portable")
    fast(CASE.tensors(), CASE)


def test_info_without_the_library(missing):
    found = native.info()
    assert "missing (not built)" in found["library"]
    assert "pip install" in found["library"]
    assert "portable" in found["runs"]


@built
def test_info():
    found = native.info()
    assert Path(found["library"]).exists()
    for isa in native.supported():
        with native.use(isa):
            assert native.info()["runs"].startswith(isa)
    assert str(torch.get_num_threads()) in found["threads"]


def test_a_file_that_does_not_load_says_why(tmp_path, monkeypatch):
    other = tmp_path / "other.so"
    other.write_text("not a library")
    monkeypatch.setenv("RAMGRU_LIBRARY", str(other))
    with pytest.raises(OSError, match=f"RAMGRU_LIBRARY: {other}"):
        native._load.__wrapped__()


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
    message = r"isa: expected one of .*'portable'.*, got 'mmx'"
    with pytest.raises(ValueError, match=message), native.use("mmx"):
        pass


@built
@pytest.mark.parametrize("isa", [*native.supported()[-1:], "portable"])
def test_environment_forces_an_instruction_set(afresh, monkeypatch, isa):
    monkeypatch.setenv("RAMGRU_ISA", isa)
    assert native.isa() == isa
    assert native.info()["runs"].startswith(f"{isa} (set by RAMGRU_ISA)")


def test_a_wrong_environment_is_an_error_when_a_kernel_runs(afresh, monkeypatch, capsys):
    monkeypatch.setenv("RAMGRU_ISA", "mmx")
    with pytest.raises(ValueError, match=r"RAMGRU_ISA: expected one of .*, got 'mmx'"):
        fast(CASE.tensors(), CASE)
    assert main(["info"]) != 0
    told = capsys.readouterr().err
    assert "RAMGRU_ISA: expected one of" in told
    assert "Traceback" not in told


@built
def test_a_library_of_other_sources_is_an_error():
    sizes, dtype = (1, 1, 2, 1, 1, 4, 0), torch.float32
    longer = native.arguments("MemoryStep", "B H N K J D A", "rows 1 2 3 4 5 6 7 8 9 10 11")
    with pytest.raises(RuntimeError, match=r"memory_step: .* other sources; to build it: pip inst"):
        native.call("memory_step", dtype, longer, sizes, (None,) * 12)
    with pytest.raises(RuntimeError, match=r"no_such: not in the native library"):
        native.call("no_such", dtype, cpu.STEP, sizes, (None,) * 11)


# In a process of its own, since others, as scikit-learn, bring an OpenMP runtime along: numbers of
# threads, the runtimes that are loaded, then whether the bits depend on torch's.
THREADS = """
import torch
from pathlib import Path
from ramgru.kernels import native
from ramgru.kernels.memory_scan import memory_scan
g = torch.Generator().manual_seed(0)
index, weight = torch.randint(7, (9, 9, 1, 2), generator=g), torch.rand(9, 9, 1, 2, generator=g)
rows = torch.randn(9, 9, 1, 5, generator=g)
def run():
    leaf = rows.clone().requires_grad_()
    y, _, last = memory_scan(index, weight, weight[..., 0], leaf, index, weight, memory_size=7)
    (y.sum() + last.square().sum()).backward()
    return y.detach(), last.detach(), leaf.grad
def count(threads):
    torch.set_num_threads(threads)
    run()
    return len(list(Path("/proc/self/task").iterdir()))
print(count(1), count(2), count(4), count(4))
maps = Path("/proc/self/maps").read_text().splitlines()
for name in {line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line}:
    print(name)
torch.set_num_threads(2)
with_runtime = run()
native.library().ramgru_set_runtime(None, None, None)
without = run()
assert all(map(torch.equal, with_runtime, without))
"""


@built
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_are_those_of_torch_and_change_no_bit():
    runtime = native._openmp()
    if runtime is None:
        pytest.skip("torch has no OpenMP runtime with GNU's entry points")
    found = python(THREADS)
    assert found.returncode == 0, found.stderr
    counts, *runtimes = found.stdout.splitlines()
    assert len(runtimes) == 1, runtimes
    assert Path(runtime._name).name in {Path(name).name for name in runtimes}
    one, two, four, again = map(int, counts.split())
    assert (two - one, four - one, again) == (1, 3, four)


@sanitized
def test_the_sanitizer_watches_and_working_memory_is_poisoned():
    lib = native.library()
    assert lib is not None
    assert lib.ramgru_poisoned()
    beyond = """
import torch
from ramgru.kernels import native
from ramgru.kernels.memory_scan.cpu import STEP
index, weight, row = torch.ones(1, dtype=torch.int64), torch.ones(1), torch.zeros(4)
D = 4 + 1  # a value more than there is
no = (None, None, None)  # tags
given = (torch.zeros(2, 4), index, weight, weight, row, index, weight, *no, row.clone())
native.call("memory_step", torch.float32, STEP, (1, 1, 2, 1, 1, D, 0), given)
"""
    found = python(beyond)
    assert found.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in found.stderr
