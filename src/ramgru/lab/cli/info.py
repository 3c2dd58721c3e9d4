"""`ramgru info`: versions, devices, kernels, optional libraries and tasks."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

import numpy as np
import torch

from ramgru import kernels
from ramgru.lab import tasks
from ramgru.lab.cli.main import EXTRAS, advice
from ramgru.lab.cli.screen import HELP, Screen, suggest
from ramgru.version import __version__

SCREEN = Screen(
    command="info",
    call="",
    about="Show versions, devices, kernels, optional libraries and tasks.",
)


def run(args: Sequence[str]) -> int:
    """Needs no optional library, since it lists the missing ones."""
    if args and args[0] in HELP:
        print(SCREEN.short(), end="")
        raise SystemExit(0)
    if args:
        raise ValueError(f"unexpected argument {args[0]!r}: expected none")
    parts = [versions(), ["native CPU kernels", *lines_of(kernels.native.info())]]
    parts += [["GPU kernels", *lines_of(kernels.gpu.info())], ["kernels", *kernel_lines()]]
    parts += [["optional libraries", *extras()], ["tasks", *task_lines()]]
    print("\n\n".join("\n".join(part) for part in parts))
    suggest("ramgru train mqar --task.pairs 8", "ramgru compare")
    return 0


def versions() -> list[str]:
    """Versions, threads and devices."""
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
    """The facts about one kind of kernels, one a line."""
    return [f"  {name:<12} {what}" for name, what in info.items()]


def kernel_lines() -> list[str]:
    """The implementation of each operation."""
    return [f"  {name:<17} {what}" for name, what in kernels.info().items()]


def extras() -> list[str]:
    """The version of each optional library, or the command that installs it."""
    lines = []
    for package, (_, purpose) in EXTRAS.items():
        try:
            state = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            state = f"missing: {advice(package)}"
        lines.append(f"  {package:<12} {purpose}: {state}")
    return lines


def task_lines() -> list[str]:
    """Every task with its summary."""
    width = max(map(len, tasks.TASKS))
    return [f"  {name:<{width}} {summary(cls)}" for name, cls in sorted(tasks.TASKS.items())]


def summary(cls: type[tasks.Task]) -> str:
    """The first line of a task's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]
