"""`ramgru evaluate`: measure a run's model and write evaluation.json into the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from ramgru import files
from ramgru.lab.evaluate.capacity import LENGTH, memory_capacity
from ramgru.lab.evaluate.part import Part
from ramgru.lab.evaluate.sweep import Effort, Evaluation, Row, sweep
from ramgru.lab.tasks import to_config
from ramgru.lab.train.parallel import pick_device
from ramgru.lab.train.run import EVALUATION, load_run, newest_run


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure the model of a run at its training sizes and far beyond."""

    run: Path | None = None
    """Directory of the run; None: the newest below runs/."""
    effort: Effort = field(default_factory=Effort)
    """Number of questions, and the memory they may use."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, or cuda."""

    def __post_init__(self) -> None:
        for name in ("questions", "examples", "tokens"):
            if getattr(self.effort, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self.effort, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must not be negative, got {self.threads}")


def evaluate(config: EvaluateConfig, *, quiet: bool = False) -> Evaluation:
    """Measure, write evaluation.json into the run, and print the tables.

    The sizes that a killed evaluation has measured are not measured again.
    Memory capacity is left out if `max_length` is shorter than its sequences of noise.
    Raises CheckpointError if the run cannot be read, RamgruError if there is none.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    run, effort = config.run or newest_run(), config.effort
    device = pick_device(config.device)
    _, task, model = load_run(run, device)
    progress = _Progress(quiet)
    sizes = sum(effort.allows(point) for point in task.grid())
    progress.console.print(f"{device} · {run} · {sizes} sizes, {effort.questions:,} questions each")
    part = Part(
        run, model, {"task": to_config(task), "effort": asdict(effort), "device": str(device)}
    )
    evaluation = sweep(model, task, effort, device=device, on_row=progress.row, part=part)
    if not effort.max_length or effort.max_length >= LENGTH:
        held = memory_capacity(model.eval(), seed=effort.seed, tokens=effort.tokens)
        evaluation = replace(evaluation, memory_capacity=held)
    files.write_json(run / EVALUATION, evaluation.to_dict(), with_digest=True)
    part.remove()
    progress.tables(evaluation, f"{run}")
    return evaluation


class _Progress:
    """Prints the size that was measured last, on a terminal only; then the tables."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console

        self.console = Console(quiet=quiet, highlight=False, markup=False, emoji=False)
        if not self.console.is_terminal:
            self.console.width = 100
        self.status = self.console.status("measuring …")
        if self.console.is_terminal:
            self.status.start()

    def row(self, row: Row) -> None:
        axes = ", ".join(f"{k} {v:,}" for k, v in row.axes.items())
        self.status.update(f"measured {axes}; measuring the next size …")

    def tables(self, evaluation: Evaluation, name: str) -> None:
        from ramgru.lab.evaluate.table import render

        self.status.stop()
        for table in render(evaluation, name):
            self.console.print(table)
