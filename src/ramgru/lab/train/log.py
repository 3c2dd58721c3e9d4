"""The log of a run: one JSON object a line, safe to append to after any kind of death."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import IO, Any

from ramgru import files
from ramgru.errors import RamgruError


class RunLog:
    """Appends to log.jsonl, and to TensorBoard where asked."""

    def __init__(self, folder: Path, *, step: int, tensorboard: bool) -> None:
        """Go on after `step`: later lines, of a run that died after its checkpoint, are cut."""
        self.path = folder / "log.jsonl"
        if self.path.exists():
            cut(self.path, step)
        self._file: IO[str] = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self._board = _board(folder, step) if tensorboard else None

    def write(self, event: str, **values: Any) -> None:
        """One line; it is out of this process's hands when this returns."""
        # NaN is no JSON: a loss that is not finite is written as null.
        clean = {k: None if isinstance(v, float) and v - v != 0 else v for k, v in values.items()}
        try:
            self._file.write(json.dumps({"event": event, **clean}, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise RamgruError(f"cannot write {self.path}: {error.strerror}") from error
        if self._board is not None:
            for name, value in values.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(f"{event}/{name}", value, values["step"])

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a disk that was full at the last write already
            self._file.close()
        if self._board is not None:
            self._board.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a log; a last line that was torn by a kill is left out.

    Raises RamgruError where another line is not a JSON object.
    """
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()  # empty where the last line is whole
    events = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise RamgruError(f"{path}, line {number}: expected a JSON object a line") from error
        events.append(event)
    with contextlib.suppress(ValueError):
        events += [json.loads(torn)] if torn else []
    return [event for event in events if isinstance(event, dict)]


def cut(path: Path, step: int) -> None:
    """Leave out what was logged after `step`, the end of the run, and a torn last line."""
    kept = [e for e in read(path) if e.get("event") != "end" and e.get("step", 0) <= step]
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept)
    files.write(path, text)


def _board(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
