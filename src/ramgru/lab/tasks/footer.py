"""How many numbers a Parquet file says that it holds, read from its footer.

pyarrow tells it, too, but a broken footer makes it abort the process. The footer is a FileMetaData
in Thrift's compact protocol: row groups (4) hold columns (1) with metadata (3), field 5 of which
counts values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAGIC = b"PAR1"


def count_values(content: bytes) -> int:
    """The values of all columns. Raises ValueError if a file does not end as a Parquet file."""
    size = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != MAGIC or size > len(content) - 12:
        raise ValueError("it does not end as a Parquet file")
    try:
        groups = _struct(iter(content[-8 - size : -8]))[4]
        return sum(int(column[3][5]) for group in groups for column in group[1])
    except (StopIteration, RuntimeError, RecursionError, LookupError, TypeError) as error:
        raise ValueError("its footer is broken") from error


def _struct(data: Iterator[int]) -> dict[int, Any]:
    """{number: value} of the fields."""
    fields, number = {}, 0
    while (head := next(data)) != 0:
        number = number + (head >> 4) if head >> 4 else _signed(data)
        kind = head & 15
        fields[number] = kind == 1 if kind in (1, 2) else _value(kind, data)
    return fields


def _value(kind: int, data: Iterator[int]) -> Any:
    if kind in (1, 2, 3):  # a bool in a list, a byte
        return next(data)
    if kind in (4, 5, 6):
        return _signed(data)
    if kind == 7:
        return _skip(8, data)
    if kind == 8:
        return _skip(_unsigned(data), data)
    if kind in (9, 10):  # a list, a set
        head = next(data)
        size = _unsigned(data) if head >> 4 == 15 else head >> 4
        return [_value(head & 15, data) for _ in range(size)]
    if kind == 12:
        return _struct(data)
    raise TypeError(f"a field of kind {kind}, which no footer has")


def _skip(size: int, data: Iterator[int]) -> None:
    for _ in range(size):
        next(data)


def _unsigned(data: Iterator[int]) -> int:
    value, shift = 0, 0
    while shift < 70:
        byte = next(data)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
    raise LookupError("a number of more than ten bytes")


def _signed(data: Iterator[int]) -> int:
    value = _unsigned(data)
    return (value >> 1) ^ -(value & 1)
