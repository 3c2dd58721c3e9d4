"""The log of a run, one JSON object per line, and the progress bar of the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.train.config import TrainConfig

if TYPE_CHECKING:
    from rich.progress import Progress

MOST = 1 << 30  # bytes of a log


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
    """The event with a checksum, by which a changed line is found."""
    return json.dumps({**event, "crc": _checksum(event)}, ensure_ascii=False) + "\n"


def _checksum(event: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(event).encode()):08x}"


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a log. A last line that was torn by a kill is left out.

    Raises RamgruError if the file cannot be read, or any other line is not JSON or has changed.
    """
    try:
        lines = files.read(path, MOST).split(b"\n")
    except OSError as error:
        raise RamgruError(f"cannot read {path}: {error.strerror or error}") from error
    torn = lines.pop()  # empty if the last line is complete
    if _is_whole(torn) or _is_whole(torn[:-1]):  # but for its end, which has changed
        lines.append(torn)
    checked = any(b'"crc"' in line for line in lines)
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(_event(line, checked))
        except ValueError as error:
            raise RamgruError(f"{path}, line {number}: {error}") from error
    return events


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(files.parse_json(line), dict)
    except ValueError:
        return False


def _event(line: bytes, checked: bool) -> dict[str, Any]:
    """The event of a line. checked: whether the lines of this log have checksums"""
    try:
        event = files.parse_json(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise ValueError("expected a JSON object a line")
    if checked and event.pop("crc", None) != _checksum(event):
        raise ValueError("it is not what was written: its checksum differs")
    return event


def place(device: str, threads: int) -> str:
    """A device, and of a CPU the number of threads."""
    return device if device != "cpu" else f"cpu, {threads} thread{'s' * (threads > 1)}"


def first_line(
    config: TrainConfig, folder: Path, device: str, processes: int, parameters: int, step: int
) -> str:
    """Where a run computes and lies, and what it trains with. step: at which it goes on"""
    where = place(device, torch.get_num_threads())
    where += f", {processes} processes" if processes > 1 else ""
    steps = f"{config.total_steps:,} steps of {config.batch_size} sequences"
    return " · ".join(
        [
            where,
            str(folder),
            f"{config.model.layer}, {parameters:,} parameters",
            f"{steps}, from step {step:,}" if step else steps,
            f"lr {config.lr:g}",
        ]
    )


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
