"""How fast the layers are beside their peers, how near the machine's limits, and how they scale.

    python benchmarks/performance.py                    all sections -> docs/performance.md
    python benchmarks/performance.py --only bars        sections by name, comma-separated
    python benchmarks/performance.py --quick            a few seconds: does it run at all?

The file is written anew after every table, so an interrupted run leaves what it had found.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import contenders as who
import torch
from contenders import BASE, OURS, ram
from timing import (
    Times,
    bandwidth,
    digits,
    forget_peak,
    matrix_peak,
    process_memory,
    ratio,
    take_turns,
)
from torch import Tensor, nn

from ramgru import files
from ramgru.kernels import native
from ramgru.kernels.memory_scan import memory_scan
from ramgru.lab.show import machine

Shape = tuple[int, int, int]  # sequences, steps, width
MODES = {"inside": "inside a network", "first": "first layer", "forward": "forward only"}
BFLOAT16 = f"{OURS}, bfloat16"
KERNEL = "exact GRU kernel"
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    shapes: tuple[Shape, ...] = ((16, 512, 256), (32, 100, 256), (1, 1024, 256))
    kernel_shape: Shape = (1, 1000, 256)
    seconds: float = 12.0  # a table's column
    rounds: int = 40
    cells: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6, 10**7)
    steps: tuple[int, ...] = (10**2, 10**3, 10**4, 10**5)
    long: int = 10**6
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    top_ks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    scaling_shape: Shape = (16, 256, 256)
    sam_cells: int = 10**6
    matrix: int = 2048
    copy: int = 2**27
    children: int = 4  # layers whose memory is measured


QUICK = Plan(
    shapes=((2, 20, 16),),
    kernel_shape=(1, 20, 16),
    seconds=0.1,
    rounds=3,
    cells=(10**3, 10**4),
    steps=(10, 100),
    long=1000,
    batches=(1, 2),
    top_ks=(1, 4),
    scaling_shape=(2, 20, 16),
    sam_cells=10**4,
    matrix=128,
    copy=2**20,
    children=1,
)


@dataclass(eq=False)
class Run:
    """What is measured, with how many threads, and the page that it becomes."""

    plan: Plan
    threads: int
    output: Path
    page: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # contenders left out, and why

    def add(self, *lines: str) -> None:
        """Print, and write what there is so far."""
        print("\n".join(lines), flush=True)
        self.page += lines
        files.write(self.output, "\n".join(self.page) + "\n")

    def times(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, Times]:
        seconds = self.plan.seconds
        return take_turns(calls, rounds=self.plan.rounds, seconds=seconds, shortest=seconds / 400)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def name_of(shape: Shape) -> str:
    return "({}, {}, {})".format(*shape)


# The machine's limits


@cache
def matrix_rate(dtype: torch.dtype, threads: int, n: int) -> float:
    with_threads(threads)
    return matrix_peak(dtype, n)


def with_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def floors(run: Run) -> None:
    rows = []
    for threads in sorted({1, run.threads}):
        with_threads(threads)
        rates = [
            digits(matrix_rate(d, threads, run.plan.matrix) / 1e9)
            for d in (torch.float32, torch.bfloat16)
        ]
        copies = [digits(bandwidth(size) / 1e9) for size in (run.plan.copy, 2**18)]
        rows.append([str(threads), *rates, *copies])
    with_threads(run.threads)
    head = ["threads", "float32, GFLOP/s", "bfloat16, GFLOP/s", "copy of 128 MiB, GB/s"]
    n = run.plan.matrix
    run.add(
        "## The machine's limits",
        "",
        f"Products of {n} × {n} matrices, the faster of torch's two libraries; a copy's bytes are "
        "those read and those written. They make the floors below, in this same run.",
        "",
        *table([*head, "in cache (256 KiB), GB/s"], rows),
    )


# Layers beside their peers


@dataclass(frozen=True)
class Column:
    """All contenders at one shape, in one mode, with so many threads."""

    times: dict[str, Times]
    floors: dict[str, float]  # seconds

    def speed(self, name: str, base: str = BASE) -> float:
        """How many times as fast as `base`: the median over rounds."""
        return ratio(self.times[base].wall, self.times[name].wall)

    def distance(self, name: str) -> float:
        """How many times the arithmetic of its own products."""
        return self.times[name].median / self.floors[name]


@cache
def column(
    run: Run, shape: Shape, mode: str, threads: int, names: tuple[str, ...] | None = None
) -> Column:
    with_threads(threads)
    B, T, width = shape
    found, missing = who.make(width, names)
    for name, why in missing.items():
        if name not in run.missing:
            print(f"{name}: left out ({why})", flush=True)
    run.missing.update(missing)
    print(f"measuring {name_of(shape)}, {MODES[mode]}, threads: {threads}", flush=True)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x.requires_grad_(mode == "inside")
    calls: dict[str, Callable[[], object]] = {}
    for name, c in found.items():
        calls[name] = partial(c.forward if mode == "forward" else c.train, x)
    floors = {
        name: 2 * B * T * c.products(mode) / matrix_rate(c.dtype, threads, run.plan.matrix)
        for name, c in found.items()
    }
    with_threads(threads)
    times = run.times(calls)
    with_threads(run.threads)
    return Column(times, floors)


def layers(run: Run) -> None:
    run.add(
        "## Layers beside their peers",
        "",
        f"Milliseconds (median ± half the quartile range), how many times as fast as `{BASE}` "
        "(median of the ratios within a round) and how many times the floor: the products with "
        "its own weights at the machine's rate, and nothing else. A train step is forward and "
        "backward from the sum of the outputs, with gradients of the weights and, inside a "
        "network, of the input. RAMGRU has 4 heads, top_k = 4 and 4096 cells a head; bfloat16 is "
        "torch.autocast. The gated delta rule is a bare operation, without a layer's projections.",
        "",
    )
    for threads in sorted({run.threads, 1}, reverse=True):
        modes = list(MODES) if threads == run.threads else ["inside"]
        for shape in run.plan.shapes:
            columns = [column(run, shape, mode, threads) for mode in modes]
            rows = []
            for name in columns[0].times:
                row = [name]
                for c in columns:
                    floor = "–" if not c.floors[name] else f"{digits(c.distance(name))} ×"
                    speed = f"{digits(c.speed(name))} ×"
                    row += [c.times[name].milliseconds(), speed, floor]
                rows.append(row)
            head = ["layer"]
            for mode in modes:
                head += [f"{MODES[mode]}, ms", f"`{BASE}`", "floor"]
            title = f"### {name_of(shape)}, {threads} thread{'s' if threads > 1 else ''}"
            run.add(title, "", *table(head, rows))
    if run.missing:
        run.add(*(f"Left out: {name} ({why})." for name, why in run.missing.items()), "")


# The bars


@dataclass(frozen=True)
class Bar:
    text: str
    found: float
    limit: float
    at_least: bool  # else at most
    unit: str = " ×"

    def row(self) -> list[str]:
        met = self.found >= self.limit if self.at_least else self.found <= self.limit
        sign = "≥" if self.at_least else "≤"
        found = f"{self.found:.1e}" if self.found < 1e-4 else digits(self.found)
        limit = f"{sign} {self.limit:g}{self.unit}"
        return [self.text, limit, f"{found}{self.unit}", "met" if met else "**missed**"]


def bars(run: Run) -> None:
    run.add("## Bars", "", f"{run.threads} threads; “as fast” is against `{BASE}`.", "")
    found: list[Bar | list[str]] = []
    for part in (speed_bars, kernel_bars, step_bars, cell_bars, sam_bar, long_bar, accuracy_bars):
        print(f"bars: {part.__name__}", flush=True)
        try:
            found += part(run)
        except Exception as error:  # one missing number must not cost the others
            found.append(
                [part.__name__, "", f"{type(error).__name__}: {error}"[:80], "not measured"]
            )
    rows = [bar.row() if isinstance(bar, Bar) else bar for bar in found]
    run.add(*table(["bar", "limit", "measured", ""], rows))


def speed_bars(run: Run) -> list[Bar]:
    found = []
    for shape in run.plan.shapes:
        one = shape[0] == 1
        for mode in ("inside", "first"):
            c, where = column(run, shape, mode, run.threads), f"{name_of(shape)}, {MODES[mode]}"
            found.append(Bar(f"{OURS} {where}: as fast", c.speed(OURS), 8 if one else 2.5, True))
            if not one:
                found.append(Bar(f"{OURS} {where}: floor", c.distance(OURS), 2, False))
            limit = 8 if one else 4
            found.append(Bar(f"{BFLOAT16} {where}: as fast", c.speed(BFLOAT16), limit, True))
            found.append(Bar(f"RAMGRU gru {where}: as fast", c.speed("RAMGRU gru"), 1, True))
    return found


def kernel_bars(run: Run) -> list[Bar]:
    found = []
    for mode in ("inside", "first"):
        shape, long = run.plan.shapes[1 % len(run.plan.shapes)], run.plan.kernel_shape
        both = column(run, long, mode, run.threads, (KERNEL, BASE))
        for where, c, limit in (
            (shape, column(run, shape, mode, run.threads), 1.5),
            (long, both, 5),
        ):
            if KERNEL not in c.times:
                raise RuntimeError(run.missing[KERNEL])
            text = f"{KERNEL} {name_of(where)}, {MODES[mode]}: as fast"
            found.append(Bar(text, c.speed(KERNEL), limit, True))
    return found


def step_bars(run: Run) -> list[Bar]:
    """One time step of one stream."""
    width = run.plan.shapes[0][2]
    x = torch.randn(1, width)
    calls: dict[str, Callable[[], object]] = {}

    def stream(layer: Any) -> Callable[[], object]:
        held = [layer.initial_state(1, dense=True)]

        def step() -> None:
            with torch.no_grad():
                _, held[0] = layer.step(x, held[0], donate=True)

        return step

    gru, hidden = nn.GRU(width, width, batch_first=True), [torch.zeros(1, 1, width)]

    def gru_step() -> None:
        with torch.no_grad():
            _, hidden[0] = gru(x.unsqueeze(1), hidden[0])

    calls[BASE] = gru_step
    for controller in ("mingru", "gru"):
        calls[controller] = stream(ram(width, controller))
    with_threads(1)
    times = run.times(calls)
    with_threads(run.threads)
    base = times[BASE]
    return [
        Bar(
            f"RAMGRU {c}, a streaming step, batch 1, width {width}, 1 thread: as fast "
            f"({digits(1e6 * times[c].median)} µs, `{BASE}` {digits(1e6 * base.median)} µs)",
            ratio(base.wall, times[c].wall),
            1,
            True,
        )
        for c in ("mingru", "gru")
    ]


def memory_inputs(
    B: int, T: int, H: int, K: int, D: int, cells: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Writes anywhere; each read finds the cell of a write at or before its step."""
    g = torch.Generator().manual_seed(0)
    write_index = torch.randint(cells, (B, T, H, K), generator=g)
    ago = torch.rand(B, T, H, K, generator=g) * torch.arange(1, T + 1).view(1, -1, 1, 1)
    x = {
        "write_index": write_index,
        "write_weight": torch.rand(B, T, H, K, generator=g),
        "gate": torch.rand(B, T, H, generator=g),
        "candidate": torch.randn(B, T, H, D, generator=g),
        "read_index": write_index.gather(1, ago.long()),
        "read_weight": torch.rand(B, T, H, K, generator=g) / K,
    }
    return {n: v.to(dtype).requires_grad_() if v.is_floating_point() else v for n, v in x.items()}


