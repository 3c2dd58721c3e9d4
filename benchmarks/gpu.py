"""Speed and memory of the layer and its operators on a GPU, beside its limits and the peers.

    python benchmarks/gpu.py                    all sections -> docs/gpu_performance.md
    python benchmarks/gpu.py --only layers      sections by name, comma-separated
    python benchmarks/gpu.py --rehearse         tiny sizes on the CPU: a check that everything runs;
                                                the numbers mean nothing, and no page is written

The page is rewritten after every table, so that an interrupted run leaves its results.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gpu_contenders as who
import torch
from gpu_contenders import PARALLEL, Call, Shape
from gpu_timing import GB, HEAD, Found, Gpu, Rehearsal, measure
from pages import table
from timing import digits

from ramgru import files
from ramgru.kernels import gpu
from ramgru.lab.show import machine


@dataclass(frozen=True)
class Plan:
    """The sizes of one run of the benchmark."""

    shapes: tuple[Shape, ...] = ((16, 512, 256), (16, 4096, 512), (2, 8192, 768))
    long: Shape = (1, 2**20, 256)
    operator: tuple[int, int, int, int] = (16, 2048, 4, 64)  # B, T, H, D
    cells: tuple[int, ...] = tuple(2**n for n in range(10, 25, 2))
    steps: tuple[int, ...] = tuple(2**n for n in range(10, 21, 2))
    reads: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    scaling: Shape = (16, 1024, 256)
    rounds: int = 15
    shortest: float = 0.02  # seconds per turn
    copy: int = 2**30  # bytes
    matrix: int = 8192


TINY = Plan(
    shapes=((2, 6, 16),),
    long=(1, 40, 16),
    operator=(2, 6, 2, 4),
    cells=(2**6, 2**8),
    steps=(4, 8),
    reads=(2, 4),
    batches=(1, 2),
    scaling=(2, 6, 16),
    rounds=2,
    shortest=0.0,
    copy=2**12,
    matrix=16,
)


def name_of(shape: Shape) -> str:
    return "({}, {}, {})".format(*shape)


@dataclass(eq=False)
class Run:
    """One run of the benchmark, its device, and the page that it writes."""

    plan: Plan
    device: Gpu
    output: Path | None
    page: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # contenders left out, and why

    def add(self, *lines: str) -> None:
        """Print lines, and write the page so far."""
        print("\n".join(lines), flush=True)
        self.page += lines
        if self.output is not None:
            files.write(self.output, "\n".join(self.page) + "\n")

    def measure(self, makers: Mapping[str, Callable[[], Call]]) -> dict[str, Found | str]:
        """Contenders take turns; those that cannot be imported are left out."""
        calls = who.made(makers, self.missing)
        return measure(calls, self.device, self.plan.rounds, self.plan.shortest)

    def alone(self, make: Callable[[], Call]) -> Found:
        found = self.measure({"": make})[""]
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    def rows(self, found: Mapping[str, Found | str]) -> list[list[str]]:
        return [[n, *(f.row() if isinstance(f, Found) else [f, *"–––"])] for n, f in found.items()]

    def step(self, make: Callable[[], Any], shape: Shape, half: bool = True) -> Callable[[], Call]:
        return lambda: who.train_step(make(), shape, self.device.name, half)


# The GPU's limits


@cache
def bandwidth(run: Run) -> float:
    """Bytes read and written per second by a copy on the device."""
    source = torch.ones(run.plan.copy // 4, device=run.device.name)
    target = torch.empty_like(source)
    return 2 * run.plan.copy / run.alone(lambda: lambda: target.copy_(source)).median


def floors(run: Run) -> None:
    n = run.plan.matrix
    a, b = (torch.randn(n, n, device=run.device.name, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * n**3 / run.alone(lambda: lambda: torch.mm(a, b)).median
    rows = [
        [
            f"a copy of {run.plan.copy / GB:.3g} GB, read and written",
            f"{digits(bandwidth(run) / GB)} GB/s",
        ],
        [f"a product of {n} × {n} matrices in bfloat16", f"{digits(rate / 1e12)} TFLOP/s"],
    ]
    run.add("## The GPU's limits", "", *table(["", "measured"], rows))


# Beside the peers


def layers(run: Run) -> None:
    run.add(
        "## Layers",
        "",
        "A train step: forward, and backward to weights and input, under autocast to bfloat16. "
        "RAMGRU has 65,536 cells in each of 4 heads. The peak is the memory of a step above the "
        "memory held before it; the first call includes compilation.",
        "",
    )
    for shape in run.plan.shapes:
        makers = {n: run.step(make, shape) for n, make in who.layers(shape[2]).items()}
        found = run.measure(makers)
        run.add(f"### {name_of(shape)}", "", *table(["layer", *HEAD], run.rows(found)))
    long = run.plan.long
    found = run.measure({PARALLEL: run.step(who.ram(long[2], "mingru"), long)})
    run.add(f"### {name_of(long)}", "", *table(["layer", *HEAD], run.rows(found)))


def operators(run: Run) -> None:
    (B, T, H, D), at = run.plan.operator, run.device.name
    pairs: dict[str, Callable[[], tuple[Call, Call]]] = {
        "memory_scan": lambda: who.memory(B, T, H, D, 2**16, at),
        "linear_scan": lambda: who.recurrence(B, T, H * D, at),
        "product_keys": lambda: who.addresses(B, T, H, who.READS, 2**16, at),
        "gated delta rule (fla)": lambda: who.delta_rule(B, T, H, D, at),
        "gated slot attention (fla)": lambda: who.slots(B, T, H, D, at),
    }
    run.add(
        "## Operators",
        "",
        f"B = {B}, T = {T}, {H} heads of width {D}, N = 65,536, {who.WRITES} cells written and "
        f"{who.READS} read a step; "
        "ours in float32, flash-linear-attention's in bfloat16.",
        "",
    )
    for title, way in (("Forward", 0), ("Forward and backward", 1)):
        found = run.measure({n: (lambda p=p, way=way: p()[way]) for n, p in pairs.items()})
        run.add(f"### {title}", "", *table(["operator", *HEAD], run.rows(found)))
        ours = found["memory_scan"]
        if isinstance(ours, Found):
            least = who.memory_bytes(B, T, H, D, bool(way))
            share = least / ours.median / bandwidth(run)
            run.add(
                f"memory_scan has to move {least / GB:.3g} GB, and does so at "
                f"{100 * share:.0f} % of a copy's bandwidth.",
                "",
            )


# How it scales


def scaling(run: Run) -> None:
    B, T, width = run.plan.scaling
    plan = run.plan
    sweeps = {
        "cells a head": run.measure(
            {f"{N:,}": run.step(who.ram(width, cells=N), plan.scaling) for N in plan.cells}
        ),
        "steps, one sequence": run.measure(
            {f"{t:,}": run.step(who.ram(width), (1, t, width)) for t in plan.steps}
        ),
        "cells read a step": run.measure(
            {str(K): run.step(who.ram(width, reads=K), plan.scaling) for K in plan.reads}
        ),
        "sequences": run.measure(
            {str(b): run.step(who.ram(width), (b, T, width)) for b in plan.batches}
        ),
    }
    run.add("## How a train step scales", "", f"From {name_of(plan.scaling)}.", "")
    for name, found in sweeps.items():
        run.add(*table([name, *HEAD], run.rows(found)))


SECTIONS = {
    "floors": floors,
    "layers": layers,
    "operators": operators,
    "scaling": scaling,
}


def header(arguments: Sequence[str]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    kernels = ", ".join(f"{name}: {value}" for name, value in gpu.info().items())
    given = "".join(f" {a}" for a in arguments)
    return (
        f"# Performance on a GPU\n\nWritten by `python benchmarks/gpu.py{given}`; do not edit. "
        f"{facts}; {kernels}.\n\nAll numbers are from one run: medians of CUDA events. Contenders "
        "take turns, in an order that is reversed every other round; first calls compile. Shapes "
        "are (sequences, steps, inputs and hidden units).\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU, no page")
    parser.add_argument("--output", type=Path, default=Path("docs/gpu_performance.md"))
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"--only: expected some of {', '.join(SECTIONS)}, got {unknown[0]!r}")
    if not options.rehearse and not torch.cuda.is_available():
        print("gpu.py: torch sees no GPU here, so there is nothing to measure.", file=sys.stderr)
        return 1
    warnings.filterwarnings("ignore", message=".*is rounded up")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder  # so that first calls compile
        measure_all(options, names)
    return 0


def measure_all(options: argparse.Namespace, names: Sequence[str]) -> None:
    if options.rehearse:
        run = Run(TINY, Rehearsal(), None)
        run.add("A rehearsal on the CPU: the numbers below mean nothing.", "")
    else:
        run = Run(Plan(), Gpu(), options.output)
        run.add(header(sys.argv[1:]))
    for name in SECTIONS:
        if name in names:
            SECTIONS[name](run)
    if run.missing:
        run.add(*(f"Left out: {name} ({why})." for name, why in run.missing.items()), "")


if __name__ == "__main__":
    sys.exit(main())
