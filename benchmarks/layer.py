"""What a whole `RAMGRU` layer costs as its cells grow in number, addressing included.

    python benchmarks/layer.py       prints the table and writes docs/layer.md

The sizes take turns, round after round, so that what else the machine does meets all alike; a
ratio is the median over rounds of one size's time over that of the smallest in the same round.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from functools import partial
from pathlib import Path

import torch
from timing import QUIET, Times, ratio, take_turns
from torch import Tensor, nn

from ramgru import RAMGRU, files
from ramgru.kernels.memory_scan import WRITE_RULES
from ramgru.report import machine

CELLS = (2**10, 2**20)
BAR = 1.5
B, T, C, HEADS = 8, 256, 64, 2  # sequences, steps, inputs and hidden units, heads


def forward_backward(layer: nn.Module, x: Tensor) -> None:
    output, h_n = layer(x)
    (output.sum() + h_n.sum()).backward()
    layer.zero_grad()


def make(cells: int, controller: str, rule: str) -> RAMGRU:
    torch.manual_seed(0)
    return RAMGRU(
        C,
        C,
        batch_first=True,
        controller=controller,
        memory_size=cells,
        num_heads=HEADS,
        write_rule=rule,
    )


def measure(layers: dict[str, nn.Module], rounds: int) -> dict[str, Times]:
    x = torch.randn(B, T, C, generator=torch.Generator().manual_seed(1))
    calls = {name: partial(forward_backward, layer, x) for name, layer in layers.items()}
    return take_turns(calls, rounds=rounds)


HEADER = """# What the layer costs

Written by `python benchmarks/layer.py`; do not edit. {facts}; float32, {rounds} rounds.

Forward and backward of a whole layer, addressing included: {B} sequences of {T} steps, {C} inputs
and hidden units, {HEADS} heads, every other option at its default (the number of codebooks, too,
follows from the number of cells). `nn.GRU` of the same sizes is run in turn with them.

The bar: with 2^20 cells at most {BAR} times the time of 2^10. A ratio is the median over rounds
of a size's time over that of 2^10 in the same round: on the wall, and on the process's own
clock. With one thread the bar is held against the latter, else against the former.

| controller | rule | layer | ms (median ± half quartile range) | best ms | ratio | own clock |
|---|---|---|---:|---:|---:|---:|
"""


def rows(controller: str, rule: str, rounds: int, threads: int) -> tuple[list[str], bool, bool]:
    """-> lines of the table, whether the bar is met, whether the machine was quiet"""
    names = [f"2^{cells.bit_length() - 1} cells" for cells in CELLS]
    layers: dict[str, nn.Module] = {
        name: make(cells, controller, rule) for name, cells in zip(names, CELLS, strict=True)
    }
    times = measure(layers | {"`nn.GRU`": nn.GRU(C, C, batch_first=True)}, rounds)
    base = times[names[0]]
    lines, met, quiet = [], True, True
    for name, each in times.items():
        ratios = ratio(each.wall, base.wall), ratio(each.own, base.own)
        # With one thread, time on the wall that is not this process's is another's.
        quiet &= threads > 1 or each.median <= statistics.median(each.own) * (1 + QUIET)
        if name in layers:
            met &= ratios[threads == 1] <= BAR
        lines.append(
            f"| {controller} | {rule} | {name} | {1e3 * each.median:.1f} ± {1e3 * each.spread:.1f} "
            f"| {1e3 * each.best:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )
    return lines, met, quiet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs/layer.md"))
    options = parser.parse_args()
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds: expected at least 2; --threads: expected at least 1")
    torch.set_num_threads(options.threads)
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    text = HEADER.format(facts=facts, rounds=options.rounds, B=B, T=T, C=C, HEADS=HEADS, BAR=BAR)
    print(text, end="")
    all_met, all_quiet = True, True
    for controller, rule in itertools.product(("gru", "mingru"), WRITE_RULES):
        lines, met, quiet = rows(controller, rule, options.rounds, options.threads)
        print("\n".join(lines), flush=True)
        text += "\n".join(lines) + "\n"
        all_met, all_quiet = all_met and met, all_quiet and quiet
    if not all_quiet:
        print("Others used the processor meanwhile: nothing written. Run again when it is quiet.")
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    files.write(options.output, f"{text}\nBar {'met' if all_met else '**missed**'}.\n")
    print(f"{options.output}: written")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
