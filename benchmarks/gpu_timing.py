"""Timing on a GPU: medians of CUDA events over rounds in which contenders take turns, with the
peak memory of a call and the time of the first call, which compiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from timing import digits

GB = 1e9


@dataclass
class Found:
    """The time and memory of one contender."""

    first: float = 0.0  # seconds of the first call, with compilation
    peak: int = 0  # bytes above those held before a call
    seconds: list[float] = field(default_factory=list)  # of a call, one number per round

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def row(self) -> list[str]:
        low, high = min(self.seconds), max(self.seconds)
        spread = f"{digits(1e3 * low)} – {digits(1e3 * high)}"
        return [digits(1e3 * self.median), spread, digits(self.peak / GB), digits(self.first, 2)]


HEAD = ("ms, median", "ms, least – most", "peak, GB", "first call, s")


class Gpu:
    """The current CUDA device."""

    name = "cuda"

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Device time of one call."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / calls

    def peak(self, call: Callable[[], object]) -> int:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def first(self, call: Callable[[], object]) -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - begin


class Rehearsal(Gpu):
    """The CPU in place of a GPU: a check that everything runs; the numbers mean nothing."""

    name = "cpu"

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) / calls

    def peak(self, call: Callable[[], object]) -> int:
        call()
        return 0

    def first(self, call: Callable[[], object]) -> float:
        return self.seconds(call, 1)


def measure(
    calls: Mapping[str, Callable[[], object]], device: Gpu, rounds: int, shortest: float
) -> dict[str, Found | str]:
    """Each contender -> its measurements, or the error that stopped it.

    A turn repeats its call for `shortest` seconds; the order is reversed every other round.
    """
    found: dict[str, Found | str] = {}
    turns: dict[str, int] = {}
    for name, call in calls.items():
        try:
            one = Found(first=device.first(call), peak=device.peak(call))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            found[name] = f"{type(error).__name__}: {error}".splitlines()[0][:80]
            continue
        found[name] = one
        turns[name] = max(1, round(shortest / max(device.seconds(call, 1), 1e-6)))
    for turn in range(rounds):
        for name in list(turns)[:: -1 if turn % 2 else 1]:
            one = found[name]
            assert isinstance(one, Found)
            one.seconds.append(device.seconds(calls[name], turns[name]))
    return found
