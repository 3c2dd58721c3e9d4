"""Who is speaking? JapaneseVowels (Kudo, Toyama and Shimbo, 1999), classified with skorch.

Nine men say two vowels; a series has 7 to 29 steps of 12 numbers. 270 series are for training, of
which every fifth chooses the rate, and 370 are for the test. sktime's package holds the data. The
class is told from `h_n[-1]`, as with nn.GRU: padded series, packed before the layer reads them.

    pip install skorch sktime
    python examples/japanese_vowels.py                # train, then the share of right classes
    python examples/japanese_vowels.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resume import Place, place
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from training import command, parameters, recurrent

from ramgru import Memory

try:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback, GradientNormClipping
    from skorch.dataset import ValidSplit
except ImportError:
    sys.exit("japanese_vowels.py needs skorch and sktime: pip install skorch sktime")

CHANNELS, SPEAKERS, LONGEST = 12, 9, 29
RATE, PASSES, BATCH = 1e-2, 30, 16
MEMORY = Memory(heads="learned learned lag:32 lag:32", cells=1024)
CHANCE = {"right": 1 / SPEAKERS}


def read(part: str) -> tuple[dict[str, Any], Any]:
    """part: TRAIN or TEST -> padded series (N, LONGEST, CHANNELS) and their lengths; classes."""
    found = importlib.util.find_spec("sktime")
    if found is None or found.origin is None:
        sys.exit("japanese_vowels.py reads data that sktime brings: pip install sktime")
    path = Path(found.origin).parent / "datasets/data/JapaneseVowels" / f"JapaneseVowels_{part}.ts"
    lines = path.read_text(encoding="utf-8").partition("@data\n")[2].splitlines()
    padded = np.zeros((len(lines), LONGEST, CHANNELS), np.float32)
    lengths, classes = [], []
    for row, line in zip(padded, lines):
        *channels, speaker = line.split(":")  # of each channel, all steps
        series = np.array([channel.split(",") for channel in channels], np.float32).T
        row[: len(series)] = series
        lengths.append(len(series))
        classes.append(int(speaker) - 1)
    return {"x": padded, "lengths": np.array(lengths)}, np.array(classes)


class Classifier(nn.Module):
    """A recurrent layer, and a linear head on its last state."""

    def __init__(self, layer: str = "ramgru", width: int = 32) -> None:
        super().__init__()
        self.rnn = recurrent(layer, CHANNELS, width, MEMORY, outputs=SPEAKERS)
        self.head = nn.Linear(self.rnn.hidden_size, SPEAKERS)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        h_n = self.rnn(packed)[1]
        return self.head((h_n[0] if isinstance(h_n, tuple) else h_n)[-1])


class Schedule(Callback):  # type: ignore[misc]  # skorch has no types
    """A rate that falls to zero, over so many passes or so many seconds of processor time."""

    def __init__(self, rate: float, passes: int, seconds: float | None) -> None:
        self.rate, self.passes, self.seconds = rate, passes, seconds
        self.begun, self.steps, self.loss = 0, 0, float("nan")  # passes, …, the last held-out one
        self.now = Place(None, {})

    def on_train_begin(self, net: Any, **_: Any) -> None:
        self.started = time.process_time() - self.now.seconds

    def spent(self) -> float:
        return time.process_time() - self.started

    def done(self) -> float:
        """The part of the training that is over."""
        return self.spent() / self.seconds if self.seconds else self.begun / self.passes

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        if self.done() >= 1:
            raise KeyboardInterrupt  # which ends skorch's training, as Ctrl-C does
        self.begun += 1
        for group in net.optimizer_.param_groups:
            group["lr"] = self.rate * max(0.0, 1 - self.done())

    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        self.steps += training

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        self.loss = float(net.history[-1, "valid_loss"])
        self.now.reached(self.steps, self.spent())

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("begun", "steps", "loss")}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    (x, y), (x_test, y_test) = read("TRAIN"), read("TEST")
    schedule = Schedule(rate, PASSES, seconds)
    net = NeuralNetClassifier(
        Classifier,
        module__layer=layer,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=rate,
        max_epochs=10**6,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=ValidSplit(5, stratified=True),
        callbacks=[schedule, GradientNormClipping(1.0)],
        verbose=0,
    )
    net.initialize()
    parts = {"model": net.module_, "optimizer": net.optimizer_}
    with place(**parts, schedule=schedule) as schedule.now:
        net.partial_fit(x, y)
    cost = {
        "parameters": parameters(net.module_),
        "steps": schedule.steps,
        "seconds": round(schedule.now.seconds, 2),
    }
    right = float(net.score(x_test, y_test))
    return {**cost, "loss": schedule.loss, "right": right}


if __name__ == "__main__":
    command(__doc__, run, RATE)
