"""Kills: a command that is killed at a random moment, and given again, ends with the same bytes."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ramgru.lab.cli import main
from ramgru.lab.train import log

PROMISE = "A command that dies at any moment goes on when it is given again, to the same bytes."
HOW = (
    "Each of `train`, `evaluate`, `compare` and `generate` in turn gets a signal at a moment drawn "
    "from the seed, and is then given again. In the first 400 cases SIGKILL, SIGTERM and Ctrl-C "
    "take turns, up to the command's usual end; in the others it is SIGKILL, up to .95 of that "
    "time. The full count has a hundred SIGKILLs for each command. "
    "The two signals that it can handle must end it with 128 + their number. Compared are "
    "weights, logs but for their times, evaluations and examples, byte for byte, with a command "
    "that was never killed; temporary files must be gone."
)
FIRST = 400  # cases in which the signals take turns
LATEST = 0.95  # part of a command's usual time

SIZES = ("--task.vocab-size", "32", "--task.pairs", "4", "--task.length", "32")
MODEL = ("--model.d-model", "16", "--model.num-layers", "1", "--model.memory.cells", "64")
EFFORT = ("--effort.questions", "64", "--effort.examples", "4", "--effort.max-length", "128")
TRAIN = (
    *("train", "mqar", *SIZES, *MODEL, "--out", "run", "--resume", "--threads", "1"),
    *("--steps", "40", "--steps-per-epoch", "10", "--batch-size", "8"),
    *("--evaluate-examples", "16", "--save-every", "7", "--log-every", "3"),
)
COMPARE = (
    *(
        "compare",
        "parity",
        "--task.length",
        "8",
        *MODEL,
        "--out",
        "all",
        "--layers",
        "gru",
        "mingru",
    ),
    *("--equal", "nothing", "--steps", "16", "--batch-size", "8", "--threads", "1"),
    *("--effort.questions", "16", "--effort.examples", "2", "--effort.max-length", "20"),
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": TRAIN,
    "evaluate": ("evaluate", "run", *EFFORT, "--threads", "1"),
    "compare": COMPARE,
    "generate": ("generate", "mqar", *SIZES, "--examples", "20000", "--out", "x.npz"),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CASES = FIRST + 66 * len(COMMANDS)
NOT_BEGUN = 99  # a signal came before the command could handle it
BYTES = ("*.npz", "*.safetensors", "evaluation.json", "evaluation.part.json")


def drawn(seed: int) -> tuple[str, signal.Signals]:
    """A case's command and signal."""
    number, command = divmod(seed, len(COMMANDS))
    return list(COMMANDS)[command], SIGNALS[number % len(SIGNALS) if seed < FIRST else 0]


def moment(seed: int, seconds: float) -> float:
    """Seconds until the signal, of a command that takes so many."""
    return random.Random(seed).uniform(0, seconds if seed < FIRST else LATEST * seconds)


def begun(arguments: tuple[str, ...], folder: Path) -> int:
    """The number of a forked process that runs a command, silently, in `folder`."""
    number = os.fork()
    if number:
        return number
    code = NOT_BEGUN
    try:
        os.chdir(folder)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        code = main(arguments)
    finally:
        os._exit(code)


def ended(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def result(folder: Path) -> dict[str, Any]:
    """All that must be the same: files by their names, without checkpoints, which hold a time."""
    found: dict[str, Any] = {}
    for pattern in BYTES:
        for path in folder.rglob(pattern):
            if path.name != "checkpoint.safetensors":
                found[str(path.relative_to(folder))] = path.read_bytes()
    for path in folder.rglob("log.jsonl"):
        events = [{k: v for k, v in e.items() if k != "seconds"} for e in log.read(path)]
        found[str(path.relative_to(folder))] = json.dumps(events)
    found |= {str(path): b"" for path in folder.rglob(".*.tmp")}
    return found


def prepare(folder: Path) -> Callable[[int], str]:
    torch.set_num_threads(1)  # a process with more threads must not fork
    import_all()
    shutil.rmtree(folder, ignore_errors=True)
    references: dict[str, tuple[dict[str, Any], float]] = {}

    def fresh(name: str, place: Path) -> Path:
        shutil.rmtree(place, ignore_errors=True)
        if name == "evaluate":
            shutil.copytree(folder / "whole-train", place)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def reference(name: str) -> tuple[dict[str, Any], float]:
        if name not in references:
            place = fresh(name, folder / f"whole-{name}")
            start = time.monotonic()
            code = ended(begun(COMMANDS[name], place))
            assert code == 0, f"{name} ended with {code}"
            references[name] = result(place), time.monotonic() - start
        return references[name]

    def case(seed: int) -> str:
        name, number = drawn(seed)
        what = name if seed < FIRST else f"{name}, {number.name}"
        reference("train")
        expected, seconds = reference(name)
        place = fresh(name, folder / name)
        process = begun(COMMANDS[name], place)
        time.sleep(moment(seed, seconds))
        os.kill(process, number)
        code = ended(process)
        if code not in (0, -number, NOT_BEGUN) and code != 128 + number:
            return f"!{name} ended with {code} after signal {number}"
        killed = code != 0
        code = ended(begun(COMMANDS[name], place))
        if code:
            return f"!{name} ended with {code} when it was given again"
        found = result(place)
        if found != expected:
            differ = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
            return f"!{name} ended with other bytes: {', '.join(differ)}"
        return f"{what}: the same bytes" if killed else f"{what}: over before the kill"

    return case


def import_all() -> None:
    """What the commands import, once: forked processes have it."""
    for name in ("accelerate.utils", "matplotlib.pyplot", "optuna", "pyarrow.parquet"):
        importlib.import_module(name)
    for name in COMMANDS:
        importlib.import_module(f"ramgru.lab.cli.{name}")
