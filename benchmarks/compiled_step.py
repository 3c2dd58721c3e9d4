"""A compiled step of a stream beside `RAMGRU.stream`: python benchmarks/compiled_step.py

One sequence, one thread, a layer of width 64 with 4,096 cells. AOTInductor compiles `Step(layer,
in_place=True)` with the operators of this package, which `make -C examples/cpp` builds for C++, and
`Step(layer)`, which returns the state, with torch's own in their place. Both run in a process that
has torch alone. Processor time, the best of several rounds, which alternate; packages that are
there are used again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from ramgru import RAMGRU, Memory
from ramgru.export import Step
from ramgru.kernels import decompositions

WIDTH, CELLS, ROUNDS, STEPS = 64, 4096, 15, 100
BUILD = Path(__file__).parents[1] / "examples/cpp/build"
RAMGRU_OPERATORS, TORCH_ALONE = "in place, operators in C++", "torch's operators alone"

WORKER = f"""
import sys, time, torch
torch.set_num_threads(1)
torch.ops.load_library(sys.argv[1])
x, *state = torch.load(sys.argv[2])
run = [torch._inductor.aoti_load_package(file) for file in sys.argv[3:]]
for line in sys.stdin:
    step, began = run[int(line)], time.process_time()
    for _ in range({STEPS}):
        step(x, *state)
    print(time.process_time() - began, flush=True)
"""


def compiled(layer: RAMGRU, file: Path, alone: bool) -> str:
    if not file.exists():
        step = Step(layer, in_place=not alone)
        given = (torch.randn(2, WIDTH), *step.start(2))
        program = torch.export.export(step, given, dynamic_shapes=step.dynamic_shapes())
        if alone:
            names = ("gru", "linear_scan", "memory_scan")
            each = {getattr(torch.ops.ramgru, n).default: getattr(decompositions, n) for n in names}
            program = program.run_decompositions(each)
        torch._inductor.aoti_compile_and_package(program, package_path=str(file))
    print(f"{file.name}: {file.stat().st_size / 1024:.0f} KiB")
    return str(file)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=BUILD, help="the folder of the packages")
    parser.add_argument("--build", type=Path, default=BUILD, help="where `make` built")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer, x = RAMGRU(WIDTH, WIDTH, memory=Memory(CELLS)).eval(), torch.randn(1, WIDTH)
    stream = layer.stream(1)
    kinds = {RAMGRU_OPERATORS: False, TORCH_ALONE: True}
    files = [
        compiled(layer, options.work / f"{'alone' if alone else 'operators'}.pt2", alone)
        for alone in kinds.values()
    ]
    torch.save([x, *Step(layer).start(1)], options.work / "step.in")
    words = [options.build / "libramgru_operators.so", options.work / "step.in", *files]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(os.path.abspath, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        best = dict.fromkeys(("RAMGRU.stream", *kinds), float("inf"))
        for _ in range(ROUNDS):
            began = time.process_time()
            for _ in range(STEPS):
                stream.step(x)
            best["RAMGRU.stream"] = min(best["RAMGRU.stream"], time.process_time() - began)
            for number, name in enumerate(kinds):
                print(number, file=worker.stdin, flush=True)
                best[name] = min(best[name], float(worker.stdout.readline()))
    for name, spent in best.items():
        print(f"{name:34} {spent / STEPS * 1e6:6.0f} us, {spent / best['RAMGRU.stream']:.1f} x")


if __name__ == "__main__":
    main()
