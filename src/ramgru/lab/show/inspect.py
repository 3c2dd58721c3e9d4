"""`ramgru inspect`: from a run and one input to a page that shows what the memory did with it."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab.show import html
from ramgru.lab.show import page as pages
from ramgru.lab.show.example import Example, draw, parse
from ramgru.lab.show.view import look
from ramgru.lab.tasks.base import Task
from ramgru.lab.train.configfile import read_config
from ramgru.lab.train.data import held_out_seed
from ramgru.lab.train.run import CONFIG, LOG, load_run


@dataclass(frozen=True)
class InspectConfig:
    """Look inside a trained RAM-GRU while it reads one input."""

    run: Path | None = None
    """Run directory; None: the newest below runs/ that has a memory."""
    input: str | None = None
    """Input to read: token ids, or text where the task has a vocabulary; None: draw one."""
    seed: int = 0
    """Seed of the input that is drawn when none is typed."""
    cell: int | None = None
    """Also show this memory cell over time: its gate, its activation and its state."""
    block: int | None = None
    """Block to look into, from 0; None: the one whose reads meet most answers."""
    head: int | None = None
    """Head to look at, from 0; None: the one whose reads meet most answers."""
    out: Path | None = None
    """HTML file to write; None: inspect.html in the run directory."""

    def __post_init__(self) -> None:
        for name in ("seed", "cell", "block", "head"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")


def inspect(config: InspectConfig, *, quiet: bool = False) -> Path:
    """Write the page that shows one input inside a run's model; -> its path.

    quiet: do not print the text view.
    Raises ValueError: the input cannot be read, or no such block, head or cell. RamgruError: no
    such run, or a model without memory.
    """
    run = config.run if config.run is not None else _newest_with_memory()
    _, task, model = load_run(run)
    example = _example(config, task)
    view = look(model, task, example, block=config.block, head=config.head, cell=config.cell)
    if view is None:
        raise RamgruError(
            f"the model of {run} has no memory to look into: expected a run of layer ramgru, "
            f"got {read_config(run / CONFIG).model.layer}"
        )
    made = pages.page(
        view,
        title=f"Inside {run.name}: one input of {task.name}",
        typed=" ".join(view.sample.tokens),
        command=_command(config, run),
    )
    path = html.write(made, config.out if config.out is not None else run / "inspect.html")
    if not quiet:
        print(pages.text(view))
        print(f"page: {path}")
    return path


def _example(config: InspectConfig, task: Task) -> Example:
    if config.input is None:
        return draw(task.held_out(), held_out_seed(config.seed, 0))
    return parse(task, config.input)


def _newest_with_memory(root: Path = Path("runs")) -> Path:
    found = [path for path in root.glob(f"**/{CONFIG}") if (path.parent / LOG).exists()]
    for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, str(p)), reverse=True):
        with contextlib.suppress(CheckpointError):  # of a layer of somebody's own
            if read_config(path).model.name == "ramgru":
                return path.parent
    raise RamgruError(
        f"no run of layer ramgru in {root}/: expected one made by `ramgru train`, "
        "or the path of one"
    )


def _command(config: InspectConfig, run: Path) -> str:
    words = ["ramgru", "inspect", str(run)]
    for name in ("input", "seed", "cell", "block", "head"):
        value = getattr(config, name)
        if value is not None and not (name == "seed" and config.input is not None):
            words += [f"--{name}", str(value)]
    return shlex.join(words)
