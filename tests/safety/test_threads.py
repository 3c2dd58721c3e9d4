"""The same numbers on any number of threads, also where OpenMP gives fewer than torch asks for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from ramgru import RAMGRU, Memory

CONTROLLERS = ("gru", "mingru", "diagonal")
MEMORY = Memory(cells=64, heads="key learned lag tape")


def numbers(controller: str, threads: int) -> list[torch.Tensor]:
    """Output and gradients of a batch, and the output of a stream."""
    torch.manual_seed(1)
    layer = RAMGRU(64, 64, batch_first=True, memory=MEMORY, controller=controller)
    x = torch.randn(70, 3, 64)
    torch.set_num_threads(threads)
    y, _ = layer(x)
    grads = torch.autograd.grad(y.square().mean(), [*layer.parameters()], allow_unused=True)
    stream = layer.eval().stream(len(x))
    steps = [stream.step(x[:, t]) for t in range(x.shape[1])]
    return [y.detach(), *(g for g in grads if g is not None), *steps]


def assert_same(controller: str, threads: int, expected: list[torch.Tensor]) -> None:
    for a, b in zip(numbers(controller, threads), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SAME = f"""
import os, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
if "one processor" in sys.argv:
    os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
from test_threads import CONTROLLERS, assert_same, numbers
for controller in CONTROLLERS:
    expected = numbers(controller, 1)
    for threads in map(int, sys.argv[1].split()):
        assert_same(controller, threads, expected)
"""


def check_in_a_process(threads: str, *words: str, **variables: str) -> None:
    """Each of these numbers of threads, in turn, beside one thread."""
    found = subprocess.run(
        [sys.executable, "-c", SAME, threads, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("variable", "threads"),
    [("OMP_THREAD_LIMIT=1", "2 2"), ("OMP_DYNAMIC=true", "2 2"), ("OMP_THREAD_LIMIT=2", "4 8")],
)
def test_openmp_gives_fewer_threads_than_torch_asks_for(variable: str, threads: str) -> None:
    name, value = variable.split("=")
    check_in_a_process(threads, **{name: value})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to choose a processor")
def test_more_threads_than_processors() -> None:
    check_in_a_process("2 4", "one processor")


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_threads_change_at_run_time(controller, threads):
    expected = numbers(controller, 1)
    for number in (2, 1):
        assert_same(controller, number, expected)


def test_python_threads_with_streams_of_their_own(threads):
    """Each with another number of OpenMP threads, at the same time."""
    expected, failed = numbers("gru", 1), []

    def run(number: int) -> None:
        try:
            torch.set_num_threads(number)
            layer = RAMGRU(64, 64, batch_first=True, memory=MEMORY)
            layer.load_state_dict(weights)
            stream = layer.eval().stream(70)
            for t, y in enumerate(expected[-3:]):
                torch.testing.assert_close(stream.step(x[:, t]), y, rtol=1e-5, atol=1e-6)
        except BaseException as error:
            failed.append(error)

    torch.manual_seed(1)
    weights = RAMGRU(64, 64, batch_first=True, memory=MEMORY).state_dict()
    x = torch.randn(70, 3, 64)
    running = [threading.Thread(target=run, args=(n,)) for n in (1, 2, 2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failed
