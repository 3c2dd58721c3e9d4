"""`ramgru generate`: write examples of a task to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ramgru.lab import tasks
from ramgru.lab.cli.arguments import SIZES, listing, named, split_task
from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.screen import Screen, suggest
from ramgru.lab.tasks import Task, write_examples

SCREEN = Screen(
    command="generate",
    call="[TASK] [OPTIONS]",
    about="Write examples of a task to a file. The same seed gives the same bits everywhere, and "
    "`ramgru train --data FILE` reads the file back.",
    examples=(
        "ramgru generate mqar --examples 10000 --out mqar.npz",
        "ramgru generate programs --task.registers 4 --out programs.parquet",
    ),
    shown={"file": ("examples", "seed", "out"), "task": (SIZES,)},
    details=listing(),
)


def _mqar() -> Task:
    return tasks.get("mqar")


@dataclass(frozen=True)
class GenerateConfig:
    """The examples to write."""

    task: Task = field(default_factory=_mqar)
    """The task and its sizes."""
    examples: int = 1000
    """Number of sequences."""
    seed: int = 0
    """Seed of the examples."""
    out: Path | None = None
    """File to write, .npz or .parquet; None: TASK.npz."""

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ValueError(f"examples: expected at least 1, got {self.examples}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")


def run(args: Sequence[str]) -> int:
    config = configure(args)
    path = config.out or Path(f"{config.task.name}.npz")
    write_examples(path, config.task, config.examples, config.seed)
    size = path.stat().st_size
    print(f"{config.examples:,} examples of {config.task.name} in {path} ({size:,} bytes)")
    suggest(["ramgru", "train", "--data", str(path)])
    return 0


def configure(args: Sequence[str]) -> GenerateConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(args)
    return parse(
        GenerateConfig,
        rest,
        screen=SCREEN,
        default=GenerateConfig(task=named(name or "mqar")),
    )
