"""Pull the levers of memory efficiency, three seeds a variant, and write docs/study/levers.md.

python benchmarks/levers.py            # about an hour on one core; goes on where it stopped
python benchmarks/levers.py --draw     # only write the page again, from runs/levers
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pages import DOCS, picture, table

from ramgru import Memory, files
from ramgru.lab.compare import CompareConfig, compare
from ramgru.lab.compare.compare import DATA
from ramgru.lab.compare.config import sized
from ramgru.lab.compare.findings import headline
from ramgru.lab.compare.page import page
from ramgru.lab.compare.results import Comparison, from_json
from ramgru.lab.evaluate import Effort
from ramgru.lab.show import plots
from ramgru.lab.show.html import Part, Picture, Table, Text
from ramgru.lab.train import ModelConfig

# So few cells that 256 pairs are more than they hold, and variants can differ.
STUDY = CompareConfig(
    task=sized("mqar,pairs=16,length=64"),
    levers=True,
    equal="nothing",  # each variant has the width of the network
    model=ModelConfig(memory=Memory(cells=256)),
    steps=150,
    batch_size=32,
    curriculum=False,
    seeds=(0, 1, 2),
    effort=Effort(questions=1024, examples=16, max_length=1024),
    threads=1,
    device="cpu",
    out=Path("runs/levers"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="write the page without training")
    if not parser.parse_args().draw:
        compare(STUDY)
    data = STUDY.folder / DATA
    print(f"wrote {write(from_json(data.read_text(encoding='utf-8'), str(data)), DOCS)}")


def write(comparison: Comparison, docs: Path) -> Path:
    """The page and its pictures below `docs`; -> the path of the page."""
    lines = [
        "# Levers of memory efficiency",
        "",
        "Written by `python benchmarks/levers.py`; do not edit.",
        "",
        headline(comparison.tasks[0]),
        "",
        f"The first row, RAM-GRU, is the default with {STUDY.model.memory.cells} cells a head; "
        f"each other row changes one option. {STUDY.steps} steps of {STUDY.batch_size} sequences, "
        "learning rate 0.003, one thread.",
        "",
    ]
    for lever, section in zip(comparison.tasks[0].groups, page(comparison).sections):
        lines += [f"## {section.title}", ""]
        for part in section.parts:
            if not (isinstance(part, Text) and part.text in lines):  # each explanation once
                lines += _markdown(part, lever, docs)
    machine = ", ".join(f"{key} {value}" for key, value in comparison.machine.items())
    return files.write(
        docs / "study" / "levers.md", "\n".join([*lines, f"Machine: {machine}.", ""])
    )


def _markdown(part: Part, name: str, docs: Path) -> list[str]:
    match part:
        case Text():
            return [part.text, ""]
        case Table():
            return [f"{part.caption}.", "", *table(part.header, part.rows)]
        case Picture():
            figure = plots.titled(part.figure, part.finding)
            return picture(figure, "levers", name, part.alt, docs, "../")
    raise TypeError(f"expected text, a table or a picture, got {type(part).__name__}")


if __name__ == "__main__":
    main()
