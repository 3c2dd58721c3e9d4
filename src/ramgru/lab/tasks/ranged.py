"""Tasks with a size that each example draws for itself, uniformly from min_SIZE to SIZE: a list's
length, a distance. Their easy sizes, and their evaluation at one size at a time."""

from __future__ import annotations

from collections.abc import Iterable

from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import Slice, SomeTask, Task


def check(task: Task, size: str, low: int) -> None:
    """ValueError or TypeError unless low <= min_SIZE <= SIZE, all of them integers."""
    high = checks.integer(size, getattr(task, size), low)
    checks.integer(f"min_{size}", getattr(task, f"min_{size}"), low, high)


def stages(task: SomeTask, size: str, first: int) -> tuple[SomeTask, ...]:
    """Up to `first`, twice that, four times that, …, up to this task itself."""
    low, high = getattr(task, f"min_{size}"), getattr(task, size)
    doubled = (first * 2**i for i in range(high.bit_length()))
    return (*(task.resized(**{size: n}) for n in doubled if low <= n < high), task)


def slices(task: Task, size: str, sizes: Iterable[int]) -> tuple[Slice, ...]:
    """Examples of one size each: `sizes`, and the largest of the task itself."""
    return tuple(
        Slice({size: n}, task.resized(**{f"min_{size}": n, size: n}))
        for n in sorted({*sizes, getattr(task, size)})
    )
