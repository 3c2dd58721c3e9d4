"""The log of a run, one JSON object per line, and the progress bar of the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ramgru import files
from ramgru.errors import RamgruError

if TYPE_CHECKING:
    from rich.progress import Progress


class RunLog:
    """Appends events to log.jsonl, and to TensorBoard if asked."""

    def __init__(self, folder: Path, *, step: int, tensorboard: bool) -> None:
        """Continue after `step`: later events, of a run that died after its checkpoint, are cut."""
        self.path = folder / "log.jsonl"
        if self.path.exists():
            events = [e for e in read(self.path) if e.get("event") != "end"]
            kept = [e for e in events if e.get("step", 0) <= step]
            files.write(self.path, "".join(map(_line, kept)))
        self._file: IO[str] = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, event: str, **values: Any) -> None:
        """Append one event. It survives the death of this process once `write` has returned."""
        # JSON has no NaN: a loss that is not finite is written as null.
        clean = {k: None if isinstance(v, float) and v - v != 0 else v for k, v in values.items()}
        try:
            self._file.write(_line({"event": event, **clean}))
            self._file.flush()
        except OSError as error:
            raise RamgruError(f"cannot write {self.path}: {error.strerror}") from error
        if self._board is not None:
            for name, value in values.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(f"{event}/{name}", value, values["step"])

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the disk may be full
            self._file.close()
        if self._board is not None:
            self._board.close()


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a log. A last line that was torn by a kill is left out.

    Raises RamgruError if any other line is not JSON.
    """
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()  # empty if the last line is complete
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise RamgruError(f"{path}, line {number}: expected a JSON object a line") from error
    with contextlib.suppress(ValueError):
        events += [json.loads(torn)] if torn else []
    return [event for event in events if isinstance(event, dict)]


def progress_bar(*, steps: int, done: int, quiet: bool) -> Progress:
    """A started progress bar with one task; it shows nothing if `quiet` or without a terminal.

    Lines that are printed meanwhile appear above the bar.
    """
    from rich import progress

    bar = progress.Progress(
        progress.TextColumn("step"),
        progress.MofNCompleteColumn(),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[loss]}"),
        progress.TimeRemainingColumn(),
        transient=True,
        disable=quiet or not sys.stdout.isatty(),
    )
    bar.add_task("train", total=steps, completed=done, loss="")
    bar.start()
    return bar
