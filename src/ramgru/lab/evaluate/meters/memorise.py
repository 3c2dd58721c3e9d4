"""Bits a parameter: what training can put into the weights of a model.

Collins, Sohl-Dickstein and Sussillo (arXiv 1611.09913): random labels of random inputs are learnt
by heart; the mutual information of labels and answers, over all items, was stored in the weights.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ramgru.lab.evaluate.meters.information import recalled_bits
from ramgru.lab.evaluate.meters.random_map import RandomMap
from ramgru.lab.train import ModelConfig, TrainConfig, build_model, count_parameters, train
from ramgru.lab.train.measure import measure
from ramgru.lab.train.objective import Objective
from ramgru.lab.train.run import load_weights
from ramgru.sequence import SequenceModel


@dataclass(frozen=True)
class Practice:
    """How a model learns by heart. What it then holds is a lower bound of what it could."""

    steps: int = 1500
    """Optimizer steps for each number of items."""
    batch_size: int = 256
    """Items a step."""
    lr: float = 1e-2
    """Learning rate at its highest; it falls to zero along a cosine."""
    length: int = 4
    """Steps of an item."""
    width: int = 8
    """Random numbers of a step of an item."""
    seed: int = 0
    """Seed of the items, the weights and the order of learning."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "length", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Memorised:
    """One number of items. accuracy: the share of labels that are answered rightly, bits: that they
    prove to be stored, parameters: that training adjusts."""

    items: int
    accuracy: float
    bits: float
    parameters: int

    @property
    def bits_per_parameter(self) -> float:
        return self.bits / self.parameters


def memorise(model: ModelConfig, items: int, effort: Practice = Practice()) -> Memorised:
    """Train a fresh `model` on `items` random items, and count what it holds of them.

    The global generators are seeded with `effort.seed`, as by `ramgru.lab.train.train`.
    """
    task = RandomMap(items=items, width=effort.width, length=effort.length, map_seed=effort.seed)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            task=task,
            model=model,
            out=Path(folder, "run"),
            steps=effort.steps,
            steps_per_epoch=effort.steps,
            batch_size=min(effort.batch_size, 2 * items),
            lr=effort.lr,
            seed=effort.seed,
            threads=effort.threads,
            evaluate_examples=1,
            device="cpu",
            weight_decay=0.0,
            write_cost=0.0,
            curriculum=False,
        )
        run = train(config, quiet=True).run
        learnt = build_model(model, task)
        load_weights(learnt, run)
    return stored(learnt, task)


def stored(model: SequenceModel, task: RandomMap) -> Memorised:
    """What a model knows of all items of `task`: items times the information of one answer.

    By luck alone a guesser of n items is credited 1/(4 ln 2) = 0.36 bits on average, whatever n.
    """
    accuracy = measure(Objective(model), [task.all()], device="cpu").score
    bits = recalled_bits(task.items, accuracy, values=2)
    return Memorised(task.items, accuracy, bits, count_parameters(model))
