"""Compile what a call would launch on a GPU, on a machine without one.

    python compile_for_gpu.py 90 "code"      sm_90; prints a line a kernel: its name, its registers'
                                             spills in bytes

The code runs with CPU tensors that Triton's kernels take; a launch compiles, down to machine code,
and computes nothing. Triton must not interpret: TRITON_INTERPRET has to be unset.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from ramgru.kernels import dispatch

ARCHITECTURE = int(sys.argv[1])
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


class Driver:
    """Stands for the driver of a GPU: names its architecture."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", ARCHITECTURE, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(self: JITFunction, grid: Any) -> Any:
    def launch(*args: Any, **options: Any) -> None:
        made = self.warmup(*args, grid=grid, **options)
        print(made.metadata.name, spilled(made.asm["ptx"]))

    return launch


def spilled(ptx: str) -> int:
    """Bytes of registers that did not fit, as the assembler says."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        suffix = "a" if ARCHITECTURE >= 90 else ""
        command = [str(PTXAS), "-v", f"--gpu-name=sm_{ARCHITECTURE}{suffix}"]
        command += [str(source), "-o", str(Path(folder, "kernel.cubin"))]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return int(told.split(" bytes spill stores")[0].split()[-1])


triton.runtime.driver.set_active(Driver())
JITFunction.__getitem__ = compile_only  # type: ignore[method-assign]
dispatch.triton_refusal = lambda *tensors: ""
exec(sys.argv[2])
