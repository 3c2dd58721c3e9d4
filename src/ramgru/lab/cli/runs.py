"""`ramgru runs`: list the runs and comparisons, and open one of them."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.cli.arguments import split_task
from ramgru.lab.cli.browse import open_page
from ramgru.lab.cli.following import look_inside
from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.screen import Screen, suggest
from ramgru.lab.compare.compare import COMMAND, DATA, REPORT
from ramgru.lab.compare.runs import is_run_name
from ramgru.lab.show.inspect import PAGE
from ramgru.lab.train.status import BROKEN, FINISHED, INTERRUPTED, RUNNING, Status, in_use, runs

SCREEN = Screen(
    command="runs",
    call="[RUN] [OPTIONS]",
    about="List runs and comparisons, the newest first. With RUN, a path or a number of the list: "
    "show it, and open its page in a browser where there is a display.",
    examples=("ramgru runs", "ramgru runs 1", "ramgru runs runs/compare-mqar"),
    shown={"list": ("root", "most")},
)


@dataclass(frozen=True)
class RunsConfig:
    """List runs and comparisons."""

    root: Path = Path("runs")
    """Directory that they lie below."""
    most: int = 20
    """Rows of the list at most; 0: all of them."""


@dataclass(frozen=True)
class Entry:
    """A row of the list: one run, or all runs of a comparison."""

    path: Path
    runs: list[Status] = field(default_factory=list)

    @property
    def compares(self) -> bool:
        """Whether this is a comparison."""
        return self.path != self.runs[0].run

    @property
    def when(self) -> float:
        return max(run.when for run in self.runs)

    @property
    def state(self) -> str:
        if not self.compares:
            return self.runs[0].state
        if in_use(self.path) or any(run.state == RUNNING for run in self.runs):
            return RUNNING
        return FINISHED if (self.path / DATA).exists() else INTERRUPTED

    @property
    def page(self) -> Path:
        """The page that shows this entry, which may not be there."""
        return self.path / (REPORT if self.compares else PAGE)

    def cells(self) -> list[str]:
        """task, layer, step, score, when, state."""
        first = self.runs[0]
        if self.compares:
            done = sum(run.state == FINISHED for run in self.runs)
            layers = len({run.layer for run in self.runs})
            names = ", ".join(dict.fromkeys(run.task for run in self.runs))
            row = [names, f"{layers} layers", f"{done}/{len(self.runs)} runs", ""]
        else:
            row = [first.task, first.layer, f"{first.step:,}/{first.steps:,}", _score(first)]
        return [*row, ago(time.time() - self.when), self.state]


def run(args: Sequence[str]) -> int:
    name, rest = split_task(args)
    config = parse(RunsConfig, rest, screen=SCREEN)
    if name is None:
        found = entries(config.root)
        if not found:
            raise RamgruError(
                f"no run in {config.root}/: expected one made by `ramgru train` or `ramgru compare`"
            )
        _list(found[: config.most or None])
        if hidden := len(found) - len(found[: config.most or None]):
            print(f"{hidden} older ones are not shown; --most 0 shows all")
        elsewhere = ["--root", str(config.root)] if config.root != RunsConfig.root else []
        suggest(*_next(found[0]), ["ramgru", "runs", "1", *elsewhere])
        return 0
    entry = find(name, config.root)
    _list([Entry(one.run, [one]) for one in entry.runs], numbered=False)
    if entry.page.exists():
        opened = open_page(entry.page)
        print(f"page: {entry.page}{' (opened)' if opened else ''}")
    suggest(*_next(entry))
    return 0


def entries(root: Path) -> list[Entry]:
    """Runs and comparisons below a directory, the newest first."""
    found: dict[Path, Entry] = {}
    for one in runs(root):
        parent = one.run.parent
        path = parent if is_run_name(one.run.name) else one.run
        found.setdefault(path, Entry(path)).runs.append(one)
    return sorted(found.values(), key=lambda entry: (entry.when, entry.path.name), reverse=True)


def find(name: str, root: Path) -> Entry:
    """The entry of a path, of a name below `root`, or of a number of the list.

    Raises RamgruError if there is none.
    """
    known = entries(root)
    if name.isdigit() and 1 <= int(name) <= len(known):
        return known[int(name) - 1]
    for path in (Path(name), root / name):
        every = list(runs(path))
        own = [one for one in every if one.run == path]
        if own or every:
            return Entry(path, own or every)
    raise RamgruError(
        f"no run {name!r}: expected a run's directory, or a number of the list of `ramgru runs`, "
        f"which has {len(known)}"
    )


def ago(seconds: float) -> str:
    """A time in the past, in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.0f} {unit} ago"
    return "now"


def _list(found: Iterable[Entry], *, numbered: bool = True) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 100
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in [*(["#"] if numbered else []), "run", "task", "layer", "step", "score", "when"]:
        table.add_column(head, overflow="fold")
    table.add_column("state")
    for number, entry in enumerate(found, 1):
        row = [*([str(number)] if numbered else []), str(entry.path), *entry.cells()]
        table.add_row(*row)
    console.print(table)


def _score(one: Status) -> str:
    return "" if one.score is None else f"{one.metric} {100 * one.score:.1f} %"


def _next(entry: Entry) -> list[list[str]]:
    """Commands that suit the state of an entry."""
    path, looks = str(entry.path), look_inside(*(one.run for one in entry.runs))
    if entry.compares:
        if (entry.path / DATA).exists():
            return [["ramgru", "report", path], *looks]
        return [*(_again(entry.path) if entry.state == INTERRUPTED else []), *looks]
    if entry.state == INTERRUPTED:
        return [["ramgru", "train", "--resume", path]]
    return [] if entry.state == BROKEN else [["ramgru", "evaluate", path], *looks]


def _again(folder: Path) -> list[list[str]]:
    """The command by which an interrupted comparison goes on: the same one."""
    with contextlib.suppress(OSError, ValueError):
        words = shlex.split(files.read(folder / COMMAND, files.JSON_MOST).decode("utf-8"))
        # A folder from elsewhere may hold any text, which someone might paste.
        if words[:2] == ["ramgru", "compare"] or words[:4] == ["python", "-m", "ramgru", "compare"]:
            return [words]
    return []
