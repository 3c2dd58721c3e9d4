"""A trained nn.GRU gets a memory: it keeps what it knew, and learns what it could not.

A GRU is trained on the invented logs of log_lines.py. It learns how lines are made, and cannot tell
which version a package had. `RAMGRU.from_gru` makes a layer of it with the same outputs, bit for
bit, which then trains on. Beside it, the same GRU trains on for as many seconds of processor time.

    python examples/upgrade.py                # train, upgrade, train on
    python examples/upgrade.py --layer gru    # without the upgrade
"""

from __future__ import annotations

import copy
import functools
import random
from typing import Any

import torch
from log_lines import CHANCE, MEMORY, SMALL, batch_of_logs, learn, scores, with_embedding
from torch import nn
from training import TORCH, command

from ramgru import RAMGRU

__all__ = ["CHANCE", "run"]

RATE, FIRST, THEN = 3e-2, 200, 300  # steps before and after the upgrade


@functools.cache
def trained(kind: type[nn.Module], seed: int) -> Any:
    """The network to begin with, the same for all that is done with it."""
    torch.manual_seed(seed)
    draw, model = random.Random(seed), with_embedding(kind(64, 96, batch_first=True), 64)
    learn(model, draw, 1e-2, FIRST)
    return model


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train a GRU, or an LSTM, upgrade it unless `layer` is itself, and train on.

    rate: of the second training; seconds: of processor time for it, in place of its steps
    """
    kind = nn.GRU if layer == "ramgru" else TORCH[layer]
    model = copy.deepcopy(trained(kind, seed))
    before = {f"{name} before": value for name, value in scores(model, seed).items()}
    torch.manual_seed(seed + 1)
    draw = random.Random(seed + 1)
    if layer == "ramgru":
        words = batch_of_logs(draw, 2, SMALL)[0]
        with torch.no_grad():
            x = model["embedding"](words)
            former = model["rnn"](x)[0]
            model["rnn"] = RAMGRU.from_gru(model["rnn"], memory=MEMORY)
            assert torch.equal(model["rnn"](x)[0], former)
    cost = learn(model, draw, rate, THEN, seconds)
    return {**cost, **before, **scores(model, seed)}


if __name__ == "__main__":
    command(__doc__, run, RATE)
