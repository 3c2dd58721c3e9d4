"""`ramgru evaluate`: measure the model of a run and write evaluation.json beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ramgru import files
from ramgru.lab.evaluate.sweep import Effort, Evaluation, sweep
from ramgru.lab.train.parallel import pick_device
from ramgru.lab.train.run import EVALUATION, load_run, newest_run


@dataclass(frozen=True)
class EvaluateConfig:
    """Ask the model of a run, at the sizes it was trained on and far beyond."""

    run: Path | None = None
    """Directory of the run; None: the newest below runs/."""
    effort: Effort = field(default_factory=Effort)
    """How much is asked, and how much memory that may take."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu, or cuda."""

    def __post_init__(self) -> None:
        for name in ("questions", "examples", "tokens"):
            if getattr(self.effort, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self.effort, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must not be negative, got {self.threads}")


def evaluate(config: EvaluateConfig, *, quiet: bool = False) -> Evaluation:
    """Measure, write evaluation.json into the run, and print the tables.

    Raises CheckpointError where the run cannot be read, RamgruError where there is none.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    run = config.run or newest_run()
    device = pick_device(config.device)
    _, task, model = load_run(run, device)
    done = _Progress(quiet)
    evaluation = sweep(model, task, config.effort, device=device, on_row=done.row)
    files.write_json(run / EVALUATION, evaluation.to_dict())
    done.tables(evaluation, f"{run}")
    return evaluation


class _Progress:
    """Which size was measured last, on a terminal; then the tables."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console

        self.console = Console(quiet=quiet, highlight=False)
        if not self.console.is_terminal:
            self.console.width = 100
        self.status = self.console.status("measuring …")
        if self.console.is_terminal:
            self.status.start()

    def row(self, row: object) -> None:
        axes = ", ".join(f"{k} {v:,}" for k, v in getattr(row, "axes", {}).items())
        self.status.update(f"measured {axes}, going on …")

    def tables(self, evaluation: Evaluation, name: str) -> None:
        from ramgru.lab.evaluate.table import render

        self.status.stop()
        for table in render(evaluation, name):
            self.console.print(table)
