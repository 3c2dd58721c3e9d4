"""Measures the programs in examples/ beside nn.GRU and nn.LSTM, and writes docs/in_practice.md.

    python benchmarks/in_practice.py                         # all programs
    python benchmarks/in_practice.py log_lines --seeds 0 1   # some seeds of one
    python benchmarks/in_practice.py --page                  # only write the page again

Every finished training is stored in docs/in_practice.json at once, and is not repeated: an
interrupted measurement goes on where it stopped, and seeds can be added in several sittings. Layers
are tuned alike: each rate of the program is tried on the first seed, and the one with the lowest
held-out loss is used for all others. A peer trains for as many seconds of processor time as ours,
with as many parameters.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from in_practice_page import page
from in_practice_programs import LAYERS, PROGRAMS, Program

from ramgru import files
from ramgru.lab.show import machine

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = (0, 1, 2)

# {program: {layer: {rate: {seed: what `run` returned}}}}
Results = dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]


def load(path: Path) -> Results:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def chosen(rates: dict[str, dict[str, dict[str, Any]]], program: Program) -> str | None:
    """The rate with the lowest held-out loss on the first seed; None before all were tried."""
    first = str(SEEDS[0])
    wanted = [f"{rate:g}" for rate in program.rates]
    if not all(first in rates.get(rate, {}) for rate in wanted):
        return None
    return min(wanted, key=lambda rate: float(rates[rate][first]["loss"]))


def measure(
    program: Program,
    layers: Sequence[str],
    seeds: Sequence[int],
    results: Results,
    keep: Callable[[], None],
) -> None:
    """Run whatever is missing."""
    try:
        run = program.run()
    except ModuleNotFoundError as missing:
        print(f"{program.name}: {missing}; examples/README.md says what it needs", flush=True)
        return
    of_program = results.setdefault(program.name, {})

    def once(layer: str, rate: float, seed: int) -> None:
        of_seeds = of_program.setdefault(layer, {}).setdefault(f"{rate:g}", {})
        if str(seed) in of_seeds:
            return
        found = run(layer, rate, seed, seconds=allowance(program, of_program, layer))
        shown = " · ".join(f"{name} {value:.4g}" for name, value in found.items())
        print(f"{program.name}, {layer}, rate {rate:g}, seed {seed}: {shown}", flush=True)
        found["machine"] = ", ".join(f"{k} {v}" for k, v in machine.describe().items())
        of_seeds[str(seed)] = found
        keep()

    for layer in layers:
        for rate in program.rates:
            once(layer, rate, SEEDS[0])
        rate_text = chosen(of_program[layer], program)
        for seed in seeds:
            once(layer, float(rate_text or program.rates[0]), seed)


def allowance(program: Program, of_program: dict[str, Any], layer: str) -> float | None:
    """Seconds that a layer may train: ours has its number of steps, a peer our seconds."""
    if layer == LAYERS[0] or not program.equal_seconds:
        return None
    rates = of_program.get(LAYERS[0], {})
    rate = chosen(rates, program)
    if rate is None:
        sys.exit(f"{program.name}: measure {LAYERS[0]} first, its seconds are the peers' budget")
    return float(rates[rate][str(SEEDS[0])]["seconds"])


def selected(names: Sequence[str]) -> Iterator[Program]:
    for name in names or PROGRAMS:
        if name not in PROGRAMS:
            sys.exit(f"program: expected some of {', '.join(PROGRAMS)}, got {name}")
        yield PROGRAMS[name]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", nargs="*", help=f"of {', '.join(PROGRAMS)} (default all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="(default 0 1 2)")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page and the JSON")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    path = options.docs / "in_practice.json"
    results = load(path)
    torch.set_num_threads(1)

    def keep() -> None:
        files.write_json(path, results)

    if not options.page:
        for program in selected(options.program):
            measure(program, options.layers, options.seeds, results, keep)
    files.write(options.docs / "in_practice.md", page(results, chosen))


if __name__ == "__main__":
    main()
