"""The cost of `memory_scan` as cells grow in number: time, peak memory, distance from the floor.

    python benchmarks/operator_cost.py       prints the tables and writes docs/operator.md

The sizes take turns, so that other work on the machine affects all alike; a ratio is the median
over rounds of one size's time over that of the smallest size in the same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pages import table
from timing import (
    QUIET,
    bandwidth,
    forget_peak,
    memory_inputs,
    process_memory,
    ratio,
    take_turns,
)
from torch import Tensor

from ramgru import Memory, files
from ramgru.kernels.memory_scan import memory_scan
from ramgru.lab.show import machine

CELLS = (2**10, 2**14, 2**20)
TIME_BAR, MEMORY_BAR = 1.15, 1.05
B, H, D = 8, 2, 64  # sequences, heads, width
WRITES, READS = Memory.writes, Memory.reads  # cells a step, as by default


@dataclass(frozen=True)
class Setting:
    """Steps of a sequence, and whether the final memory is returned.

    bars: whether the bars apply, that is, whether all sizes return equally many rows
    """

    name: str
    steps: int
    want_final: bool
    bars: bool = True

    def inputs(self, cells: int, steps: int = 0) -> dict[str, Tensor]:
        return memory_inputs(B, steps or self.steps, H, D, cells, WRITES, READS)

    def call(self, x: dict[str, Tensor], cells: int) -> None:
        """Forward and backward."""
        outputs, _, rows = memory_scan(**x, memory_size=cells, want_final=self.want_final)
        results = [outputs, rows] if self.want_final else [outputs]
        torch.autograd.backward(results, [torch.ones_like(r) for r in results])
        for value in x.values():
            value.grad = None

    def floor_bytes(self) -> int:
        """The bytes that any implementation moves: each tensor once per pass, each row it touches.

        A write reads the old row and stores the new one, and a read reads one row; backward reads
        the rows again, and reads and stores the gradient of each.
        """
        steps = B * self.steps * H
        writes, reads = steps * WRITES, steps * READS
        rows = (2 + 3) * writes + (1 + 3) * reads
        if self.want_final:
            rows += 2 * 2 * writes  # the final memory and its gradient
        weights = (writes + reads) * 4 + steps * (1 + D) * 4  # gate and candidate too
        outputs = 2 * steps * D * 4  # and their gradient
        return rows * D * 4 + 2 * (writes + reads) * 8 + 3 * weights + outputs


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("outputs", 1024, False),
        # Fewer writes than cells: all sizes return equally many rows of final memory.
        Setting("outputs and final memory", 240, True),
        Setting("outputs and a final memory of more rows", 1024, True, bars=False),
    )
}


def child(setting: Setting, cells: int) -> None:
    """In a fresh process: prints the peak of a forward and backward, above the start and in all."""
    setting.call(setting.inputs(cells, 1), cells)  # loads what first use loads
    x = setting.inputs(cells)
    forget_peak()
    before = process_memory("VmRSS")
    setting.call(x, cells)
    print(process_memory("VmHWM") - before, process_memory("VmHWM"))


def measure_memory(setting: Setting, cells: int, threads: int) -> list[int]:
    command = [sys.executable, __file__, "--threads", str(threads), "--child", setting.name]
    # Large blocks return to the system at once, so that the peak is memory in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    command.append(str(cells))
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [int(value) for value in run.stdout.split()]


HEAD = (
    *("cells", "ms", "best ms", "time ratio", "CPU time ratio", "over the floor"),
    *("peak MiB", "peak ratio", "whole process"),
)


def measured(setting: Setting, rounds: int, threads: int, rate: float) -> tuple[str, bool, bool]:
    """-> the table of a setting, whether its bars are met, whether the machine was quiet"""
    calls = {str(N): partial(setting.call, setting.inputs(N), N) for N in CELLS}
    times = {int(N): each for N, each in take_turns(calls, rounds=rounds).items()}
    memory = {N: measure_memory(setting, N, threads) for N in CELLS}
    base, first, floor = times[CELLS[0]], memory[CELLS[0]], setting.floor_bytes() / rate
    rows, met, quiet = [], True, True
    for N in CELLS:
        now, (above, whole) = times[N], memory[N]
        wall, own = ratio(now.wall, base.wall), ratio(now.own, base.own)
        # On one thread, wall-clock time beyond this process's CPU time is another process's.
        quiet &= threads > 1 or now.median <= statistics.median(now.own) * (1 + QUIET)
        met &= (wall if threads > 1 else own) <= TIME_BAR and above / first[0] <= MEMORY_BAR
        rows.append(
            [
                *(f"2^{N.bit_length() - 1}", now.milliseconds(), f"{1e3 * now.best:.1f}"),
                *(f"{wall:.3f}", f"{own:.3f}", f"{now.median / floor:.1f} ×"),
                *(f"{above / 2**20:.1f}", f"{above / first[0]:.3f}", f"{whole / first[1]:.3f}"),
            ]
        )
    bars = f"Bars {'met' if met else '**missed**'}."
    if not setting.bars:
        bars = "No bars: 2^10 cells return at most 2^10 rows a head, more cells one row per write."
    title = f"### {setting.name.capitalize()} ({setting.steps:,} steps)"
    lines = [title, "", f"Floor {1e3 * floor:.1f} ms. {bars}", "", *table(HEAD, rows)]
    return "\n".join(lines), met or not setting.bars, quiet


HEADER = """# What the operator costs

Written by `python benchmarks/operator_cost.py`; do not edit. {facts}, float32, {rounds} rounds.

Forward and backward of `memory_scan` from a fresh memory: {B} sequences, {H} heads, {writes} cells
written and {reads} read a step, width {D}; random cells are written, and each read finds a cell
written before. Bars against 2^10 cells: time {time_bar}, peak memory {memory_bar}.

Times are medians ± half the interquartile range. The sizes take turns; a time ratio is the median
over rounds of a size's time over that of 2^10 cells in the same round, in wall-clock time and in
CPU time (with one thread the bar is on CPU time). The floor is the time to move, at the bandwidth
of a large copy ({rate:.1f} GB/s), the bytes that any implementation moves: each tensor once per
pass, and each row that a step touches. The peak is that of a fresh process above its size before
the call; the last column compares whole processes.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs/operator.md"))
    parser.add_argument("--child", nargs=2, metavar=("SETTING", "CELLS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds: expected at least 2; --threads: expected at least 1")
    torch.set_num_threads(options.threads)
    if options.child:
        child(SETTINGS[options.child[0]], int(options.child[1]))
        return 0
    rate, found = bandwidth(2**28), []
    for setting in SETTINGS.values():
        found.append(measured(setting, options.rounds, options.threads, rate))
        print(found[-1][0], flush=True)
    if not all(quiet for _, _, quiet in found):
        print("Other processes used the CPU meanwhile; nothing was written. Run it again.")
        return 1
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    header = HEADER.format(
        **{"facts": facts, "rounds": options.rounds, "B": B, "H": H, "D": D, "writes": WRITES},
        **{"reads": READS, "time_bar": TIME_BAR, "memory_bar": MEMORY_BAR, "rate": rate / 1e9},
    )
    files.write(options.output, "\n".join([header, *(lines for lines, _, _ in found)]))
    print(f"{options.output}: written")
    return 0 if all(met for _, met, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
