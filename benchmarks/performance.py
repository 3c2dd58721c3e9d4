"""Speed and memory of the layers, beside their peers and the machine's limits.

    python benchmarks/performance.py                    all sections -> docs/performance.md
    python benchmarks/performance.py --only stream      sections by name, comma-separated
    python benchmarks/performance.py --quick            tiny sizes: a check that everything runs

The page is rewritten after every table, so that an interrupted run leaves its results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import contenders as who
import torch
from contenders import BASE, OURS, PARALLEL, ram
from pages import table
from timing import (
    Times,
    bandwidth,
    digits,
    forget_peak,
    matrix_peak,
    memory_inputs,
    process_memory,
    ratio,
    take_turns,
)
from torch import Tensor, nn

from ramgru import Memory, files
from ramgru.gru import CONTROLLERS
from ramgru.kernels import native
from ramgru.kernels.memory_scan import memory_scan
from ramgru.lab.show import machine
from ramgru.lab.show.plots import bytes_text

Shape = tuple[int, int, int]  # sequences, steps, width
MODES = {"inside": "inside a network", "first": "first layer", "forward": "forward only"}
GIB = 2**30
INPUTS = 512  # of a stream: one input alone would find its cells in the processor's cache


@dataclass(frozen=True)
class Plan:
    """The sizes of one run of the benchmark."""

    shapes: tuple[Shape, ...] = (
        *((16, 512, 256), (32, 100, 256), (1, 1024, 256)),
        *((64, 50, 128), (128, 32, 64), (8, 200, 32), (10_000, 2, 8)),
    )
    seconds: float = 12.0  # per column of a table
    rounds: int = 40
    widths: tuple[int, ...] = (64, 256)  # of a stream
    cells: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6, 10**7)
    steps: tuple[int, ...] = (10**2, 10**3, 10**4, 10**5)
    long: int = 10**6
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    reads: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    scaling: Shape = (16, 256, 256)
    heads: Shape = (32, 100, 64)
    chunk: Shape = (8, 64, 128)
    chunks: int = 1000  # before a carried memory is measured
    matrix: int = 2048
    copy: int = 2**27
    children: int = 7  # processes whose memory is measured


QUICK = Plan(
    shapes=((2, 20, 16),),
    seconds=0.1,
    rounds=3,
    widths=(16,),
    cells=(10**3, 10**4),
    steps=(10, 100),
    long=1000,
    batches=(1, 2),
    reads=(1, 4),
    scaling=(2, 20, 16),
    heads=(2, 20, 16),
    chunk=(2, 8, 16),
    chunks=3,
    matrix=128,
    copy=2**20,
    children=1,
)


@dataclass(eq=False)
class Run:
    """One run of the benchmark, and the page that it writes."""

    plan: Plan
    threads: int
    output: Path
    page: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # contenders left out, and why

    def add(self, *lines: str) -> None:
        """Print lines, and write the page so far."""
        print("\n".join(lines), flush=True)
        self.page += lines
        files.write(self.output, "\n".join(self.page) + "\n")

    def times(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, Times]:
        seconds = self.plan.seconds
        return take_turns(calls, rounds=self.plan.rounds, seconds=seconds, shortest=seconds / 400)

    def trained(self, found: Mapping[str, who.Contender], x: Tensor) -> dict[str, Times]:
        return self.times({name: partial(c.train, x) for name, c in found.items()})


def name_of(shape: Shape) -> str:
    return "({}, {}, {})".format(*shape)


def leaf(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


def times_text(speed: float) -> str:
    return f"{digits(speed)} ×"


@cache
def matrix_rate(dtype: torch.dtype, threads: int, n: int) -> float:
    torch.set_num_threads(threads)
    return matrix_peak(dtype, n)


def limits(run: Run) -> None:
    rows = []
    for threads in sorted({1, run.threads}):
        rates = [matrix_rate(d, threads, run.plan.matrix) for d in (torch.float32, torch.bfloat16)]
        copies = [bandwidth(size) for size in (run.plan.copy, 2**18)]
        rows.append([str(threads), *(digits(value / 1e9) for value in (*rates, *copies))])
    torch.set_num_threads(run.threads)
    head = ["threads", "float32, GFLOP/s", "bfloat16, GFLOP/s", "copy of 128 MiB, GB/s"]
    n = run.plan.matrix
    run.add(
        "## The machine's limits",
        "",
        f"Products of {n} × {n} matrices, by the faster of torch's two libraries; a copy counts "
        "the bytes read and the bytes written. The floors below use these numbers.",
        "",
        *table([*head, "in cache (256 KiB), GB/s"], rows),
    )


def column(run: Run, shape: Shape, mode: str, threads: int) -> dict[str, list[str]]:
    """All contenders at one shape -> of each: milliseconds, speed against nn.GRU, distance."""
    B, T, width = shape
    found, missing = who.make(width)
    run.missing.update(missing)
    print(f"measuring {name_of(shape)}, {MODES[mode]}, threads: {threads}", flush=True)
    x = leaf(*shape).detach().requires_grad_(mode == "inside")
    calls: dict[str, Callable[[], object]] = {}
    floors = {}
    for name, c in found.items():
        calls[name] = partial(c.forward if mode == "forward" else c.train, x)
        rate = matrix_rate(c.dtype, threads, run.plan.matrix)
        floors[name] = 2 * B * T * c.products(mode) / rate
    torch.set_num_threads(threads)
    times = run.times(calls)
    torch.set_num_threads(run.threads)
    return {
        name: [
            each.milliseconds(),
            times_text(ratio(times[BASE].wall, each.wall)),
            times_text(each.median / floors[name]) if floors[name] else "–",
        ]
        for name, each in times.items()
    }


def layers(run: Run) -> None:
    run.add(
        "## Layers beside their peers",
        "",
        f"Each cell has milliseconds (median ± half the interquartile range), the speed relative "
        f"to `{BASE}` (median of the ratios within a round), and the distance from the floor: the "
        "time of the products with the layer's own weights at the machine's rate. A train step is "
        "forward and backward from the sum of the outputs, with gradients of the weights and, "
        f"inside a network, of the input. `{OURS}` is the default layer, with a GRU as controller; "
        "bfloat16 is torch.autocast. The gated delta rule is an operation without projections.",
        "",
    )
    for threads in sorted({run.threads, 1}, reverse=True):
        modes = list(MODES) if threads == run.threads else ["inside"]
        for shape in run.plan.shapes:
            columns = [column(run, shape, mode, threads) for mode in modes]
            rows = [[name, *(cell for c in columns for cell in c[name])] for name in columns[0]]
            head = ["layer"]
            for mode in modes:
                head += [f"{MODES[mode]}, ms", f"`{BASE}`", "floor"]
            title = f"### {name_of(shape)}, {threads} thread{'s' if threads > 1 else ''}"
            run.add(title, "", *table(head, rows))
    if run.missing:
        run.add(*(f"Left out: {name} ({why})." for name, why in run.missing.items()), "")


def in_turn(step: Callable[[Tensor], object], inputs: list[Tensor]) -> Callable[[], object]:
    """A call of `step` on the next of the inputs."""
    turns = itertools.cycle(inputs)
    return lambda: step(next(turns))


def step_of(gru: nn.GRU, batch: int = 1) -> Callable[[Tensor], object]:
    """A function of one input (batch, I), which goes on from the state of the last one."""
    hidden = torch.zeros(gru.num_layers, batch, gru.hidden_size)

    def step(x: Tensor) -> None:
        nonlocal hidden
        with torch.no_grad():
            _, hidden = gru(x.unsqueeze(1), hidden)

    return step


def stream(run: Run) -> None:
    """One time step of one stream or of several, on one thread."""
    heads = {"": {}, ", tape heads": {"heads": "key key tape tape"}}
    columns = ["layer", "µs", f"`{BASE}`"]
    run.add(
        "## A streaming step",
        "",
        "One step by `layer.stream(B).step(x)`, 1 thread, each on another input, so that it finds "
        f"other cells: {INPUTS} inputs in turn.",
        "",
    )
    for batch, depth in ((1, 1), (8, 1), (1, 2)):
        rows = []
        for width in run.plan.widths:
            inputs = list(torch.randn(INPUTS, batch, width))
            gru = nn.GRU(width, width, depth, batch_first=True)
            calls: dict[str, Callable[[], object]] = {BASE: in_turn(step_of(gru, batch), inputs)}
            for name, options in heads.items() if batch * depth == 1 else [("", {})]:
                for controller in CONTROLLERS:
                    layer = ram(width, controller, num_layers=depth, **options)
                    step = layer.stream(batch).step
                    calls[f"RAMGRU {controller}{name}"] = in_turn(step, inputs)
            torch.set_num_threads(1)
            times = run.times(calls)
            torch.set_num_threads(run.threads)
            for name, each in times.items():
                speed = times_text(ratio(times[BASE].wall, each.wall))
                rows.append([f"{name}, width {width}", digits(1e6 * each.median), speed])
        what = f"### Batch {batch}" + (", two layers" if depth == 2 else "")
        run.add(what, "", *table(columns, rows))


def operator(cells: int, shape: tuple[int, int, int, int], reads: int) -> Callable[[], None]:
    """Forward and backward of memory_scan over B, T, H, D."""
    x = memory_inputs(*shape, cells, Memory.writes, reads)

    def call() -> None:
        memory_scan(**x, memory_size=cells, want_final=False)[0].sum().backward()
        for value in x.values():
            value.grad = None

    return call


def scaling(run: Run) -> None:
    run.add("## How a train step scales", "", "Forward and backward, inside a network.", "")
    B, T, width = run.plan.scaling
    shape, x = (B, T, 4, width // 4), leaf(B, T, width)

    operators = run.times({str(N): operator(N, shape, Memory.reads) for N in run.plan.cells})
    found = run.trained({str(N): who.of(ram(width, cells=N)) for N in run.plan.cells}, x)
    first = str(run.plan.cells[0])
    rows = []
    for N in operators:
        row = [f"{int(N):,}"]
        for times in (operators, found):
            more = times_text(ratio(times[N].wall, times[first].wall))
            row += [times[N].milliseconds(), more]
        rows.append(row)
    head = ["cells a head", "operator, ms", "of the fewest", f"{OURS}, ms", "of the fewest"]
    run.add(f"### Cells: {name_of(run.plan.scaling)}, 4 heads", "", *table(head, rows))

    names = (OURS, PARALLEL, BASE)
    rows = []
    for steps in run.plan.steps:
        times = run.trained(who.make(64, names)[0], leaf(1, steps, 64))
        rows.append([f"{steps:,}", *(digits(1e6 * times[n].median / steps) for n in names)])
    head = ["steps", *(f"{name}, µs a step" for name in names)]
    run.add("### Steps: batch 1, width 64", "", *table(head, rows))

    rows = []
    for batch in run.plan.batches:
        times = run.trained(who.make(width, names)[0], leaf(batch, T, width))
        speed = [times_text(ratio(times[BASE].wall, times[n].wall)) for n in names[:-1]]
        rows.append([str(batch), *(times[n].milliseconds() for n in names), *speed])
    head = ["batch", *(f"{n}, ms" for n in names), *(f"{n} / {BASE}" for n in names[:-1])]
    run.add(f"### Batch: {T} steps, width {width}", "", *table(head, rows))

    found = run.trained({str(K): who.of(ram(width, reads=K)) for K in run.plan.reads}, x)
    operators = run.times({str(K): operator(Memory.cells, shape, K) for K in run.plan.reads})
    rows = [[K, operators[K].milliseconds(), found[K].milliseconds()] for K in found]
    head = ["reads", "operator, ms", f"{OURS}, ms"]
    run.add(f"### Cells that a step reads: {name_of(run.plan.scaling)}", "", *table(head, rows))


HEADS = ("key", "learned", "lag", "tape", "key learned", "key key:2 learned lag tape")


def heads(run: Run) -> None:
    """A train step and a step of a stream by the heads of the memory."""
    (B, T, width), inputs = run.plan.heads, list(torch.randn(INPUTS, 1, run.plan.heads[2]))
    run.add(
        f"## Heads: {name_of(run.plan.heads)}",
        "",
        "A train step inside a network, and one step of one stream on one thread.",
        "",
    )
    options: dict[str, dict[str, str]] = {f"`{names}`": {"heads": names} for names in HEADS}
    options["the default, 11 heads"] = {}
    made = {
        f"{name}{with_}": ram(width, controller, **given)
        for controller, with_ in (("gru", ""), ("mingru", ", mingru"))
        for name, given in options.items()
    }
    found = {BASE: who.of(nn.GRU(width, width, batch_first=True))}
    found |= {name: who.of(layer) for name, layer in made.items()}
    trained = run.trained(found, leaf(B, T, width))
    torch.set_num_threads(1)
    calls: dict[str, Callable[[], object]] = {BASE: in_turn(step_of(found[BASE].module), inputs)}
    calls |= {name: in_turn(layer.stream(1).step, inputs) for name, layer in made.items()}
    streamed = run.times(calls)
    torch.set_num_threads(run.threads)
    rows = []
    for name in found:
        row = [name]
        for times, text in (
            (trained, Times.milliseconds),
            (streamed, lambda each: digits(1e6 * each.median)),
        ):
            row += [text(times[name]), times_text(ratio(times[BASE].wall, times[name].wall))]
        rows.append(row)
    head = ["heads", "train step, ms", f"`{BASE}`", "stream step, µs", f"`{BASE}`"]
    run.add(*table(head, rows))


class Chunks:
    """A stream that is trained on chunk by chunk, by truncated backpropagation."""

    def __init__(self, shape: Shape, cells: int, inputs: int) -> None:
        """inputs: number of different inputs, so that few cells are in use; 0: all differ"""
        self.shape, self.inputs = shape, torch.randn(inputs, shape[2]) if inputs else None
        self.layer, self.state = ram(shape[2], cells=cells), None

    def train(self, carry: bool) -> None:
        B, T, width = self.shape
        if self.inputs is None:
            x = torch.randn(B, T, width)
        else:
            x = self.inputs[torch.randint(len(self.inputs), (B, T))]
        start = self.layer.initial_state(B) if self.state is None or not carry else self.state
        y, after = self.layer(x, start)
        y.square().mean().backward()
        self.layer.zero_grad()
        if carry:
            self.state = after.detach()


def carried(run: Run) -> None:
    """A chunk with the state carried, against a chunk on a fresh memory."""
    rows = []
    for cells in (4096, 65_536):
        for inputs, use in ((64, "64 inputs that come again"), (0, "new inputs")):
            chunks = Chunks(run.plan.chunk, cells, inputs)
            for _ in range(run.plan.chunks):
                chunks.train(carry=True)
            calls = {"fresh": False, "carried": True}
            times = run.times({n: partial(chunks.train, carry) for n, carry in calls.items()})
            more = times_text(ratio(times["carried"].wall, times["fresh"].wall))
            each = [times[name].milliseconds() for name in calls]
            rows.append([f"{cells:,} cells, {use}", *each, more])
    run.add(
        f"## Chunks of a stream: {name_of(run.plan.chunk)}",
        "",
        "Forward and backward over one chunk, with a fresh memory, and with the memory that "
        f"{run.plan.chunks:,} chunks have written, detached between chunks.",
        "",
        *table(["memory", "fresh, ms", "carried, ms", "of the fresh"], rows),
    )


# Memory, in fresh processes

LIMIT = 8 * GIB  # of a child's data: the machine has other work


def memory(run: Run) -> None:
    shape, long = run.plan.shapes[0], (1, run.plan.long, 64)
    cases: list[tuple[str, Shape, int | None]] = [
        (name, shape, None) for name in (OURS, PARALLEL, BASE)
    ]
    cases += [(OURS, long, None), (OURS, long, 65_536), (PARALLEL, long, None), (BASE, long, None)]
    rows = []
    for name, at, every in cases[: run.plan.children]:
        got = child(run, name, at, every)
        where = f"{name} {name_of(at)}" + (f", checkpoint_every={every:,}" if every else "")
        if isinstance(got, str):
            rows.append([where, got, "–", "–"])
        else:
            peaks = [bytes_text(got[key]) for key in ("above", "peak")]
            rows.append([where, *peaks, f"{digits(got['seconds'])} s"])
    run.add(
        "## Memory of a train step",
        "",
        "The peak of a fresh process, above its size before the step and in all.",
        "",
        *table(["layer", "step", "process", "time"], rows),
    )


def child(run: Run, name: str, shape: Shape, every: int | None) -> dict[str, Any] | str:
    """One train step in a process of its own -> peak, above and seconds, or the failure."""
    spec = {"name": name, "shape": shape, "every": every, "threads": run.threads}
    print(f"memory of {name} at {name_of(shape)}, checkpoint_every={every}", flush=True)
    # Large blocks return to the system at once, so that the peak is memory in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    command = [sys.executable, __file__, "--child", json.dumps(spec)]
    try:
        got = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    except subprocess.TimeoutExpired:
        return "longer than 400 s"
    if got.returncode:
        last = (got.stderr.strip().splitlines() or ["killed"])[-1]
        return f"more than {LIMIT // GIB} GiB" if "alloc" in last.lower() else last[:80]
    found: dict[str, Any] = json.loads(got.stdout.splitlines()[-1])
    return found


def run_child(spec: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    torch.set_num_threads(spec["threads"])
    width, name = spec["shape"][2], spec["name"]
    if spec["every"]:
        contender = who.of(ram(width, checkpoint_every=spec["every"]))
    else:
        contender = who.make(width, [name])[0][name]
    contender.train(torch.randn(1, 3, width, requires_grad=True))  # loads what first use loads
    x = torch.randn(spec["shape"], requires_grad=True)
    forget_peak()
    before, begin = process_memory("VmRSS"), time.perf_counter()
    contender.train(x)
    seconds, peak = time.perf_counter() - begin, process_memory("VmHWM")
    print(json.dumps({"peak": peak, "above": peak - before, "seconds": seconds}))


SECTIONS = {
    "limits": limits,
    "layers": layers,
    "stream": stream,
    "scaling": scaling,
    "heads": heads,
    "carried": carried,
    "memory": memory,
}


def header(title: str, arguments: Sequence[str]) -> str:
    peers = []
    for package in ("mingru-scans", "minGRU-pytorch", "transformers"):
        try:
            peers.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            peers.append(f"{package} (not installed)")
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    given = "".join(f" {a}" for a in arguments)
    return (
        f"# {title}\n\nWritten by `python benchmarks/performance.py{given}`; do not edit. "
        f"{facts}; kernels: {native.info()['runs']}.\n\nAll numbers are from one run. Contenders "
        "take turns, in an order that is reversed every other round. Shapes are (sequences, "
        "steps, inputs and hidden units); float32 unless the name says otherwise. Peers: "
        f"{', '.join(peers)}.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, few rounds")
    parser.add_argument("--threads", type=int, default=min(2, machine.cpu_count()))
    parser.add_argument("--output", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--title", default="Performance", help="of the page (default Performance)")
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
    quick = ["--quick"] if options.quick else []
    given = [*quick, "--only", options.only, "--threads", str(options.threads)]
    for name, value in (("title", options.title), ("output", options.output)):
        if str(value) != str(parser.get_default(name)):
            given += [f"--{name}", shlex.quote(str(value))]
    run.add(header(options.title, given))
    begin = time.perf_counter()
    for name in SECTIONS:
        if name in names:
            SECTIONS[name](run)
            print(f"{name}: done after {time.perf_counter() - begin:.0f} s", flush=True)
    print(f"{options.output}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
