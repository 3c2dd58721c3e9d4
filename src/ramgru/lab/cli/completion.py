"""`ramgru completion SHELL`: a script by which a shell completes commands, options and tasks."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_origin

from ramgru.lab import tasks
from ramgru.lab.cli.arguments import OWN_LAYER
from ramgru.lab.cli.browse import OPEN
from ramgru.lab.cli.generate import GenerateConfig
from ramgru.lab.cli.main import COMMANDS
from ramgru.lab.cli.options import Option, options
from ramgru.lab.cli.parse import UsageError, nearest
from ramgru.lab.cli.runs import RunsConfig
from ramgru.lab.cli.screen import HELP, Screen
from ramgru.lab.compare.compare import ReportConfig
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.evaluate import EvaluateConfig
from ramgru.lab.show.inspect import InspectConfig
from ramgru.lab.train import TrainConfig
from ramgru.lab.train.layers import LAYERS

SHELLS = ("bash", "zsh", "tcsh")
SCREEN = Screen(
    command="completion",
    call="|".join(SHELLS),
    about="Print a script by which a shell completes commands, options and tasks.",
    examples=(
        "ramgru completion bash > ~/.local/share/bash-completion/completions/ramgru",
        "ramgru completion zsh > ~/.zfunc/_ramgru  # a folder of $fpath",
    ),
)

# The options of each command, with their defaults.
DEFAULTS: dict[str, Any] = {
    "generate": GenerateConfig(),
    "train": TrainConfig(),
    "evaluate": EvaluateConfig(),
    "compare": CompareConfig(),
    "report": ReportConfig(Path("runs")),
    "inspect": InspectConfig(),
    "runs": RunsConfig(),
}
TAKE_A_TASK = ("generate", "train", "compare")


def run(args: Sequence[str]) -> int:
    if HELP & set(args):
        print(SCREEN.short(), end="")
        raise SystemExit(0)
    if len(args) != 1 or args[0] not in SHELLS:
        hint = nearest(args[0], SHELLS) if args else ""
        raise UsageError(
            f"SHELL: expected one of {', '.join(SHELLS)}, got {' '.join(args) or 'none'}{hint}"
        )
    import shtab

    print(shtab.complete(parser(), shell=args[0]))
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands with their arguments, as shtab wants them; nothing is parsed by it."""
    import shtab

    main = argparse.ArgumentParser("ramgru")
    commands = main.add_subparsers()
    sizes = sorted({one.name for task in tasks.TASKS.values() for one in dataclasses.fields(task)})
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        command.add_argument("--help-all", action="store_true", help="show all options")
        if name in TAKE_A_TASK:
            command.add_argument("task", nargs="*", choices=sorted(tasks.TASKS))
            for size in sizes:
                command.add_argument(f"--task.{size.replace('_', '-')}")
        elif name == "completion":
            command.add_argument("shell", choices=SHELLS)
        elif name != "info":
            command.add_argument("run", nargs="?").complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        if name in ("train", "evaluate", "compare"):
            command.add_argument(OWN_LAYER[0].split()[0], help=OWN_LAYER[1])
        if name in ("compare", "report", "inspect"):
            command.add_argument(OPEN[0], action="store_true", help=OPEN[1])
        default = DEFAULTS.get(name)
        for option in options(type(default), default) if default is not None else ():
            if option.group != "task":
                _add(command, option)
    return main


def _add(command: argparse.ArgumentParser, option: Option) -> None:
    import shtab

    about = option.help.replace("%", "%%")
    if option.kind is bool:
        command.add_argument(*option.flags, action="store_true", help=about)
        return
    layers = tuple(LAYERS) if option.name in ("layers", "model.layer") else ()
    made = command.add_argument(
        *option.flags,
        help=about,
        choices=option.choices or layers or None,
        nargs="*" if get_origin(option.kind) is tuple and option.value != "HEADS" else None,
    )
    if option.kind is Path:
        made.complete = shtab.FILE  # type: ignore[attr-defined]
