"""Weights that a run keeps on its way, so that `ramgru inspect` can show a memory come to be.

They are taken at 1/2, 1/4, 1/8, … of the steps, since most is learnt early.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ramgru.lab.train import checkpoint

FOLDER = "snapshots"


def moments(steps: int, count: int) -> frozenset[int]:
    """The steps after which weights are kept, `count` at most.

    >>> sorted(moments(500, 4))
    [31, 62, 125, 250]
    """
    return frozenset(steps >> n for n in range(1, count + 1)) - {0}


def save(run: Path, step: int, weights: dict[str, Tensor]) -> None:
    """Keep the weights after `step`. Raises RamgruError if the file cannot be written."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    checkpoint.save(folder / f"{step:08}.safetensors", weights, {"step": step})


def kept(run: Path) -> dict[int, Path]:
    """{step: file} of a run, in the order of steps."""
    found = sorted((run / FOLDER).glob("*.safetensors"))
    return {int(path.stem): path for path in found if path.stem.isdigit()}


def load(path: Path) -> dict[str, Tensor]:
    """The weights in a file of `save`. Raises CheckpointError if it is broken or foreign."""
    return checkpoint.load(path)[0]
