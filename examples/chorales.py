"""The next step of Bach's four-part chorales, whose scores music21 holds.

A step is an eighth note, and tells which of 88 keys sound at its beginning. The score is the
negative log-likelihood of a step in nats: a sum over the keys, from a fresh state for every
chorale. All layers have dropout, a linear skip from the input to the output, and chorales for
training that are moved by -5 to +6 semitones at random.

    pip install music21 rich
    python examples/chorales.py                # train, then the negative log-likelihood
    python examples/chorales.py --layer gru    # the same with nn.GRU, or lstm

The first run parses the scores, which takes minutes, and keeps their rolls in runs/chorales.npz.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from training import command, fit, recurrent

from ramgru import Memory, files

ROLLS = Path(__file__).parents[1] / "runs" / "chorales.npz"
KEYS, LOWEST = 88, 21  # of a piano, and the MIDI pitch of the lowest one
EIGHTH = 0.5  # quarter notes
PARTS, SAME = 4, 0.5  # voices, and the share of equal steps that makes two scores one chorale
WIDTH, DROPOUT = 128, 0.2
RATE, STEPS, BATCH, PIECE = 1e-2, 950, 16, 64
MEMORY = Memory(heads="key key:2 key:4 lag lag lag")


def roll(notes: Iterable[tuple[float, float, int]]) -> Tensor:
    """notes: (onset, length, MIDI pitch), in quarter notes -> (T, KEYS) of bool, a row a step"""
    known = np.array([*notes])
    times = np.arange(0, (known[:, 0] + known[:, 1]).max() - 1e-3, EIGHTH)
    found = torch.zeros(len(times), KEYS, dtype=torch.bool)
    for onset, length, pitch in known:
        # A little earlier, as lengths of triplets are rounded.
        first, last = (np.searchsorted(times, x - 1e-3) for x in (onset, onset + length))
        found[first:last, int(pitch) - LOWEST] = True
    return found


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two rolls are of one chorale, perhaps at another pitch."""
    short, long = sorted((len(one), len(other)))
    if short < 0.9 * long:
        return False
    one, other = one[:short], other[:short]
    return any((one.roll(n, 1) == other).all(1).float().mean() > SAME for n in range(-6, 6))


def parsed() -> list[Tensor]:
    """The rolls of all chorales in four parts, from music21's corpus; each chorale once."""
    try:
        from music21 import corpus
        from rich.progress import track
    except ImportError:
        sys.exit("chorales.py reads scores that music21 brings: pip install music21 rich")
    paths = [path for path in corpus.getComposer("bach") if Path(path).suffix in (".mxl", ".xml")]
    found: list[Tensor] = []
    for path in track(sorted(paths), "music21 reads chorales"):
        parts = [[*part.flatten().notes] for part in corpus.parse(path).parts]
        if sum(map(bool, parts)) != PARTS:
            continue
        one = roll(
            (float(note.offset), float(note.quarterLength), pitch.midi)
            for part in parts
            for note in part
            for pitch in note.pitches
        )
        if not any(same(one, other) for other in found):
            found.append(one)
    return found


@functools.cache
def chorales() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """-> rolls (T, KEYS) for training, for choosing the rate, and for the test: 60, 20, 20 %"""
    if not ROLLS.exists():
        found = parsed()
        stored = {"rolls": np.concatenate(found), "lengths": np.array([*map(len, found)])}
        ROLLS.parent.mkdir(parents=True, exist_ok=True)
        files.write(ROLLS, lambda file: np.savez_compressed(file, **stored))
    with np.load(ROLLS) as file:
        each = [*torch.from_numpy(file["rolls"]).float().split(file["lengths"].tolist())]
    random.Random(0).shuffle(each)
    a, b = round(0.6 * len(each)), round(0.8 * len(each))
    return each[:a], each[a:b], each[b:]


class Model(nn.Module):
    """A recurrent layer, and a linear head that also sees the input."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.rnn = recurrent(layer, KEYS, WIDTH, MEMORY, outputs=KEYS)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(self.rnn.hidden_size, KEYS)
        self.skip = nn.Linear(KEYS, KEYS, bias=False)
        nn.init.constant_(self.head.bias, -3.0)  # 4 of 88 keys sound

    def forward(self, rolls: Tensor) -> Tensor:
        """(B, T, KEYS) -> logits of each step, from those before it: (B, T, KEYS)"""
        before = nn.functional.pad(rolls[:, :-1], (0, 0, 1, 0))
        return self.head(self.dropout(self.rnn(before)[0])) + self.skip(before)

    def cost(self, rolls: list[Tensor]) -> Tensor:
        """-> the negative log-likelihood of all steps, summed"""
        padded = pad_sequence(rolls, batch_first=True)
        real = pad_sequence([roll.new_ones(len(roll), 1) for roll in rolls], batch_first=True)
        return nn.functional.binary_cross_entropy_with_logits(
            self(padded), padded, real.expand_as(padded), reduction="sum"
        )


def drawn(draw: random.Random, rolls: list[Tensor], batch: int) -> list[Tensor]:
    """A batch of pieces, at random pitches."""
    found = []
    for one in draw.sample(rolls, batch):
        # Starts before the first step count as the first: every chorale's beginning is learned.
        start = max(0, draw.randrange(-PIECE // 2, max(1, len(one) - PIECE + 1)))
        found.append(one[start : start + PIECE].roll(draw.randint(-5, 6), 1))
    return found


@torch.no_grad()
def likelihood(model: Model, rolls: list[Tensor]) -> float:
    """The negative log-likelihood of a step."""
    ordered = sorted(rolls, key=len)
    total = sum(float(model.cost(ordered[i : i + 16])) for i in range(0, len(ordered), 16))
    return total / sum(map(len, rolls))


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw, model, (learn, choose, test) = random.Random(seed), Model(layer), chorales()

    def loss() -> Tensor:
        pieces = drawn(draw, learn, BATCH)
        return model.cost(pieces) / sum(map(len, pieces))

    spent = fit(model, loss, rate, STEPS, seconds, draw=draw)
    return {**spent, "NLL": likelihood(model, test), "loss": likelihood(model, choose)}


if __name__ == "__main__":
    command(__doc__, run, RATE)
