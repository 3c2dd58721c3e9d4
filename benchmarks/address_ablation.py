"""What each part of a learned address is worth: recall of noisy features without it.

    python benchmarks/address_ablation.py       prints the table and writes docs/study/learned.md

Each variant takes one part away; three seeds each. Finished runs are kept in runs/ablation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from claims_measures import answers
from claims_table import FEATURES, ours
from pages import DOCS, table

import ramgru.kernels.address.cpu
import ramgru.memory
from ramgru import files
from ramgru.lab import tasks
from ramgru.lab.compare import runs
from ramgru.lab.evaluate import Effort
from ramgru.lab.show import machine
from ramgru.lab.show.data import over_seeds

ROOT = Path("runs/ablation")
SEEDS = (0, 1, 2)
STEPS = 600
RATE = 3e-3  # so few steps learn most with it
SIZES = ((0.0, 64), (0.0, 1024), (0.2, 64), (0.2, 1024), (0.4, 64), (0.4, 1024))
# {variant: (what it is, options of the memory, (module, name, replacement) or None)}
VARIANTS: dict[str, tuple[str, dict[str, Any], tuple[Any, str, Callable[..., Any]] | None]] = {
    "default": ("the default", {}, None),
    "no_gradient": (
        "without the gradient of attention: keys learn through tags alone",
        {},
        (ramgru.memory, "key_attention", lambda y, *given, **options: y),
    ),
    "no_tag": ("without tags", {"tag": 0}, None),
    "no_centre": (
        "features of the hash that are not centred",
        {},
        (
            ramgru.kernels.address.cpu,
            "centre",
            lambda features, phases: torch.zeros_like(phases),
        ),
    ),
    "tag_16": ("tags of 16 numbers", {"tag": 16}, None),
    "reads_4": ("4 cells read, 1 written", {"reads": 4}, None),
    "reads_8": ("8 cells read, 2 written", {"reads": 8}, None),
    "reads_32": ("32 cells read, 8 written", {"reads": 32}, None),
}


@contextmanager
def replaced(change: tuple[Any, str, Callable[..., Any]] | None) -> Iterator[None]:
    """Run with one function of the library replaced."""
    if change is None:
        yield
        return
    module, name, function = change
    kept = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, kept)


def measure(name: str, seed: int) -> list[float]:
    """Recall at each of SIZES of one trained run."""
    _, memory, change = VARIANTS[name]
    folder = ROOT / f"{name}-{seed}"
    config = replace(FEATURES, model=ours(**memory), seed=seed, steps=STEPS, lr=RATE)
    with replaced(change):
        runs.trained(config, folder, quiet=True)
        found = []
        for noise, pairs in SIZES:
            task = tasks.get("feature_recall", pairs=pairs, min_pairs=pairs, noise=noise)
            found.append(answers(folder, task, Effort())["score"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", help=f"default: {', '.join(VARIANTS)}")
    wanted = parser.parse_args().variants or list(VARIANTS)
    rows = []
    for name in wanted:
        measured = [measure(name, seed) for seed in SEEDS]
        shown = []
        for scores in zip(*measured):
            score = over_seeds(scores, None, None)
            shown.append(f"{100 * score.mean:.1f} ({100 * score.low:.1f} – {100 * score.high:.1f})")
        rows.append([VARIANTS[name][0], *shown])
        print(*rows[-1], sep=" | ", flush=True)
    header = ["variant", *(f"noise {noise}, {pairs} pairs" for noise, pairs in SIZES)]
    config = FEATURES
    text = [
        "# What a learned address is made of",
        "",
        "Recall of `feature_recall` in per cent (mean over three seeds, with Student's 95 % "
        "interval), "
        f"trained on up to {config.task.pairs} pairs at noise 0.2 for {STEPS} steps of "
        f"{config.batch_size} sequences, learning rate {RATE:g}, two blocks of width 64; chance is "
        "3.1 %. Each "
        "variant changes one part. `python benchmarks/address_ablation.py` repeats it.",
        "",
        *table(header, rows),
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in machine.describe().items())}.",
    ]
    path = DOCS / "study" / "learned.md"
    files.write(path, "\n".join(text) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
