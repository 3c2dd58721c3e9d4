"""What `memory_scan` costs as cells grow in number: time, peak memory, distance from the floor.

    python benchmarks/operator_cost.py       prints the tables and writes docs/operator.md

Sizes are run in turn, round after round, so that what else the machine does meets all alike; a
ratio is the median over rounds of one size's time over that of the smallest in the same round.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from timing import QUIET, Times, forget_peak, process_memory, ratio, take_turns
from timing import bandwidth as copy_bandwidth
from torch import Tensor

from ramgru import files
from ramgru.kernels.memory_scan import memory_scan
from ramgru.lab.show import machine

CELLS = (2**10, 2**14, 2**20)
TIME_BAR, MEMORY_BAR = 1.15, 1.05
B, H, K, D = 8, 2, 4, 64  # sequences, heads, addresses a write and a read, width


@dataclass(frozen=True)
class Setting:
    """One thing to run: how many steps, and whether the final memory is asked for."""

    name: str
    steps: int
    want_final: bool
    bars: bool = True  # whether the bars hold, that is, whether all else is equal


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("outputs", 1024, False),
        # T·K < 2^10: as many rows of final memory come out, however many cells there are.
        Setting("outputs and final memory", 240, True),
        Setting("outputs and a final memory of more rows", 1024, True, bars=False),
    )
}


def draw(cells: int, steps: int) -> dict[str, Tensor]:
    """Writes anywhere; each read finds the cell of a write at or before its step."""
    g = torch.Generator().manual_seed(0)
    write_index = torch.randint(cells, (B, steps, H, K), generator=g)
    ago = torch.rand(B, steps, H, K, generator=g) * torch.arange(1, steps + 1).view(1, -1, 1, 1)
    x = {
        "write_index": write_index,
        "write_weight": torch.rand(B, steps, H, K, generator=g),
        "gate": torch.rand(B, steps, H, generator=g),
        "candidate": torch.randn(B, steps, H, D, generator=g),
        "read_index": write_index.gather(1, ago.long()),
        "read_weight": torch.rand(B, steps, H, K, generator=g),
    }
    return {name: v.requires_grad_() if v.is_floating_point() else v for name, v in x.items()}


def forward_backward(x: dict[str, Tensor], cells: int, want_final: bool) -> None:
    outputs, _, rows = memory_scan(**x, memory_size=cells, want_final=want_final)
    results = [outputs, rows] if want_final else [outputs]
    torch.autograd.backward(results, [torch.ones_like(r) for r in results])
    for value in x.values():
        value.grad = None


def floor_bytes(setting: Setting) -> int:
    """What any implementation must move: each tensor in and out once a pass, each row it touches.

    A write reads the old row and stores the new one, a read reads one; backward reads the rows
    again and adds to the gradient of each (reads it and stores it).
    """
    events = B * setting.steps * H * K
    rows = (2 + 3) * events + (1 + 3) * events  # of writes, of reads
    if setting.want_final:
        rows += 2 * 2 * events  # the final memory and its gradient, read and stored
    inputs = events * (2 * 8 + 2 * 4) + B * setting.steps * H * (1 + D) * 4
    gradients = events * 2 * 4 + B * setting.steps * H * (1 + D) * 4
    outputs = 2 * B * setting.steps * H * D * 4  # and their gradient
    return rows * D * 4 + 2 * inputs + gradients + outputs


def measure_time(setting: Setting, rounds: int) -> dict[int, Times]:
    calls = {
        str(cells): partial(forward_backward, draw(cells, setting.steps), cells, setting.want_final)
        for cells in CELLS
    }
    return {int(cells): times for cells, times in take_turns(calls, rounds=rounds).items()}


def child(setting: Setting, cells: int) -> None:
    """In a fresh process: prints the peak of one forward and backward above what was there."""
    small = draw(cells, 1)  # what is loaded at first use is not the operator's
    forward_backward(small, cells, setting.want_final)
    x = draw(cells, setting.steps)
    forget_peak()
    before = process_memory("VmRSS")
    forward_backward(x, cells, setting.want_final)
    print(process_memory("VmHWM") - before, process_memory("VmHWM"))


def measure_memory(setting: Setting, cells: int, threads: int) -> tuple[int, int]:
    """(bytes above what was there, bytes of the whole process) at the peak"""
    command = [sys.executable, __file__, "--threads", str(threads), "--child"]
    command += [setting.name, str(cells)]
    # Large blocks go back at once, so that the peak is what was alive, not how the heap lay.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    above, whole = run.stdout.split()
    return int(above), int(whole)


NO_BARS = "No bars: 2^10 cells give back 2^10 rows a head, more cells a row for each cell written."


@dataclass(frozen=True)
class Table:
    setting: Setting
    floor: float  # milliseconds
    lines: list[str]
    ok: bool
    quiet: bool

    def markdown(self) -> str:
        T = self.setting.steps
        bars = f"Bars {'met' if self.ok else '**missed**'}." if self.setting.bars else NO_BARS
        return "\n".join(
            [
                f"### {self.setting.name} ({T} steps)",
                "",
                f"Floor {self.floor:.1f} ms. {bars}",
                "",
                "| cells | ms (median ± half the quartile range) | best ms | time ratio "
                "| CPU time ratio | over the floor | peak MiB | peak ratio | whole process |",
                "|---|---|---|---|---|---|---|---|---|",
                *self.lines,
            ]
        )


def table(setting: Setting, rounds: int, threads: int, bandwidth: float) -> Table:
    times = measure_time(setting, rounds)
    memory = {cells: measure_memory(setting, cells, threads) for cells in CELLS}
    base, first = times[CELLS[0]], memory[CELLS[0]]
    floor = floor_bytes(setting) / bandwidth
    lines, ok, quiet = [], True, True
    for cells in CELLS:
        now, (above, whole) = times[cells], memory[cells]
        own_ratio, wall_ratio = ratio(now.own, base.own), ratio(now.wall, base.wall)
        median = now.median
        # With one thread, time on the wall that is not this process's is another's.
        quiet &= threads > 1 or median <= statistics.median(now.own) * (1 + QUIET)
        worst = wall_ratio if threads > 1 else own_ratio
        ok &= worst <= TIME_BAR and above / first[0] <= MEMORY_BAR
        lines.append(
            f"| 2^{cells.bit_length() - 1} | {1e3 * median:.1f} ± {1e3 * now.spread:.1f} "
            f"| {1e3 * now.best:.1f} | {wall_ratio:.3f} | {own_ratio:.3f} "
            f"| {median / floor:.1f} × | {above / 2**20:.1f} | {above / first[0]:.3f} "
            f"| {whole / first[1]:.3f} |"
        )
    return Table(setting, 1e3 * floor, lines, ok, quiet)


HEADER = """# What the operator costs

