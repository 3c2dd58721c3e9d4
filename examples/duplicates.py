"""Has this line come before? One pass over a stream, with a memory of constant size.

A line (here: invented customer records) becomes a vector of hashed character trigrams. For each
line the layer says how likely it repeats an earlier one, as it was or with one character mistyped.
It is trained on streams of 128 lines and asked about streams of 2,048. A key head finds a vector
that comes again unchanged; a learned head finds one that resembles an earlier one. Both write at
the key of the line before, so a line does not find itself.

    python examples/duplicates.py                # train, then the area under the ROC curve
    python examples/duplicates.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

FEATURES = 64
LETTERS = 40  # characters of a line
REPEATS = 0.25  # share of lines that repeat an earlier one
TRAIN, TEST = (8, 128), (3, 2048)  # streams, lines
RATE, STEPS = 3e-3, 400
MEMORY = Memory(heads="key" + 4 * " learned:write_after=1")
CHANCE = {"unchanged, AUC": 0.5, "one character edited, AUC": 0.5}

SYLLABLES = ("ka", "ri", "mo", "tel", "an", "ber", "sto", "li", "no", "ver", "da", "hu")


def records(draw: random.Random, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(count, LETTERS) ASCII: name, street and number. Syllables are few: lines are alike."""

    def word() -> str:
        return "".join(draw.choices(SYLLABLES, k=draw.choice((2, 3)))).capitalize()

    streets = [f"{word()} {kind}" for kind in ("St", "Rd", "Ave", "Ln") for _ in range(5)]
    lines = [
        f"{word()} {word()}, {draw.choice(streets)} {draw.randrange(400)}, {draw.randrange(10**5)}"
        for _ in range(count)
    ]
    text = "".join(line[:LETTERS].ljust(LETTERS) for line in lines)
    return np.frombuffer(text.encode(), np.uint8).reshape(count, LETTERS)


def hashed(lines: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(T, LETTERS) -> (T, FEATURES) of length 1: signed counts of trigrams, by a hash."""
    codes = lines.astype(np.uint64)
    trigrams = (codes[:, :-2] << np.uint64(16)) + (codes[:, 1:-1] << np.uint64(8)) + codes[:, 2:]
    mixed = (trigrams * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    bucket, sign = mixed % FEATURES, (mixed // FEATURES % 2) * 2.0 - 1
    vectors = np.zeros((len(lines), FEATURES), np.float32)
    np.add.at(vectors, (np.arange(len(lines))[:, None], bucket), sign)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def streams(draw: random.Random, batch: int, length: int, edited: float) -> tuple[Tensor, Tensor]:
    """-> vectors (B, T, F), and whether a line repeats an earlier one (B, T).

    edited: share of the repeats with one character mistyped
    """
    vectors, repeated = [], []
    for _ in range(batch):
        lines = records(draw, length).copy()
        again = [t > 0 and draw.random() < REPEATS for t in range(length)]
        for t in filter(again.__getitem__, range(length)):
            lines[t] = lines[draw.randrange(t)]
            if draw.random() < edited:
                lines[t, draw.randrange(LETTERS)] = ord(draw.choice("abcdefghijklmnopqrstuvwxyz"))
        vectors.append(hashed(lines))
        repeated.append(again)
    return torch.from_numpy(np.stack(vectors)), torch.tensor(repeated).float()


def answers(model: Any, vectors: Tensor) -> Tensor:
    """(B, T, F) -> logits (B, T)"""
    return model["head"](model["rnn"](vectors)[0]).squeeze(-1)


def area(scores: Tensor, repeated: Tensor) -> float:
    """Area under the ROC curve: how often a repeated line scores above a new one."""
    order = scores.flatten().argsort()
    rank = torch.empty(len(order), dtype=torch.float64)
    rank[order] = torch.arange(1.0, len(order) + 1, dtype=torch.float64)
    yes = repeated.flatten() > 0
    n, m = int(yes.sum()), int((~yes).sum())
    return (float(rank[yes].sum()) - n * (n + 1) / 2) / (n * m)


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw, rnn = random.Random(seed), recurrent(layer, FEATURES, 64, MEMORY, outputs=1)
    model = nn.ModuleDict({"rnn": rnn, "head": nn.Linear(rnn.hidden_size, 1)})

    def loss() -> Tensor:
        vectors, repeated = streams(draw, *TRAIN, edited=0.5)
        return nn.functional.binary_cross_entropy_with_logits(answers(model, vectors), repeated)

    found = fit(model, loss, rate, STEPS, seconds, draw=draw)
    draw = random.Random(10**6 + seed)  # lines that training never drew
    with torch.no_grad():
        found["loss"] = loss().item()
        for name, edited in zip(CHANCE, (0.0, 1.0)):
            vectors, repeated = streams(draw, *TEST, edited)
            found[name] = area(answers(model, vectors), repeated)
    return found


if __name__ == "__main__":
    command(__doc__, run, RATE)