def operator(x: dict[str, Tensor], cells: int) -> Callable[[], None]:
    def call() -> None:
        memory_scan(**x, memory_size=cells, want_final=False)[0].sum().backward()
        for value in x.values():
            value.grad = None

    return call


def operator_of(B: int, T: int, K: int, cells: int, H: int, D: int) -> Callable[[], None]:
    return operator(memory_inputs(B, T, H, K, D, cells), cells)


@cache
def over_cells(run: Run) -> tuple[dict[str, Times], dict[str, Times]]:
    """-> of the operator and of the layer, the times for each number of cells"""
    B, T, width = run.plan.scaling_shape
    inputs = {N: memory_inputs(B, T, who.HEADS, who.TOP_K, width // 4, N) for N in run.plan.cells}
    operators = run.times({str(N): operator(x, N) for N, x in inputs.items()})
    x = torch.randn(B, T, width, requires_grad=True)
    made = {str(N): who.of(ram(width, memory_size=N)) for N in run.plan.cells}
    return operators, run.times({n: partial(c.train, x) for n, c in made.items()})


def cell_bars(run: Run) -> list[Bar]:
    found = []
    for name, times, limit in zip(("operator", "layer"), over_cells(run), (1.1, 1.3)):
        base = times[str(run.plan.cells[0])].wall
        worst = max(ratio(t.wall, base) for t in times.values())
        text = f"{name}, forward and backward, worst of {cell_range(run)} cells against the fewest"
        found.append(Bar(text, worst, limit, False))
    return found


def cell_range(run: Run) -> str:
    return f"10^{round(math.log10(run.plan.cells[0]))} … 10^{round(math.log10(run.plan.cells[-1]))}"


def sam_bar(run: Run) -> list[Bar]:
    B, T, H, D, N = 8, 256, 4, 32, run.plan.sam_cells
    times = run.times({"": operator(memory_inputs(B, T, H, who.TOP_K, D, N), N)})[""]
    text = f"SAM's shape, operator: batch {B}, {H} heads, word {D}, {N:,} cells, a step of {T}"
    return [Bar(text, 1e3 * times.median / T, 0.1, False, " ms")]


def long_bar(run: Run) -> list[Bar | list[str]]:
    found: list[Bar | list[str]] = []
    for every in (None, 65536):
        text = (
            f"{OURS}, {run.plan.long:,} steps, batch 1, width 64, train step: peak of the process"
        )
        text += f", checkpoint_every={every}" if every else ""
        got = child(run, "long", OURS, (1, run.plan.long, 64), every)
        if isinstance(got, str):
            found.append([text, "≤ 4 GiB", got, "not measured"])
        else:
            text += f" (in {digits(got['seconds'])} s)"
            found.append(Bar(text, got["peak"] / GIB, 4, False, " GiB"))
    return found


def accuracy_bars(run: Run) -> list[Bar]:
    found = accuracies()
    with native.use(native.PORTABLE):
        by_torch = accuracies()
    return [
        Bar(
            f"{name}: float32 against float64, worst of outputs and gradients "
            f"(torch code: {by_torch[name]:.1e})",
            error,
            1e-6,
            False,
            "",
        )
        for name, error in found.items()
    ]


def accuracies() -> dict[str, float]:
    """Norm-wise relative errors of outputs and gradients, the worst of each kernel."""
    g = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    B, T, H, width = 4, 200, 4, 128
    found = {}

    def check(name: str, function: Callable[..., Any], *inputs: Tensor) -> None:
        results = [computed(function, inputs, dtype) for dtype in (torch.float32, torch.float64)]
        found[name] = max(
            float((a.double() - b).norm() / b.norm().clamp_min(1e-300))
            for a, b in zip(*results, strict=True)
        )

    from ramgru.kernels.mingru import mingru

    check(
        "mingru",
        lambda x, h: mingru((x, h, None, None)),
        normal(B, T, 2 * width),
        normal(B, width),
    )
    x = memory_inputs(B, T, H, 4, 32, 500)
    index = {n: v for n, v in x.items() if not v.is_floating_point()}
    names = [n for n in x if n not in index]
    check("memory_scan", partial(scanned, names, index), *(x[n].detach() for n in names))
    try:
        from ramgru.kernels.gru import gru

        check(
            "gru",
            lambda x, h, w, b: gru((x, h, w, b, None, None)),
            normal(B, T, 3 * width),
            normal(B, width),
            normal(3 * width, width) / width**0.5,
            normal(3 * width),
        )
    except ImportError:
        print("gru: no kernel yet")
    try:
        from ramgru.kernels.gated_sum import gated_sum

        check("gated_sum", lambda *v: gated_sum(v), *(normal(B, T, width) for _ in range(3)))
    except ImportError:
        print("gated_sum: no kernel yet")
    try:
        from ramgru.kernels.product_keys import product_keys

        books, sizes = (normal(H, 64 + 64, 32), (64, 64))
        inputs = (normal(B, T, H * 64), normal(B, 3, H * 64), normal(H * 64), books, normal(H) / 8)

        def keys(*values: Tensor) -> Any:
            return product_keys((*values, None), 4, 4, sizes, (1, 0, 2, 3))

        cells = [keys(*(v.to(d) for v in inputs))[::2] for d in (torch.float32, torch.float64)]
        same = [(a == b).all(-1, keepdim=True) for a, b in zip(*cells, strict=True)]  # but for ties
        check(
            "product_keys",
            lambda *values: [w * s for w, s in zip(keys(*values)[1::2], same, strict=True)],
            *inputs,
        )
    except ImportError:
        print("product_keys: no kernel yet")
    layer = ram(width, memory_size=1024)
    where = torch.randint(1024, (B, T, H, 4), generator=g)
    names = [n for n, _ in layer.named_parameters() if "address" not in n]

    def whole(x: Tensor, *weights: Tensor) -> Any:
        given = dict(zip(names, weights, strict=True))
        with_index = {"write_index": where, "read_index": where}
        return torch.func.functional_call(layer.to(x.dtype), given, (x,), with_index)

    weights = [p.detach().clone() for n, p in layer.named_parameters() if n in names]
    check("a whole RAMGRU mingru, cells named", whole, normal(B, T, width), *weights)
    return found


def scanned(names: list[str], index: dict[str, Tensor], *values: Tensor) -> Any:
    given = dict(zip(names, values, strict=True)) | index
    outputs, _, rows = memory_scan(**given, memory_size=500, want_final=True)
    return outputs, rows


def computed(
    function: Callable[..., Any], inputs: Sequence[Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """Outputs, and gradients for fixed gradients of the outputs."""
    g = torch.Generator().manual_seed(3)
    leaves = [v.to(dtype).requires_grad_() for v in inputs]
    outputs = [y for y in function(*leaves) if y.requires_grad]
    grads = [torch.randn(y.shape, generator=g).to(dtype) for y in outputs]
    found = torch.autograd.grad(outputs, leaves, grads, allow_unused=True)
    return [*(y.detach() for y in outputs), *(v for v in found if v is not None)]


# How it scales


def scaling(run: Run) -> None:
    run.add("## How it scales", "", "Forward and backward, inside a network.", "")
    B, T, width = run.plan.scaling_shape

    def train(calls: dict[str, tuple[who.Contender, Tensor]]) -> dict[str, Times]:
        return run.times({n: partial(c.train, x) for n, (c, x) in calls.items()})

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()

    operators, layers = over_cells(run)
    first = str(run.plan.cells[0])
    rows = [
        [
            f"{int(N):,}",
            operators[N].milliseconds(),
            f"{digits(ratio(operators[N].wall, operators[first].wall))} ×",
            layers[N].milliseconds(),
            f"{digits(ratio(layers[N].wall, layers[first].wall))} ×",
        ]
        for N in operators
    ]
    head = ["cells a head", "operator, ms", "of the fewest", f"{OURS}, ms", "of the fewest"]
    run.add(f"### Cells: {name_of(run.plan.scaling_shape)}, 4 heads", "", *table(head, rows))

    rows = []
    for steps in run.plan.steps:
        x = leaf(1, steps, 64)
        times = train({n: (c, x) for n, c in who.make(64, [OURS, BASE])[0].items()})
        each = [f"{digits(1e6 * times[n].median / steps)}" for n in (OURS, BASE)]
        rows.append([f"{steps:,}", *each, f"{digits(ratio(times[BASE].wall, times[OURS].wall))} ×"])
    each = []
    for name in (OURS, BASE):
        got = child(run, "long", name, (1, run.plan.long, 64), None)
        each.append(got if isinstance(got, str) else digits(1e6 * got["seconds"] / run.plan.long))
    rows.append([f"{run.plan.long:,} (one run)", *each, "–"])
    head = ["steps", f"{OURS}, µs a step", f"`{BASE}`, µs a step", "as fast"]
    run.add("### Steps: batch 1, width 64", "", *table(head, rows))

    rows = []
    for batch in run.plan.batches:
        x = leaf(batch, T, width)
        times = train(
            {n: (c, x) for n, c in who.make(width, [OURS, "RAMGRU gru", BASE])[0].items()}
        )
        speed = [f"{digits(ratio(times[BASE].wall, times[n].wall))} ×" for n in times if n != BASE]
        rows.append([str(batch), *(t.milliseconds() for t in times.values()), *speed])
    head = [
        "batch",
        f"{OURS}, ms",
        "RAMGRU gru, ms",
        f"`{BASE}`, ms",
        "mingru as fast",
        "gru as fast",
    ]
    run.add(f"### Batch: {T} steps, width {width}", "", *table(head, rows))

    x = leaf(B, T, width)
    layers = train({str(K): (who.of(ram(width, top_k=K)), x) for K in run.plan.top_ks})
    sizes = (who.CELLS, who.HEADS, width // who.HEADS)
    operators = run.times({str(K): operator_of(B, T, K, *sizes) for K in run.plan.top_ks})
    rows = [[K, operators[K].milliseconds(), layers[K].milliseconds()] for K in operators]
    head = ["K = top_k", "operator, ms", f"{OURS}, ms"]
    run.add(f"### Addresses a step: {name_of((B, T, width))}", "", *table(head, rows))


# Memory, in fresh processes


def memory(run: Run) -> None:
    shape = run.plan.shapes[0]
    rows = []
    for name in (OURS, BASE, "RAMGRU gru", BFLOAT16)[: run.plan.children]:
        got = child(run, "train", name, shape, None)
        if isinstance(got, str):
            rows.append([name, got, "–"])
        else:
            rows.append([name, digits(got["above"] / 2**20), digits(got["peak"] / 2**20)])
    run.add(
        f"## Memory of a train step: {name_of(shape)}",
        "",
        "The peak of a fresh process, above what it held before the step and in all.",
        "",
        *table(["layer", "step, MiB", "process, MiB"], rows),
    )


LIMIT = 8 * GIB  # of a child's data: the machine has other work


def child(run: Run, what: str, name: str, shape: Shape, every: int | None) -> dict[str, Any] | str:
    """One train step in a process of its own -> peak, above and seconds, or why there are none."""
    spec = {"what": what, "name": name, "shape": shape, "every": every, "threads": run.threads}
    print(f"memory of {name} at {name_of(shape)}, checkpoint_every={every}", flush=True)
    environment = {**os.environ}
    if what == "train":  # large blocks go back at once: the peak is what was alive
        environment["MALLOC_MMAP_THRESHOLD_"] = str(2**16)
    command = [sys.executable, __file__, "--child", json.dumps(spec)]
    try:
        got = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    except subprocess.TimeoutExpired:
        return "longer than 400 s"
    if got.returncode:
        last = (got.stderr.strip().splitlines() or ["killed"])[-1]
        return f"more than {LIMIT // GIB} GiB" if "alloc" in last.lower() else last[:80]
    return json.loads(got.stdout.splitlines()[-1])


def run_child(spec: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    torch.set_num_threads(spec["threads"])
    width, name = spec["shape"][2], spec["name"]
    if spec["every"]:
        contender = who.of(ram(width, checkpoint_every=spec["every"]))
    else:
        contender = who.make(width, [name])[0][name]
    contender.train(torch.randn(1, 3, width, requires_grad=True))  # what is loaded at first use
    x = torch.randn(spec["shape"], requires_grad=True)
    forget_peak()
    before, begin = process_memory("VmRSS"), time.perf_counter()
    contender.train(x)
    seconds, peak = time.perf_counter() - begin, process_memory("VmHWM")
    print(json.dumps({"peak": peak, "above": peak - before, "seconds": seconds}))


SECTIONS = {
    "floors": floors,
    "bars": bars,
    "layers": layers,
    "scaling": scaling,
    "memory": memory,
}

HEADER = """# Performance

Written by `python benchmarks/performance.py{arguments}`; do not edit. {facts}; kernels: {kernels}.

All numbers are of one run. Contenders take turns, round after round, in an order that is reversed
every other round; shapes are (sequences, steps, inputs and hidden units); float32 where nothing
else is said. Peers: {peers}."""


def header(arguments: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    peers = []
    for package in ("mingru-scans", "minGRU-pytorch", "transformers"):
        try:
            peers.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            peers.append(f"{package} (not installed)")
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    kernels = native.info()["runs"]
    return HEADER.format(arguments=arguments, facts=facts, kernels=kernels, peers=", ".join(peers))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, few rounds")
    parser.add_argument("--threads", type=int, default=min(2, machine.cpu_count()))
    parser.add_argument("--output", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*is rounded up")
    if options.child:
        run_child(json.loads(options.child))
        return 0
    names = options.only.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"--only: expected some of {', '.join(SECTIONS)}, got {unknown[0]!r}")
    if platform.system() != "Linux":
        parser.error("memory is read from /proc, which only Linux has")
    torch.set_num_threads(options.threads)
    run = Run(QUICK if options.quick else Plan(), options.threads, options.output)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    given = "".join(f" {a}" for a in sys.argv[1:])
    run.add(header(given), "")
    begin = time.perf_counter()
    for name in SECTIONS:
        if name in names:
            SECTIONS[name](run)
            print(f"{name}: done after {time.perf_counter() - begin:.0f} s", flush=True)
    print(f"{options.output}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
