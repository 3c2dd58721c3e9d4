"""Pipes: read to their end, and no further than a task would read a file."""

from __future__ import annotations

import io
import itertools

import pytest

from ramgru.errors import DataError
from ramgru.lab.tasks import archive, sources


class Endless(io.RawIOBase):
    """What `yes` writes; `taken` bytes of it were read."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self.taken += len(buffer)
        buffer[:] = bytes(itertools.islice(itertools.cycle(b"y\n"), len(buffer)))
        return len(buffer)


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(archive, "MOST", 5000)
    monkeypatch.setattr(sources, "BLOCK", 64)


def pipe(monkeypatch, raw: io.RawIOBase | io.BytesIO) -> None:
    file = raw if isinstance(raw, io.BytesIO) else io.BufferedReader(raw)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))


def test_an_endless_pipe_is_refused(monkeypatch):
    endless = Endless()
    pipe(monkeypatch, endless)
    with pytest.raises(DataError, match="standard input: expected at most 5,000 bytes, got more"):
        sources.piped("-", text=True)
    assert endless.taken < 5000 + 2 * io.DEFAULT_BUFFER_SIZE
    assert not sources.PIPED.exists()


@pytest.mark.parametrize("path", ["/dev/zero", "-"])
def test_a_device_and_a_pipe_that_is_as_long_as_allowed(path, monkeypatch):
    if path == "-":
        pipe(monkeypatch, io.BytesIO(b"a" * archive.MOST))
        assert sources.piped(path, text=True).read_bytes() == b"a" * archive.MOST
    else:
        with pytest.raises(DataError, match=f"{path}: expected at most"):
            sources.piped(path, text=True)
