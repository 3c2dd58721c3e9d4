"""What it costs to reach C++ from Python: three interfaces, nine tensors, one small new tensor.

    python benchmarks/native_call.py       prints microseconds a call; docs/native.md quotes them

ctypes     this project's way: `ramgru.kernels.native.call`, here a minGRU of one step and one unit
stable     an operator in C++ through LibTorch's stable ABI (stable_call.cpp, compiled on the spot)
custom_op  an operator in Python by torch.library.custom_op
recorded   the same where a gradient is wanted: `Fused` for ours, register_autograd for the others
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.fused import Fused
from ramgru.kernels.mingru.native import BACKWARD

CALLS, ROUNDS = 2000, 15
SCHEMA = "(" + ", ".join(f"Tensor {name}" for name in "abcdefghi") + ") -> Tensor"

tensors = [torch.zeros(1, 1, 2), *(torch.zeros(1, 1) for _ in range(8))]
x, states, above, grad_x = (torch.zeros(1, 1, 2) for _ in range(4))
h, last, grad_h = (torch.zeros(1, 1) for _ in range(3))


def by_ctypes(*given: Tensor) -> tuple[tuple[Tensor], list[Tensor]]:
    made = given[0].new_empty(1)
    native.call(
        "mingru_backward",
        torch.float32,
        BACKWARD,
        (1, 1, 1),
        (x, h, None, None, states, above, last, grad_x, grad_h),
    )
    return (made,), []


def parts(*given: Tensor) -> tuple[Tensor]:
    return (given[0],)


fused = Fused(parts, by_ctypes, lambda grads, kept, needed, *given: given)


@torch.library.custom_op("ramgru_bench::custom_op", mutates_args=(), schema=SCHEMA)
def by_custom_op(*given: Tensor) -> Tensor:
    return by_ctypes(*given)[0][0]


def gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return grad, *[None] * 8


by_custom_op.register_autograd(gradients)


def stable() -> Callable[..., Tensor] | None:
    """The operator in C++; None where it cannot be compiled."""
    torch_folder = Path(torch.__file__).parent
    target = Path(tempfile.mkdtemp()) / "stable_call.so"
    command = [os.environ.get("CXX", "g++"), "-O2", "-std=c++20", "-shared", "-fPIC"]
    command += [f"-I{torch_folder / 'include'}", str(Path(__file__).with_name("stable_call.cpp"))]
    command += [f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10", "-o", str(target)]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"stable: not compiled, skipped ({error})")
        return None
    torch.ops.load_library(str(target))
    torch.library.register_autograd("ramgru_bench::stable", gradients)
    return torch.ops.ramgru_bench.stable.default


def main() -> None:
    torch.set_num_threads(1)
    recorded = [torch.zeros(1, 1, 2, requires_grad=True), *tensors[1:]]
    contenders: dict[str, Callable[[], Any]] = {
        "ctypes": lambda: by_ctypes(*tensors),
        "custom_op": lambda: by_custom_op(*tensors),
        "ctypes, recorded": lambda: fused(recorded),
        "custom_op, recorded": lambda: by_custom_op(*recorded),
    }
    if (operator := stable()) is not None:
        contenders["stable"] = lambda: operator(*tensors)
        contenders["stable, recorded"] = lambda: operator(*recorded)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            function = contenders[name]
            begin = time.perf_counter()
            for _ in range(CALLS):
                function()
            if turn:  # the first warms up
                times[name].append((time.perf_counter() - begin) / CALLS)
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {native.isa()}, 1 thread"
    )
    print("| interface | µs a call, median | best |\n|---|---:|---:|")
    for name, each in sorted(times.items()):
        print(f"| {name} | {1e6 * statistics.median(each):.1f} | {1e6 * min(each):.1f} |")


if __name__ == "__main__":
    main()
