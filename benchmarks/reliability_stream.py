"""Streams: many steps of one input kind through one kind of head, in flat time and bounds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ramgru import RAMGRU, Memory, RAMGRUState

PROMISE = (
    "No option diverges: whatever the input repeats, outputs and cells stay within 100 times the "
    "inputs, the memory and the time of a step stay flat, and a reset forgets everything."
)
HOW = (
    "Each kind of head with each controller, two layers of 32, reads a stream of inputs that are "
    "drawn anew, one that repeats, one that is constant, zero, huge (1e30) or alternates between "
    "huge signs. Checked are finite numbers and bounds at every 1,000th step, the process's memory "
    "and the time of a step between the second and the last tenth, and that after a reset the "
    "stream gives the numbers of a fresh one."
)
CASES = 126
STEPS = 10_000
HEADS = ("key", "key:3:skip=1", "learned", "lag", "tape", "tape tape", "key learned lag tape")
INPUTS = ("drawn", "repeated", "constant", "zero", "huge", "signs")
CONTROLLERS = ("gru", "mingru", "diagonal")
WIDTH = 32
LARGEST = 100.0  # of outputs and cells, relative to the inputs


def inputs(kind: str) -> Tensor:
    """(period, WIDTH) the inputs of a stream, over and over."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(997, WIDTH, generator=generator)
    one = drawn[:1]
    return {
        "drawn": drawn,
        "repeated": drawn[:7],
        "constant": one,
        "zero": torch.zeros_like(one),
        "huge": 1e30 * drawn[:7],
        "signs": torch.cat([1e30 * one, -1e30 * one]),
    }[kind]


def layer_of(heads: str, controller: str) -> RAMGRU:
    torch.manual_seed(0)
    memory = Memory(cells=256, heads=heads)
    return RAMGRU(WIDTH, WIDTH, 2, controller=controller, memory=memory).eval()


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def prepare(folder: Path) -> Callable[[int], str]:
    torch.set_num_threads(1)
    return check


def check(seed: int, steps: int = STEPS) -> str:
    heads = HEADS[seed % len(HEADS)]
    kind = INPUTS[seed // len(HEADS) % len(INPUTS)]
    controller = CONTROLLERS[seed // len(HEADS) // len(INPUTS) % len(CONTROLLERS)]
    layer, x = layer_of(heads, controller), inputs(kind)
    name = f"{heads}, {controller}, {kind}"
    stream, times, memory = layer.stream(1), list[float](), list[int]()
    for tenth in range(10):
        start = time.perf_counter()
        for n in range(tenth * steps // 10, (tenth + 1) * steps // 10):
            y = stream.step(x[n % len(x)][None])
            if n % 1000 == 0 or n < 100:
                found = problem(y, stream.state, x)
                if found:
                    return f"!{found} at step {n} of {name}"
        times.append(time.perf_counter() - start)
        memory.append(resident())
    if memory[-1] - memory[1] > 8 << 20:
        return f"!memory grew by {(memory[-1] - memory[1]) >> 20} MiB in {name}"
    fresh, forgot = layer.stream(1), torch.ones(1, dtype=torch.bool)
    for n in range(20):
        one = x[n % len(x)][None]
        y, expected = stream.step(one, reset=forgot if n == 0 else None), fresh.step(one)
        if float((y - expected).abs().max()) > 1e-5 * max(1.0, float(expected.abs().max())):
            return f"!a reset does not forget in {name}"
    slower = times[-1] / min(times[1:])
    return "flat and bounded" if slower < 3 else f"flat but for the time, x {slower:.1f}"


def problem(y: Tensor, state: RAMGRUState, x: Tensor) -> str:
    """What is wrong with outputs and a state for inputs x; nothing if all is well."""
    most = LARGEST * max(1.0, float(x.abs().max()))
    held = [("a hidden unit", state.hidden), *(("a cell", m.rows) for m in state.memory)]
    for name, values in (("an output", y), *held):
        if not bool(torch.isfinite(values).all()):
            return f"{name} that is not finite"
        if float(values.abs().max()) > most:
            return f"{name} of {float(values.abs().max()):.2g}"
    return ""
