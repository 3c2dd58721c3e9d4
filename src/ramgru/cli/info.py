"""`ramgru info`: what is installed, what runs where, and which tasks there are."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ramgru import kernels, tasks
from ramgru.cli.extras import EXTRAS
from ramgru.cli.parse import parse
from ramgru.cli.taskoptions import summary
from ramgru.version import __version__

DESCRIPTION = "Show versions, devices, kernels, extras and tasks; nothing is written."


@dataclass(frozen=True)
class InfoConfig:
    """There is nothing to set."""


def run(args: Sequence[str]) -> int:
    configure(args)
    parts = [versions(), ["kernels", *kernel_lines()], ["extras", *extras()]]
    parts.append(["tasks", *task_lines()])
    print("\n\n".join("\n".join(part) for part in parts))
    return 0


def configure(args: Sequence[str]) -> InfoConfig:
    """Refuses arguments. Raises UsageError."""
    return parse(InfoConfig, args, prog="ramgru info", description=DESCRIPTION)


def versions() -> list[str]:
    """What runs, and on what."""
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        f"ramgru   {__version__}",
        f"torch    {torch.__version__}",
        f"numpy    {np.__version__}",
        f"python   {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"threads  {torch.get_num_threads()}",
        f"cuda     {', '.join(cuda) or 'none: training and evaluation run on the CPU'}",
    ]


def kernel_lines() -> list[str]:
    """What computes each operation."""
    return [f"  {name:<12} {what}" for name, what in kernels.info().items()]


def extras() -> list[str]:
    """Which optional parts are there, and how to get those that are not."""
    lines = []
    for package, (extra, purpose) in EXTRAS.items():
        try:
            state = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            state = f"missing: pip install 'ramgru[{extra}]'"
        lines.append(f"  {package:<12} {purpose}: {state}")
    return lines


def task_lines() -> list[str]:
    """Every task, and what it asks."""
    return [f"  {name:<12} {summary(cls)}" for name, cls in sorted(tasks.TASKS.items())]
