"""Compile the Triton kernels that a piece of code launches, on a machine without a GPU.

    python compile_for_gpu.py 90 "code"      for sm_90: prints each kernel's name and its register
                                             spills in bytes

The code runs with CPU tensors. A launch compiles down to machine code and computes nothing.
TRITON_INTERPRET must be unset.
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

from ramgru.kernels import dispatch, gpu

ARCHITECTURE = int(sys.argv[1])
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


class Driver:
    """A stub of the GPU driver that names an architecture."""

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
    """Bytes of spilled registers, from the assembler's report."""
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
gpu.interprets = lambda: True  # for CPU tensors too
dispatch.triton_refusal = lambda *tensors: ""
exec(sys.argv[2])
