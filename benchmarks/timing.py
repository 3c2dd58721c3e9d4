"""What the benchmarks share: timing in turns, the machine's own limits, memory of a process.

Contenders take turns, round after round, in an order that is reversed every other round, so that
what else the machine does meets all alike.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

QUIET = 0.10  # share of the time that other processes may take for a result to count


@dataclass(frozen=True)
class Times:
    """Seconds of one call, a number a round: on the wall, and on this process's own clock."""

    wall: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles."""
        if len(self.wall) < 2:
            return math.nan
        low, _, high = statistics.quantiles(self.wall, n=4)
        return (high - low) / 2

    @property
    def best(self) -> float:
        return min(self.wall)

    def milliseconds(self) -> str:
        """Median and spread, in three digits."""
        return f"{digits(1e3 * self.median)} ± {digits(1e3 * self.spread, 2)}"


def digits(x: float, count: int = 3) -> str:
    """A number in so many significant digits, without an exponent."""
    if not math.isfinite(x) or x == 0:
        return f"{x:g}"
    return f"{x:,.{max(0, count - 1 - math.floor(math.log10(abs(x))))}f}"


def ratio(times: list[float], base: list[float]) -> float:
    """The median over rounds of one time over the other in the same round."""
    return statistics.median(a / b for a, b in zip(times, base, strict=False))


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds: float = math.inf,
    shortest: float = 0.0,
    least: int = 3,
) -> dict[str, Times]:
    """Rounds until there are enough, or `seconds` are over and each contender had `least` turns.

    A turn makes as many calls as last `shortest` seconds. Whoever takes more than its share of
    `seconds` sits out after `least` turns.
    """
    calls = {}
    for name, call in contenders.items():  # warms up, and tells how long a call lasts
        call()
        begin = time.perf_counter()
        call()
        calls[name] = max(1, math.ceil(shortest / max(time.perf_counter() - begin, 1e-7)))
    times = {name: Times() for name in contenders}
    spent = dict.fromkeys(contenders, 0.0)
    begin = time.perf_counter()
    for turn in range(rounds):
        late = time.perf_counter() - begin > seconds
        if late and turn >= least:
            break
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            if turn >= least and spent[name] > 2 * seconds / len(contenders):
                continue
            wall, own = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                contenders[name]()
            wall, own = time.perf_counter() - wall, time.process_time() - own
            spent[name] += wall
            times[name].wall.append(wall / calls[name])
            times[name].own.append(own / calls[name])
    return times


def bandwidth(size: int, rounds: int = 10) -> float:
    """Bytes read and written a second by a copy of `size` bytes: the best round."""
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    calls = max(1, 2**26 // size)

    def copy() -> None:
        for _ in range(calls):
            target.copy_(source)

    return 2 * size * calls / take_turns({"copy": copy}, rounds=rounds)["copy"].best


def matrix_peak(dtype: torch.dtype, n: int = 2048, rounds: int = 8) -> float:
    """Operations a second of a product of n × n matrices: the best of torch's libraries."""
    a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
    contenders: dict[str, Callable[[], object]] = {"torch": lambda: torch.mm(a, b)}
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):

        def by_onednn() -> object:
            return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

        with suppress(RuntimeError):  # not every processor does it in every dtype
            by_onednn()
            contenders["oneDNN"] = by_onednn
    return 2 * n**3 / min(t.best for t in take_turns(contenders, rounds=rounds).values())


def process_memory(field: str) -> int:
    """VmRSS or VmHWM of this process, in bytes; unlike ru_maxrss they inherit nothing."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: no {field}")


def forget_peak() -> None:
    """Let the peak of this process's memory start anew."""
    Path("/proc/self/clear_refs").write_text("5")
