"""Shared by the benchmarks: timing in turns, the machine's limits, a process's memory, inputs.

Contenders take turns, in an order that is reversed every other round, so that other work on the
machine affects all of them alike.
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
from torch import Tensor

QUIET = 0.10  # largest share of the time that other processes may take in a valid result


@dataclass(frozen=True)
class Times:
    """Seconds of one call, one number per round: wall-clock time and this process's CPU time."""

    wall: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def spread(self) -> float:
        """Half the interquartile range."""
        if len(self.wall) < 2:
            return math.nan
        low, _, high = statistics.quantiles(self.wall, n=4)
        return (high - low) / 2

    @property
    def best(self) -> float:
        return min(self.wall)

    def milliseconds(self) -> str:
        """Median and spread, in three significant digits."""
        return f"{digits(1e3 * self.median)} ± {digits(1e3 * self.spread, 2)}"


def digits(x: float, count: int = 3) -> str:
    """A number in `count` significant digits, without an exponent."""
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
    """`rounds` rounds; fewer if `seconds` are over and each contender had `least` turns.

    A turn repeats its call for `shortest` seconds. A contender that has used more than twice its
    share of `seconds` is skipped after `least` turns.
    """
    calls = {}
    for name, call in contenders.items():  # warms up and estimates the time of a call
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
    """Bytes read and written per second by a copy of `size` bytes, in the best round."""
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    calls = max(1, 2**26 // size)

    def copy() -> None:
        for _ in range(calls):
            target.copy_(source)

    return 2 * size * calls / take_turns({"copy": copy}, rounds=rounds)["copy"].best


def matrix_peak(dtype: torch.dtype, n: int = 2048, rounds: int = 8) -> float:
    """Operations per second of a product of n × n matrices, by the best of torch's libraries."""
    a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
    contenders: dict[str, Callable[[], object]] = {"torch": lambda: torch.mm(a, b)}
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):

        def by_onednn() -> object:
            return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

        with suppress(RuntimeError):  # not every processor supports every dtype
            by_onednn()
            contenders["oneDNN"] = by_onednn
    return 2 * n**3 / min(t.best for t in take_turns(contenders, rounds=rounds).values())


def process_memory(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes; unlike ru_maxrss, neither is inherited."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: no {field}")


def forget_peak() -> None:
    """Reset the recorded peak of this process's memory."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_inputs(
    B: int, T: int, H: int, D: int, cells: int, writes: int, reads: int
) -> dict[str, Tensor]:
    """Inputs of memory_scan: random cells are written; reads find cells written by then."""
    g = torch.Generator().manual_seed(0)
    write_index = torch.randint(cells, (B, T, H, writes), generator=g)
    ago = torch.rand(B, T, H, reads, generator=g) * torch.arange(1, T + 1).view(1, -1, 1, 1)
    written = write_index[..., torch.arange(reads) % writes].gather(1, ago.long())
    x = {
        "write_index": write_index,
        "write_weight": torch.rand(B, T, H, writes, generator=g),
        "gate": torch.rand(B, T, H, generator=g),
        "candidate": torch.randn(B, T, H, D, generator=g),
        "read_index": written,
        "read_weight": torch.rand(B, T, H, reads, generator=g) / reads,
    }
    return {n: v.requires_grad_() if v.is_floating_point() else v for n, v in x.items()}
