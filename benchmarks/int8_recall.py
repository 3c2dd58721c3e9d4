"""Recall in float32 and with products in int8, by torchao: python benchmarks/int8_recall.py

Needs `pip install ".[int8]"`. Prints the table of docs/guide/export.md: three seeds, some
minutes. Finished runs are kept in runs/int8.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from statistics import fmean

import torch
from pages import table
from torch import nn
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    quantize_,
)

from ramgru import Memory
from ramgru.lab import tasks
from ramgru.lab.compare import runs
from ramgru.lab.evaluate import Effort, measure_at
from ramgru.lab.evaluate.sweep import Row
from ramgru.lab.tasks import Slice
from ramgru.lab.train import ModelConfig, TrainConfig
from ramgru.lab.train.run import load_run

ROOT = Path("runs/int8")
SEEDS = (0, 1, 2)
SIZE = {"vocab_size": 1024, "pairs": 16, "length": 64}
CELLS = 256  # so few that 256 pairs are more than they hold
ASKED = {16: 64, 64: 256, 256: 1024}  # {pairs: length}
CONFIGS = {
    "float32": None,
    "weights in int8": Int8WeightOnlyConfig,
    "weights and activations in int8": Int8DynamicActivationInt8WeightConfig,
}


def recall(seed: int, how: str) -> tuple[list[Row], float]:
    """-> a row for each size, and the share of the parameters that torchao quantises"""
    folder = ROOT / f"{seed}"
    task, model = tasks.get("mqar", **SIZE), ModelConfig(memory=Memory(cells=CELLS))
    config = TrainConfig(task=task, model=model, steps=400, batch_size=32, seed=seed)
    runs.trained(config, folder, quiet=True)
    _, _, trained = load_run(folder)
    given = CONFIGS[how]
    if given is not None:
        quantize_(trained, given())
    linear = sum(m.weight.numel() for m in trained.modules() if isinstance(m, nn.Linear))
    sizes = [
        Slice({"pairs": pairs}, tasks.get("mqar", **SIZE | {"pairs": pairs, "length": length}))
        for pairs, length in ASKED.items()
    ]
    found = measure_at(trained, sizes, Effort())
    share = linear / sum(p.numel() for p in trained.parameters())
    return found.rows, share


def main() -> None:
    warnings.simplefilter("ignore")  # of torchao
    torch.set_num_threads(1)
    lines = []
    for how in CONFIGS:
        measured = [recall(seed, how) for seed in SEEDS]
        cells = []
        for rows in zip(*(rows for rows, _ in measured), strict=True):
            score, loss = (fmean(x) for x in zip(*((row.score, row.loss) for row in rows)))
            cells.append(f"{100 * score:.2f} % ({loss:.3g})")
        lines.append([how, *cells])
    print(f"quantised: {measured[0][1]:.0%} of the parameters")
    print("\n".join(table(["", *(f"{pairs} pairs" for pairs in ASKED)], lines)))


if __name__ == "__main__":
    main()
