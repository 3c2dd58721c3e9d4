"""The command line: which command, and what its errors mean to the shell.

Exit codes: 0 done, 1 it failed, 2 it was asked for wrongly, 128 + n stopped by signal n.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ramgru.errors import RamgruError
from ramgru.lab.cli.extras import missing
from ramgru.version import __version__

# Commands are imported when they run: `ramgru --help` waits for no library.
COMMANDS = {
    "generate": "write examples of a task to a file",
    "train": "train a model on a task, a file or a text",
    "evaluate": "measure a trained model at its training sizes and far beyond",
    "compare": "train RAM-GRU, nn.GRU and minGRU alike and write a report",
    "study": "pull the levers of memory efficiency one by one and write a report",
    "report": "draw the report of a comparison or a study again",
    "inspect": "draw what a trained model does with one input",
    "info": "show versions, devices, extras and tasks",
}

# As CUDA, the CPU on Windows and the CPU on Linux put it.
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")

HELP = """usage: ramgru COMMAND [ARGUMENTS]

GRU layers for PyTorch with a random-access memory: train them, measure them, look inside.

{commands}

Every command runs without arguments, on a CPU, and has its own --help. A first walk:

  ramgru train mqar --task.pairs 8     learn to recall 8 pairs, a few minutes
  ramgru evaluate                      ask the newest run, up to 1,024 pairs
  ramgru compare mqar                  the same beside nn.GRU and minGRU, with a report
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Messages go to standard error, one sentence each."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0 if args else 2
    if args[0] in ("-V", "--version"):
        print(f"ramgru {__version__}")
        return 0
    name, *rest = args
    if name not in COMMANDS:
        return _say("ramgru", _unknown(name), 2)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn_once(f"ramgru {name}")
            return importlib.import_module(f"ramgru.lab.cli.{name}").run(rest)
    except KeyboardInterrupt:
        return _say(f"ramgru {name}", "interrupted", 130)
    except BrokenPipeError:  # the reader of our output (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        code, message = explain(error)
        if message is None or os.environ.get("RAMGRU_DEBUG"):
            raise
        return _say(f"ramgru {name}", message, code)


def explain(error: Exception) -> tuple[int, str | None]:
    """The exit code and the sentence for an error; no sentence where it is a fault of ours."""
    if isinstance(error, ModuleNotFoundError):
        return 1, missing(error)
    if isinstance(error, RamgruError | ImportError):
        return 1, str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 1, f"{where}{error.strerror or error}"
    if isinstance(error, ValueError | TypeError) or type(error).__name__ == "UsageError":
        return 2, str(error)
    if any(words in str(error) for words in OUT_OF_MEMORY):
        return 1, "out of memory: try a smaller batch size, a smaller model, or shorter pieces"
    return 1, None


def _say(prog: str, message: str, code: int) -> int:
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _warn_once(prog: str) -> Callable[..., None]:
    """Warnings as one sentence each, however often and from wherever they come."""
    said: set[str] = set()

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            _say(prog, f"warning: {message}", 0)

    return show


def _unknown(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"unknown command {name!r}{hint or '.'} Expected one of {', '.join(COMMANDS)}"


def _help() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return HELP.format(commands="\n".join(lines))
