"""Write docs/tasks.md: every task of the registry, and what others have published on it.

What a task asks, an example, its sizes and their help come from the task itself; the published
numbers from published.json beside this file, which is kept by hand: a line a number, with the
table, figure or paragraph of the source that it was found in.

python benchmarks/tasks_page.py
"""

from __future__ import annotations

import dataclasses
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
from ramgru.lab.cli.taskoptions import field_help
from ramgru.lab.evaluate.table import share
from ramgru.lab.tasks import Task

PAGE = DOCS / "tasks.md"
PUBLISHED = Path(__file__).with_name("published.json")
HEAD = """# Tasks

Written by `python benchmarks/tasks_page.py` from the tasks themselves and from
`benchmarks/published.json`; do not edit.

Each task draws its examples from a seed. *Chance* is the score of a guess that has not looked at
the input; the *plateau* that of a memory which knows which answers it saw but not where. `ramgru
train TASK` trains on one, `ramgru evaluate` asks the sizes of its grid, within training and far
beyond. Chance, plateau and grid are those of the default sizes.

Published results stand beside the tasks they are of, each with the place at which it was found:
they were trained and scored in their own ways, so that they are landmarks, not rows of one table
with ours. *As the text reads it* means that the paper's own words about a figure were read, *as
quoted elsewhere* that only a quotation of the paper was.
"""
SOURCES = """## Tasks from files

These read a file of yours instead: `ramgru train --text FILE`, or `--data FILE`.
"""


def main() -> None:
    files.write(PAGE, page())
    print(f"wrote {PAGE}")


def page() -> str:
    """The text of docs/tasks.md. Raises ValueError where published.json names no known task."""
    numbers = published()
    parts = [HEAD, "\n".join(overview())]
    parts += ["\n\n".join(section(tasks.get(name), numbers)) for name in sorted(tasks.TASKS)]
    rows = [[f"`{name}`", summary(cls)] for name, cls in sorted(tasks.SOURCES.items())]
    parts += [f"{SOURCES}\n" + "\n".join(table(["task", "what is asked"], rows))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def published(path: Path = PUBLISHED) -> dict[str, list[list[str]]]:
    """{task: rows of its table}. Raises ValueError for a task or a source that is not known."""
    data = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, list[list[str]]] = {}
    for number in data["numbers"]:
        for kind, known in (("task", tasks.TASKS), ("source", data["sources"])):
            if number[kind] not in known:
                raise ValueError(
                    f"{path.name}: {kind} must be one of {', '.join(sorted(known))}, "
                    f"got {number[kind]!r}"
                )
        row = [number["model"], number["setting"], number["value"]]
        row += [f"{data['sources'][number['source']]}, {number['where']}"]
        found.setdefault(number["task"], []).append(row)
    return found


def overview() -> list[str]:
    """A row a task."""
    rows = []
    for name in sorted(tasks.TASKS):
        task = tasks.get(name)
        anchor = f"[`{name}`](#{name})"
        plateau = share(task.plateau) or "–"
        # What is counted in a package's data would make this page depend on what is installed.
        chance = (
            "of its data"
            if {"packaged", "documentation"} & set(vars(inspect.getmodule(task)))
            else None
        )
        rows.append(
            [anchor, summary(type(task)), task.metric, chance or share(task.chance), plateau]
        )
    return table(["task", "what is asked", "metric", "chance", "plateau"], rows)


def section(task: Task, numbers: dict[str, list[list[str]]]) -> Iterator[str]:
    """Heading, source, example, sizes, grid and published numbers of one task."""
    yield f"## {task.name}"
    yield module_text(type(task))
    yield from example(type(task))
    rows = [
        [f"`{field.name}`", f"{getattr(task, field.name)}", field_help(type(task))[field.name]]
        for field in dataclasses.fields(task)
    ]
    yield "\n".join(table(["size", "default", ""], rows))
    yield f"Grid: {grid(task)}."
    if task.name in numbers:
        yield "Published:"
        yield "\n".join(table(["model", "setting", "result", "source"], numbers[task.name]))


def module_text(cls: type[Task]) -> str:
    """What the module that defines a task says of it: what is asked, and the source."""
    return (inspect.getdoc(inspect.getmodule(cls)) or "").strip()


def example(cls: type[Task]) -> Iterator[str]:
    """The paragraphs of a task's docstring, the drawn ones as blocks, without those of its sizes:
    these have a table."""
    names = "|".join(field.name for field in dataclasses.fields(cls))
    for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        if re.match(rf"(?:{names})(?:, \w+)*:\s", paragraph):
            continue
        drawn = all(line.startswith("    ") for line in paragraph.split("\n"))
        yield f"```text\n{textwrap.dedent(paragraph)}\n```" if drawn else paragraph


def grid(task: Task) -> str:
    """The sizes of an evaluation: `pairs / length = 4 / 64 · 8 / 64`."""
    sizes = [point.axes for point in task.grid()]
    names = list(sizes[0])
    if not names:
        return "its test split"
    shown = " · ".join(" / ".join(f"{axes[name]:,}" for name in names) for axes in sizes)
    return f"{' / '.join(names)} = {shown}"


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """Markdown lines."""
    lines = [head, ["---"] * len(head), *rows]
    return [
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    ]


if __name__ == "__main__":
    main()
