"""Which task reads a file of a user's own, by the file's ending or its first bytes; pipes."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.tasks import archive

# ending: (the task that reads it with --data, the one that reads it with --text)
READERS = {
    ".npz": ("file", None),
    ".parquet": ("file", None),
    ".pq": ("file", None),
    ".csv": ("table", None),
    ".tsv": ("table", None),
    ".jsonl": ("lines", "lines"),
    ".ndjson": ("lines", "lines"),
    ".npy": ("table", "tokens"),
}
_IDS = re.compile(rb'\s*(\{[^[]*"(tokens|input_ids)"\s*:\s*)?\[\s*\d+\s*[],]')
PIPED = Path("runs", "piped")
BLOCK = 1 << 20  # bytes of a pipe that are read at once


def reader(path: Path, *, text: bool) -> str:
    """The name of the task that reads a file. Raises DataError if the option does not fit."""
    data_task, text_task = READERS.get(path.suffix.lower(), (None, "text"))
    if path.suffix.lower() == ".npy" and _holds_tokens(path):
        data_task = "tokens"
    found = text_task if text else data_task
    if found == "text" and _begins_with_ids(path):
        raise DataError(
            f"{path} begins with a list of numbers, not with text: give lines of tokens a name "
            "that ends in .jsonl, or train text --task.path reads it as text all the same"
        )
    if found is None:
        if text:
            raise DataError(f"{path} holds no text: --data reads {path.suffix} files")
        known = ", ".join(READERS)
        raise DataError(
            f"--data reads files that end in {known}, got {path}; --text reads any text"
        )
    return found


def _holds_tokens(path: Path) -> bool:
    """Whether a .npy file holds integers along one axis."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, *archive.BROKEN):
        return False  # the task tells what is wrong
    return array.ndim == 1 and array.dtype.kind in "iu"


def _begins_with_ids(path: Path) -> bool:
    """Whether a file's first line is a list of token ids in JSON, or an object that holds one."""
    try:
        with files.open_regular(path) as file:
            return _IDS.match(file.read(4096)) is not None
    except OSError:
        return False  # the task tells what is wrong


def piped(path: str, *, text: bool) -> Path:
    """A regular file: of a pipe or "-" (standard input), a copy that a resumed run finds again."""
    if path != "-" and not _is_pipe(path):
        return Path(path)
    name = "standard input" if path == "-" else path
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            content = _whole(file, name)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.strip():
        raise DataError(f"{name} is empty")
    copy = PIPED / (hashlib.sha256(content).hexdigest()[:16] + _ending(content, text))
    PIPED.mkdir(parents=True, exist_ok=True)
    return files.write(copy, content)


def _whole(file: BinaryIO, name: str) -> bytes:
    """All that a pipe brings. DataError as soon as that is more than any task reads."""
    blocks, size = list[bytes](), 0
    while block := file.read(min(BLOCK, archive.MOST + 1 - size)):
        blocks.append(block)
        size += len(block)
        if size > archive.MOST:
            raise DataError(f"{name}: expected at most {archive.MOST:,} bytes, got more")
    return b"".join(blocks)


def _is_pipe(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _ending(content: bytes, text: bool) -> str:
    for start, ending in ((b"\x93NUMPY", ".npy"), (b"PK", ".npz"), (b"PAR1", ".parquet")):
        if content.startswith(start):
            return ending
    if content.lstrip()[:1] in (b"{", b"[", b'"') and not text:
        return ".jsonl"
    return ".txt" if text else ".csv"
