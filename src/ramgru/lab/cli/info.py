"""`ramgru info`: what is installed, what runs where, and which tasks there are."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

import numpy as np
import torch

from ramgru import kernels
from ramgru.lab import tasks
from ramgru.lab.cli.extras import EXTRAS
from ramgru.version import __version__

DESCRIPTION = "Show versions, devices, kernels, extras and tasks; nothing is written."


def run(args: Sequence[str]) -> int:
    """Works without any extra: it is what tells which of them are missing."""
    if args and args[0] in ("-h", "--help"):
        print(f"usage: ramgru info\n\n{DESCRIPTION}")
        raise SystemExit(0)
    if args:
        raise ValueError(f"unexpected argument {args[0]!r}: expected none")
    parts = [versions(), ["native CPU kernels", *lines_of(kernels.native.info())]]
    parts += [["GPU kernels", *lines_of(kernels.gpu.info())], ["kernels", *kernel_lines()]]
    parts += [["extras", *extras()], ["tasks", *task_lines()]]
    print("\n\n".join("\n".join(part) for part in parts))
    return 0


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


def lines_of(info: dict[str, str]) -> list[str]:
    """Of one kind of kernels: where they come from or how to get them, what runs and why."""
    return [f"  {name:<12} {what}" for name, what in info.items()]


def kernel_lines() -> list[str]:
    """What computes each operation."""
    return [f"  {name:<17} {what}" for name, what in kernels.info().items()]


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
    width = max(map(len, tasks.TASKS))
    return [f"  {name:<{width}} {summary(cls)}" for name, cls in sorted(tasks.TASKS.items())]


def summary(cls: type[tasks.Task]) -> str:
    """The first line of a task's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]
