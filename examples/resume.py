"""A program that was stopped or killed goes on when the same command is given again."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ramgru import files
from ramgru.lab.cli.output import Stopped, signals
from ramgru.lab.train.rules import Interruption

FOLDER = Path("runs", "examples")
EVERY = 20.0  # seconds between two saves
_places: Iterator[Path] | None = None  # a file for each training of the command; None: save nothing


@contextlib.contextmanager
def resumable(name: str) -> Iterator[None]:
    """Within, trainings are saved until the end of all. A signal ends the program with 128 + n.

    name: of the command, with all that its numbers depend on
    """
    global _places
    _places = (FOLDER / f"{name}.{number}.pt" for number in itertools.count(1))
    try:
        with signals():
            yield
    except KeyboardInterrupt as error:
        saved = any(FOLDER.glob(f"{name}.*.pt"))
        how = f"goes on from {FOLDER / name}" if saved else "begins again"
        print(f"interrupted; the same command {how}", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", 2))
    finally:
        _places = None
    for path in FOLDER.glob(f"{name}.*.pt"):
        path.unlink()


class Place:
    """Where a training stands: `step` steps and `seconds` of processor time, former processes
    included."""

    def __init__(self, path: Path | None, parts: dict[str, Any]) -> None:
        self.path, self.parts = path, parts
        self.step, self.seconds = 0, 0.0
        self.signal = Interruption()
        self.saved = time.monotonic()
        if path is not None and path.exists():
            self._load(path)

    def reached(self, step: int, seconds: float) -> None:
        """After each step: save if it is time. Raises Stopped after a signal."""
        self.step, self.seconds = step, seconds
        if self.path is None:
            return
        if self.signal.signal or time.monotonic() - self.saved > EVERY:
            self.save(self.path)
        if self.signal.signal:
            raise Stopped(self.signal.signal)

    def save(self, path: Path) -> None:
        parts = {name: _state(part) for name, part in self.parts.items()}
        facts = {"step": self.step, "seconds": self.seconds, "torch": torch.get_rng_state()}
        content = io.BytesIO()
        torch.save({**facts, "parts": parts}, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, hashlib.sha256(content.getbuffer()).digest() + content.getvalue())
        self.saved = time.monotonic()

    def _load(self, path: Path) -> None:
        content = path.read_bytes()
        try:
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                raise ValueError("its digest differs")
            saved = torch.load(io.BytesIO(content[32:]), weights_only=True)
            for name, part in self.parts.items():
                _restore(part, saved["parts"][name])
            torch.set_rng_state(saved["torch"])
            self.step, self.seconds = saved["step"], saved["seconds"]
        except (ValueError, KeyError, RuntimeError) as error:
            sys.exit(f"{path} is of another program, or broken; remove it to begin anew: {error}")
        print(f"going on after step {self.step:,} of {path}", file=sys.stderr)


@contextlib.contextmanager
def place(**parts: Any) -> Iterator[Place]:
    """A training, which goes on where a former process has saved it.

    parts: all that its steps change, torch's own generator excepted: generators, and what has a
           `state_dict`; with None among them, nothing is saved
    """
    path = None if _places is None or None in parts.values() else next(_places)
    here = Place(path, parts)
    if path is None:
        yield here
        return
    with here.signal:
        yield here
    here.save(path)  # what follows may be killed, too
    if here.signal.signal:  # in the last step, or where a library has caught it
        raise Stopped(here.signal.signal)


def _state(part: Any) -> Any:
    if isinstance(part, random.Random):
        return part.getstate()
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _restore(part: Any, state: Any) -> None:
    if isinstance(part, random.Random):
        part.setstate(state)
    elif isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)