Written by `python benchmarks/operator_cost.py`. {processor}, {threads} thread(s),
torch {torch}, Python {python}, float32, {rounds} rounds.

Forward and backward of `memory_scan` from a fresh memory: {B} sequences, {H} heads, {K} cells a
write and {K} a read, width {D}; writes anywhere, each read at the cell of an earlier write.
Bars against 2^10 cells: time {time_bar}, peak memory {memory_bar}.

The sizes take turns; a time ratio is the median over rounds of a size's time over that of 2^10
cells in the same round, on the wall and on the process's own clock (with one thread the bar is
held against the latter). The floor is what any implementation must move (each tensor once a
pass, each row that a step touches) over the bandwidth of a large copy, here {bandwidth:.1f} GB/s.
The peak is that of a fresh process above what it held before the call; the last column compares
whole processes.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs/operator.md"))
    parser.add_argument("--child", nargs=2, metavar=("SETTING", "CELLS"), default=None)
    options = parser.parse_args()
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds: expected at least 2; --threads: expected at least 1")
    torch.set_num_threads(options.threads)
    if options.child:
        name, cells = options.child
        child(SETTINGS[name], int(cells))
        return 0

    bandwidth = copy_bandwidth(2**28)
    tables = []
    for setting in SETTINGS.values():
        tables.append(table(setting, options.rounds, options.threads, bandwidth))
        print(tables[-1].markdown(), end="\n\n", flush=True)
    if not all(t.quiet for t in tables):
        print("Others used the processor meanwhile: nothing written. Run again when it is quiet.")
        return 1
    header = HEADER.format(
        processor=machine.cpu_model(),
        threads=options.threads,
        torch=torch.__version__,
        python=platform.python_version(),
        rounds=options.rounds,
        B=B,
        H=H,
        K=K,
        D=D,
        time_bar=TIME_BAR,
        memory_bar=MEMORY_BAR,
        bandwidth=bandwidth / 1e9,
    )
    files.write(options.output, "\n".join([header, *(t.markdown() + "\n" for t in tables)]))
    print(f"{options.output}: written")
    return 0 if all(t.ok for t in tables if t.setting.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
