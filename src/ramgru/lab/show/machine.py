"""The machine of a measurement: hardware and versions, without the name of a person or host."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from ramgru.version import __version__


def cpu_model() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not a Linux machine
    return platform.processor() or platform.machine() or "unknown"


def cpu_count() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, str]:
    """Processor, threads, accelerator and versions: name -> value."""
    facts = {
        "processor": cpu_model(),
        "processors": str(cpu_count()),
        "torch threads": str(torch.get_num_threads()),
    }
    if torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name(0)
    facts["system"] = f"{platform.system()} {platform.machine()}"
    facts["python"] = platform.python_version()
    facts["torch"] = str(torch.__version__)
    facts["ramgru"] = __version__
    return facts
