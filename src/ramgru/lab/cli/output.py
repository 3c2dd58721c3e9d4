"""Standard output and standard error that no terminal breaks, and signals that say their number.

A character that a terminal lacks is replaced by one that resembles it. A reader that has ended, a
full disk or a closed stream end no command: a training is worth more than its lines.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

_SIMILAR = dict(zip("·…–—×→≥≤✓✗│─↑↓ ▁▂▃▄▅▆▇█", "-.--x>><+x|-^v .:-=+*#@"))
_SIMILAR |= {"…": "...", "→": "->", "≥": ">=", "≤": "<=", "␣": "_"}
_SIGNALS = ("SIGTERM", "SIGHUP")  # Python itself has SIGINT raise KeyboardInterrupt


class Stopped(KeyboardInterrupt):
    """A signal that asks to end, as KeyboardInterrupt is for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def similar(error: UnicodeError) -> tuple[str, int]:
    """Characters in place of those that an encoding lacks, as codecs ask for."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIMILAR.get(character, "?") for character in lacking), error.end


codecs.register_error("ramgru.similar", similar)


class _Raw(io.RawIOBase):
    """Writes to a descriptor until that fails, and to nowhere from then on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.lost = descriptor, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: Any) -> int:
        while not self.lost:
            try:
                return os.write(self.descriptor, data)
            except BlockingIOError:  # a pipe that does not wait: wait here
                select.select([], [self.descriptor], [])
            except OSError:
                self.lost = True
        return len(data)


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Replace Python's own standard output and error by steady ones; others stay as they are."""
    for number in (0, 1, 2):  # or the next file to be opened takes the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    former = sys.stdout, sys.stderr
    sys.stdout = _steady(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _steady(sys.stderr, sys.__stderr__, 2)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        sys.stdout, sys.stderr = former


def _steady(stream: Any, own: Any, number: int) -> TextIO:
    if stream is not own:  # a test, or another program, reads what is said
        result: TextIO = stream
        return result
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            number = stream.fileno()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    raw = _Raw(number)
    lines = raw.isatty() or number == 2
    writer = io.BufferedWriter(raw)
    return io.TextIOWrapper(writer, encoding, "ramgru.similar", line_buffering=lines)


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Within, a signal that would end this process at once raises Stopped."""
    former: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # Not where the caller ignores it, as nohup does.
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                former[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
