"""Write docs/tasks.md: every task of the registry with its published results.

All but the published results comes from the tasks themselves. The results come from published.json
beside this file, which is kept by hand: a number an entry, with its place in the source.

python benchmarks/tasks_page.py
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import DOCS

from ramgru import files
from ramgru.lab import tasks
from ramgru.lab.cli.info import summary
from ramgru.lab.cli.options import field_help
from ramgru.lab.evaluate.table import share
from ramgru.lab.tasks import Task

PAGE = DOCS / "tasks.md"
PUBLISHED = Path(__file__).with_name("published.json")
# Their chance is measured on installed data, which differ from one machine to another.
MEASURED = ("japanese_vowels", "spelling", "text_lookup")
HEAD = """# Tasks

Written by `python benchmarks/tasks_page.py` from the tasks themselves and from
`benchmarks/published.json`; do not edit.

Each task draws its examples from a seed. *Chance* is the score of a guess that does not look at the
input. The *plateau* is the score of a memory that knows which answers occurred but not where.
`ramgru train TASK` trains on a task; `ramgru evaluate` measures the sizes of its grid, within
training and far beyond. Chance, plateau and grid are those of the default sizes.

Published results stand beside their tasks, each with its place in the source. Their training and
scoring differ from ours, so they are landmarks, not rows of one table with ours. *As the text reads
it* marks a result read from the paper's own words about a figure; *as quoted elsewhere* marks a
result known from a quotation of the paper only.
"""
SOURCES = """## Tasks from files

These tasks read a file of yours: `ramgru train --text FILE`, or `--data FILE`.
"""


def page() -> str:
    """The text of docs/tasks.md. Raises ValueError for an unknown task in published.json."""
    numbers = published()
    known = [tasks.get(name) for name in sorted(tasks.TASKS)]
    rows = [[f"`{name}`", summary(cls)] for name, cls in sorted(tasks.SOURCES.items())]
    parts = [
        HEAD,
        table(["task", "question", "metric", "chance", "plateau"], map(overview, known)),
        *("\n\n".join(section(task, numbers.get(task.name, []))) for task in known),
        f"{SOURCES}\n" + table(["task", "question"], rows),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def published(path: Path = PUBLISHED) -> dict[str, list[list[str]]]:
    """{task: rows of its table}. Raises ValueError for an unknown task or source."""
    data = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, list[list[str]]] = {}
    for number in data["numbers"]:
        for kind, known in (("task", tasks.TASKS), ("source", data["sources"])):
            if number[kind] not in known:
                raise ValueError(
                    f"{path.name}: {kind} must be one of {', '.join(sorted(known))}, "
                    f"got {number[kind]!r}"
                )
        source = f"{data['sources'][number['source']]}, {number['where']}"
        row = [number["model"], number["setting"], number["value"], source]
        found.setdefault(number["task"], []).append(row)
    return found


def overview(task: Task) -> list[str]:
    """The task's row of the first table."""
    chance = "of its data" if task.name in MEASURED else share(task.chance)
    name = f"[`{task.name}`](#{task.name})"
    return [name, summary(type(task)), task.metric, chance, share(task.plateau) or "–"]


def section(task: Task, numbers: list[list[str]]) -> Iterator[str]:
    """Heading, docstring, sizes, grid and published results of one task."""
    cls, help_of = type(task), field_help(type(task))
    yield f"## {task.name}"
    for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        if re.match(rf"(?:{'|'.join(help_of)})(?:, \w+)*:\s", paragraph):
            continue  # the sizes have a table
        drawn = all(line.startswith("    ") for line in paragraph.split("\n"))
        yield f"```text\n{textwrap.dedent(paragraph)}\n```" if drawn else paragraph
    sizes = [[f"`{name}`", value, help_of[name]] for name, value in task.options().items()]
    yield table(["size", "default", ""], sizes)
    grid = [point.axes for point in task.grid()]
    points = " · ".join(" / ".join(f"{size:,}" for size in axes.values()) for axes in grid)
    yield f"Grid: {' / '.join(grid[0])} = {points}." if grid[0] else "Grid: the test split."
    yield f"Defined in `{cls.__module__.replace('.', '/')}.py`."
    if numbers:
        yield "Published:"
        yield table(["model", "setting", "result", "source"], numbers)


def table(head: list[str], rows: Any) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


if __name__ == "__main__":
    print(f"wrote {files.write(PAGE, page())}")
