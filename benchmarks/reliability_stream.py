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
    "inputs, their size, the memory and the time of a step stay flat, and a reset forgets "
    "everything, and of no other sequence."
)
HOW = (
    "Each kind of head with each controller, two layers of 32, reads a stream of 10,000 inputs "
    "that are drawn anew, that repeat, are constant, zero, huge (1e30) or alternate between huge "
    "signs. The last case is one stream of ten million steps through all kinds of heads. Checked "
    "are finite numbers and bounds at every 1,000th step; between the second and the last tenth "
    "the process's memory, the time of a step and, unless inputs are huge, the size of the "
    "outputs; and at the end, on each of the layer's three paths, that a reset of one of two "
    "sequences gives the state and the outputs of a fresh one and leaves the other alone."
)
CASES = 127
STEPS, LONGEST = 10_000, 10_000_000
HEADS = ("key", "key:3:skip=1", "learned", "lag", "tape", "tape tape", "key learned lag tape")
INPUTS = ("drawn", "repeated", "constant", "zero", "huge", "signs")
HUGE = ("huge", "signs")  # of which no output has a usual size
CONTROLLERS = ("gru", "mingru", "diagonal")
WIDTH = 32
LARGEST = 100.0  # of outputs and cells, relative to the inputs
ROOM = 8 << 20  # bytes by which the process may grow
DRIFT = 1.5  # of the outputs' mean size
CLOSE = 1e-4  # relative to the largest number of a tensor


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


def check(seed: int, steps: int | None = None) -> str:
    heads, kind, controller = HEADS[-1], INPUTS[0], CONTROLLERS[0]
    if seed < CASES - 1:
        heads = HEADS[seed % len(HEADS)]
        kind = INPUTS[seed // len(HEADS) % len(INPUTS)]
        controller = CONTROLLERS[seed // len(HEADS) // len(INPUTS) % len(CONTROLLERS)]
    steps = steps or (STEPS if seed < CASES - 1 else LONGEST)
    layer, x = layer_of(heads, controller), inputs(kind)
    name = f"{heads}, {controller}, {kind}"
    stream, times, memory, sizes = layer.stream(1), list[float](), list[int](), list[float]()
    for tenth in range(10):
        start, size = time.process_time(), 0.0
        for n in range(tenth * steps // 10, (tenth + 1) * steps // 10):
            y = stream.step(x[n % len(x)][None])
            if n % 1000 == 0 or n < 100:
                found = problem(y, stream.state, x)
                if found:
                    return f"!{found} at step {n} of {name}"
            if n % 10 == 0:
                size += float(y.abs().mean())
        times.append(time.process_time() - start)
        memory.append(resident())
        sizes.append(size)
    if memory[-1] - memory[1] > ROOM:
        return f"!memory grew by {(memory[-1] - memory[1]) >> 20} MiB in {name}"
    if kind not in HUGE and not 1 / DRIFT < (sizes[-1] + 1e-6) / (sizes[1] + 1e-6) < DRIFT:
        return f"!outputs drifted from {sizes[1]:.2g} to {sizes[-1]:.2g} in {name}"
    if remembered := unforgotten(layer, stream.state, x):
        return f"!a reset {remembered} in {name}"
    slower = times[-1] / min(times[1:])
    return "flat and bounded" if slower < 3 else f"flat but for the time, x {slower:.1f}"


def unforgotten(layer: RAMGRU, state: RAMGRUState, x: Tensor, steps: int = 20) -> str:
    """What a reset of one of two sequences, both in `state`, leaves behind or takes away; nothing
    if the first goes on as a fresh one and the second as it was."""
    inputs = x[torch.arange(steps + 1) % len(x)].unsqueeze(1).expand(-1, 2, -1)  # (T, 2, I)
    one, later = inputs[0], inputs[1:]
    both = RAMGRUState.cat([state, state])
    mixed = RAMGRUState.cat([layer.initial_state(1), state])
    reset = torch.tensor([True, False])
    paths: dict[str, tuple[Step, Step]] = {
        "in place": (
            lambda: layer.step_(one, both.clone(), reset=reset),
            lambda: layer.step_(one, mixed.clone()),
        ),
        "step": (lambda: layer.step(one, both, reset=reset), lambda: layer.step(one, mixed)),
        "forward": (
            lambda: layer(one[None], both, reset=reset[None]),
            lambda: layer(one[None], mixed),
        ),
    }
    with torch.no_grad():
        for path, runs in paths.items():
            found, expected = (numbers(layer, *run(), later) for run in runs)
            for b, does in enumerate(("does not forget", "changes another sequence's")):
                for what, value in expected.items():
                    most = max(1e-3, float(value[b].abs().max()))
                    gap = float((found[what][b] - value[b]).abs().max()) / most
                    if not gap < CLOSE:
                        return f"{does} {what} ({path}, {gap:.1g})"
    return ""


Step = Callable[[], tuple[Tensor, RAMGRUState]]


def numbers(layer: RAMGRU, y: Tensor, state: RAMGRUState, later: Tensor) -> dict[str, Tensor]:
    """An output, all of a state, and the outputs that follow from it: (B, …) each."""
    found = {
        "output": y.reshape(len(state.hidden[0]), -1),
        "hidden": state.hidden.transpose(0, 1),
        "later output": layer(later, state.clone())[0].transpose(0, 1),
    }
    for n, memory in enumerate(state.dense().memory):
        found |= {f"{kind} of layer {n}": value for kind, value in memory.carried.items()}
        found[f"cells of layer {n}"] = memory.rows
    return {what: value.double() for what, value in found.items() if value.numel()}


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
