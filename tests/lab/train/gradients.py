"""The program that test_distributed starts with torchrun on two processes."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ramgru.config import Memory
from ramgru.lab import tasks
from ramgru.lab.cli import main
from ramgru.lab.tasks import IGNORE, Batch
from ramgru.lab.train import ModelConfig, TrainConfig, build_model, train
from ramgru.lab.train.parallel import gathered, make_accelerator
from ramgru.lab.train.step import Stepper

ROWS = 8
MEMORY = ModelConfig(d_model=8, memory=Memory(cells=16, heads=2, learned_start=True))
OPTIONS = (
    *("mqar", "--task.vocab-size", "16", "--task.pairs", "2", "--task.length", "8"),
    *("--model.layer", "gru", "--model.d-model", "8", "--batch-size", "8", "--steps", "4"),
    *("--steps-per-epoch", "4", "--evaluate-examples", "24", "--device", "cpu"),
)


def share(rank: int, layer: str) -> Batch:
    """Rows whose number of answers, and whose length, differ between processes."""
    if layer == "features":
        return tasks.get("copy", bits=3, length=3 + 2 * rank).draw(ROWS, seed=rank)
    batch = tasks.get("mqar", vocab_size=16, pairs=2, length=8 + 4 * rank).draw(ROWS, seed=rank)
    if rank == 1:
        labels = batch.labels.copy()
        labels[: ROWS - 2] = IGNORE
        batch = dataclasses.replace(batch, labels=labels)
    return batch


def config(kind: str, parallel: str = "ddp") -> TrainConfig:
    tokens = tasks.get("mqar", vocab_size=16, pairs=2)
    return TrainConfig(
        task=tasks.get("copy", bits=3) if kind == "features" else tokens,
        model=MEMORY if kind == "memory" else ModelConfig(layer="gru", d_model=8, num_layers=2),
        tbptt=5 if kind == "chunks" else 0,
        parallel=parallel,  # type: ignore[arg-type]
        device="cpu",
    )


def padded(batches: list[Batch]) -> Batch:
    """The shares as one batch, with shorter ones padded: the batch of a single process."""
    steps = max(batch.inputs.shape[1] for batch in batches)

    def join(name: str, fill: int) -> np.ndarray:
        arrays = [getattr(batch, name) for batch in batches]
        widths = [[(0, 0), (0, steps - a.shape[1])] + [(0, 0)] * (a.ndim - 2) for a in arrays]
        return np.concatenate([np.pad(a, w, constant_values=fill) for a, w in zip(arrays, widths)])

    lengths = np.concatenate([batch.lengths for batch in batches])
    return Batch(join("inputs", 0), join("labels", IGNORE), lengths)


def gradients(kind: str, parallel: str, batch: Batch | None) -> dict[str, torch.Tensor]:
    settings = config(kind, parallel)
    torch.manual_seed(0)
    model = build_model(settings.model, settings.task)
    accelerator = make_accelerator(settings)
    stepper = Stepper(accelerator, model, settings)
    stepper.gradient(batch or share(accelerator.process_index, kind))
    found = {name: gathered(p.grad).clone() for name, p in model.named_parameters()}
    loss, right, count = stepper.drain()
    found["totals"] = torch.tensor([loss, right, count], dtype=torch.float64)
    found["world"] = torch.tensor(accelerator.num_processes)
    return found


def refusal(folder: Path) -> str:
    """The error for a batch that cannot be divided among the processes."""
    try:
        train(TrainConfig(model=MEMORY, batch_size=3, device="cpu", out=folder / "never"))
    except ValueError as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for kind, parallel in (arg.split("/") for arg in sys.argv[2:]):
        found = gradients(kind, parallel, None)
        if torch.distributed.get_rank() == 0:
            save_file(found, folder / f"{kind}-{parallel}.safetensors")
    Path(folder, f"refusal-{torch.distributed.get_rank()}").write_text(refusal(folder))
    sys.exit(main(["train", *OPTIONS, "--out", str(folder / "run")]))
