"""A language model of bytes: one pass over a text, then parts of it that the model never saw.

The text is Python's own library, its files shuffled, or the King James Bible as Debian has it, its
chapters shuffled (apt-get install bible-kjv).

The text is read in a few streams side by side, and the state is carried from chunk to chunk
(truncated backpropagation). The memory keeps what followed the last 2, 3, 4, … bytes when they came
before, from the first chunk to the last: a name, a phrase, a line that was read once can be told
again long after.

    python examples/language_model.py                # train, then bits a byte of unseen files
    python examples/language_model.py --layer gru    # the same with nn.GRU, or lstm
    python examples/language_model.py --text bible
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from training import command, detached, fit, library, recurrent

from ramgru import Memory
from ramgru.lab.train.checkpoint import flatten, unflatten

STREAMS, CHUNK = 8, 128  # streams that are read side by side, bytes between two steps of Adam
LEARN, HELD_OUT = 1 << 22, 1 << 17  # bytes
CODES, WIDTH = 64, 192
RATE, WARM_UP = 6e-3, 30
MEMORY = Memory(cells=16_384, heads="key:2 key:3 key:4 key:6", width=24, writes=1)


def chapters() -> list[bytes]:
    """Of the King James Bible, a verse a line."""
    command = ["bible", "-f", "gen1:1-rev22:21"]
    try:
        found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bible: {error}; apt-get install bible-kjv")
    verses = (line.split(b" ", 1) for line in found.stdout.splitlines(keepends=True))
    by_chapter = itertools.groupby(verses, key=lambda verse: verse[0].split(b":")[0])
    return [b"".join(words for _, words in chapter) for _, chapter in by_chapter]


@functools.cache
def corpus(text: str = "library") -> tuple[Tensor, Tensor]:
    """-> bytes to learn from, bytes of other parts to be asked about: (STREAMS, …) each."""
    parts: list[Any]
    parts, read = (library(), Path.read_bytes) if text == "library" else (chapters(), bytes)
    random.Random(0).shuffle(parts)
    held_out, learn = b"", b""
    for part in parts:
        if len(held_out) < HELD_OUT:
            held_out += read(part)
        elif len(learn) < LEARN:
            learn += read(part)
    whole = min(LEARN, len(learn) // STREAMS * STREAMS)
    both = (torch.tensor(list(b)) for b in (learn[:whole], held_out[:HELD_OUT]))
    first, second = (b.view(STREAMS, -1) for b in both)
    return first, second


class Model(nn.Module):
    """The next byte's logits, and the state to go on from."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = recurrent(
            layer, CODES, WIDTH, MEMORY, outputs=256, controller="mingru", carry="state"
        )
        # Frozen with a memory, so that a key stays the same while everything else learns.
        self.codes = nn.Parameter(torch.randn(256, CODES), requires_grad=layer != "ramgru")
        self.head = nn.Linear(self.layer.hidden_size, 256)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """x (B, T) bytes -> (B, T, 256), state"""
        y, state = self.layer(self.codes[x], state)
        return self.head(y), detached(state)

    def cost(self, text: Tensor, state: Any) -> tuple[Tensor, Any]:
        """text (B, T + 1) -> bits a byte, of all but the first, and the state after them"""
        y, state = self(text[:, :-1], state)
        loss = nn.functional.cross_entropy(y.flatten(0, 1), text[:, 1:].flatten())
        return loss / math.log(2), state


class Reader:
    """Reads the text chunk by chunk, again and again, and carries the state along."""

    def __init__(self, model: Model, text: Tensor) -> None:
        self.model, self.text, self.chunks = model, text, (text.size(1) - 1) // CHUNK
        self.read, self.state = 0, None  # chunks, and the state after them

    def loss(self) -> Tensor:
        start = self.read % self.chunks * CHUNK
        self.read += 1
        cost, self.state = self.model.cost(self.text[:, start : start + CHUNK + 1], self.state)
        return cost

    def state_dict(self) -> dict[str, Any]:
        return {"read": self.read, **flatten(self.state)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.read = saved["read"]
        with torch.no_grad():
            another = self.model(self.text[:, :1], None)[1]
        self.state = unflatten(another, saved, "cpu")


@torch.no_grad()
def bits(model: Model, text: Tensor, state: Any) -> float:
    """Bits a byte of the text, read in pieces."""
    costs = []
    for start in range(0, text.size(1) - 1, 1024):
        piece = text[:, start : start + 1025]
        cost, state = model.cost(piece, state)
        costs.append(cost.item() * (piece.size(1) - 1))
    return sum(costs) / (text.size(1) - 1)


def run(
    layer: str,
    rate: float = RATE,
    seed: int = 0,
    seconds: float | None = None,
    text: str = "library",
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    model, (learn, held_out) = Model(layer), corpus(text)
    reader = Reader(model, learn)
    adam = functools.partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True)
    # One pass, or passes until so many seconds are over.
    spent = fit(model, reader.loss, rate, reader.chunks, seconds, adam, WARM_UP, reader)
    fresh = bits(model, held_out, None)
    carried = bits(model, held_out, reader.state)
    return {**spent, "bits a byte": fresh, "the state carried": carried, "loss": fresh}


if __name__ == "__main__":
    command(__doc__, run, RATE, text=("library", "bible"))
