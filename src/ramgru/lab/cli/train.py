"""`ramgru train`: train a model on a task, your own numbers or a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ramgru.lab import tasks
from ramgru.lab.cli.arguments import (
    OWN_LAYER,
    SIZES,
    as_model,
    listing,
    named,
    split_task,
)
from ramgru.lab.cli.following import look_inside
from ramgru.lab.cli.parse import UsageError, parse
from ramgru.lab.cli.screen import HELP, Screen, suggest
from ramgru.lab.tasks import sources
from ramgru.lab.train import TrainConfig, newest_run, train
from ramgru.lab.train.config import source
from ramgru.lab.train.configfile import read_config
from ramgru.lab.train.run import CONFIG

SCREEN = Screen(
    command="train",
    call="[TASK] [OPTIONS]",
    about="Train a model on a task, a table or a text. The run goes to runs/TASK-LAYER; Ctrl-C "
    "finishes the step and saves it.",
    examples=(
        "ramgru train mqar --task.pairs 16 --steps 2000",
        "ramgru train --text book.txt --tbptt 64",
        "ramgru train --data sales.csv --task.target sales --task.horizon 12",
    ),
    shown={
        "data": ("data", "text", SIZES),
        "network": ("model.layer", OWN_LAYER, "model.memory.heads"),
        "training": ("steps", "lr", "target"),
        "run": ("out", "resume", "device"),
    },
    details="""Examples are drawn from a seed during training, so there is nothing to download.
    The run holds its configuration, its log, a checkpoint from which it can be resumed after
    any kind of death (--resume), and the trained model. Several processes: torchrun
    --nproc-per-node 2 -m ramgru train mqar. Standard input: cat events.jsonl | ramgru train
    --data -

    """
    + listing(),
)


def run(args: Sequence[str]) -> int:
    """Train and print why training ended; -> the exit code: 0, or 128 + the signal's number."""
    config = configure(args)
    outcome = train(config)
    import torch.distributed as dist

    main = not dist.is_initialized() or dist.get_rank() == 0
    if dist.is_initialized():
        dist.destroy_process_group()
    if outcome.reason == "interrupted":
        if main:
            print(f"stopped after step {outcome.step} and saved in {outcome.run}")
            suggest(["ramgru", "train", "--resume", str(outcome.run)])
        return 128 + int(outcome.signal or 2)
    if main:
        why = {"steps": "all steps done", "target": "target reached", "patience": "no progress"}
        print(f"{why[outcome.reason]} after step {outcome.step}; the run is in {outcome.run}")
        suggest(["ramgru", "evaluate", str(outcome.run)], *look_inside(outcome.run))
    return 0


def configure(args: Sequence[str]) -> TrainConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(as_model(args))
    resume, rest = take_resume(rest)
    if resume is not None:
        default = replace(read_config(resume / CONFIG), resume=resume, out=resume)
        if name not in (None, default.task.name):
            raise UsageError(
                f"TASK must stay {default.task.name!r} when {resume} goes on, got {name!r}"
            )
    else:
        rest = _without_pipes(rest)
        default = TrainConfig(task=_task(name, rest))
    return parse(
        TrainConfig,
        rest,
        screen=SCREEN,
        default=default,
    )


def take_resume(args: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The run of --resume, and the other arguments.

    Without a name, --resume means the run of --out if it exists, and without --out the newest run.
    """
    rest = list(args)
    place = next((i for i, arg in enumerate(rest) if arg.split("=")[0] == "--resume"), None)
    if place is None:
        return None, rest
    flag = rest.pop(place)
    if "=" in flag:
        return Path(flag.partition("=")[2]), rest
    if place < len(rest) and not rest[place].startswith("-"):
        return Path(rest.pop(place)), rest
    out = value_of("--out", rest)
    if out is None:
        return newest_run(), rest
    # A run that died before it wrote its first file begins anew.
    return (Path(out) if (Path(out) / CONFIG).exists() else None), rest


def value_of(flag: str, args: Sequence[str]) -> str | None:
    """The value of an option before the command line is parsed; None if it is not given."""
    for i, arg in enumerate(args):
        if arg.startswith(f"{flag}="):
            return arg.partition("=")[2]
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
    return None


def _without_pipes(args: Sequence[str]) -> list[str]:
    """The arguments with --data and --text of regular files: a resumed run reads them again."""
    rest = list(args)
    for flag in ("--data", "--text"):
        path = value_of(flag, rest)
        if path is not None and not HELP & set(rest):
            place = next(i for i, arg in enumerate(rest) if arg.split("=")[0] == flag)
            rest[place : place + (1 if "=" in rest[place] else 2)] = [
                flag,
                str(sources.piped(path, text=flag == "--text")),
            ]
    return rest


def task_values(args: Sequence[str]) -> dict[str, str]:
    """{size: value} of the given --task.* options, before they are parsed."""
    flags = [arg.split("=")[0] for arg in args if arg.startswith("--task.")]
    values = {flag: value_of(flag, args) for flag in flags}
    return {k.removeprefix("--task.").replace("-", "_"): v for k, v in values.items() if v}


def _task(name: str | None, args: Sequence[str]) -> tasks.Task:
    data, text = value_of("--data", args), value_of("--text", args)
    if name is not None and (data or text):
        given = "--data" if data else "--text"
        raise UsageError(f"give TASK or {given}, not both, got {name!r} and {data or text!r}")
    if data or text:
        paths = {key: Path(path) for key, path in (("data", data), ("text", text)) if path}
        # Reading the file needs the sizes: it may be shorter than the default ones.
        return source(TrainConfig(**paths), **task_values(args))  # type: ignore[arg-type]
    return named(name or "mqar")
