"""What a person sees of a run: one line an epoch, and a progress bar where there is a terminal."""

from __future__ import annotations

import sys
from typing import Any


class Reporter:
    """Lines on standard output; the bar only on a terminal, and gone when the run is over.

    quiet: nothing at all (other processes of a distributed run, or a caller with its own display)
    """

    def __init__(self, *, steps: int, done: int, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: Any = None
        if not quiet and sys.stdout.isatty():
            self._bar = _bar(steps, done)

    def line(self, text: str) -> None:
        if self.quiet:
            return
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)

    def loss(self, value: float) -> None:
        """The training loss beside the bar."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], loss=f"loss {value:.4f}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def epoch_line(epoch: int, loss: float, metric: str, score: float) -> str:
    """The line of one epoch: `epoch 3 · loss 0.0421 · recall 0.981`."""
    return f"epoch {epoch} · loss {loss:.4f} · {metric} {score:.3f}"


def _bar(steps: int, done: int) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        transient=True,
    )
    bar.add_task("train", total=steps, completed=done, loss="")
    bar.start()
    return bar
