"""Arrays of an npz file; the sizes that it names are bounded before they are believed."""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ramgru import files

MOST = 2 << 30  # bytes of all arrays of a file of examples
LARGEST = 1e30  # of the numbers that a model reads: float32 and squares in float64 hold them
MAGIC = b"\x93NUMPY"
# NumPy's errors for a broken header, which it reads as an expression of Python.
BROKEN = (
    *(ValueError, TypeError, KeyError, EOFError, SyntaxError, tokenize.TokenError),
    *(OverflowError, MemoryError, RecursionError),
)
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"  # of a zip file: its last record, and that of zip64
_DIRECTORY_MOST = 1 << 16  # bytes of the list of members


def read(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of these names, without those that the file lacks.

    Raises OSError; ValueError, zipfile.BadZipFile or another of zipfile's errors if it is broken.
    """
    with files.open_regular(path) as file:
        if file.read(len(MAGIC)) == MAGIC:
            raise ValueError("it is a single array")
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {name: members[name] for name in names if name in members}
            check_size(sum(info.file_size for info in found.values()))
            return {name: _array(archive, info) for name, info in found.items()}


def check_size(size: int) -> None:
    """Raise ValueError if the arrays of a file of examples are larger than any that is read."""
    if size > MOST:
        raise ValueError(f"its arrays take {size:,} bytes, expected at most {MOST:,}")


def _check_directory(file: BinaryIO) -> None:
    """Raise ValueError if the list of members is longer than that of any file of examples."""
    file.seek(max(0, file.seek(0, 2) - (1 << 16)))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0:
        raise ValueError("it does not end as an npz file")
    size = int.from_bytes(tail[end + 12 : end + 16], "little")
    if size > _DIRECTORY_MOST or tail[max(0, end - 20) : end].startswith(_LOCATOR):
        raise ValueError(f"its list of members takes more than {_DIRECTORY_MOST:,} bytes")
    file.seek(0)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"{info.filename} has format {version}, expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        size = member.tell() + math.prod(shape) * dtype.itemsize
    if size != info.file_size:  # before memory of the named size is taken
        raise ValueError(f"{info.filename} names {size:,} bytes and has {info.file_size:,}")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
