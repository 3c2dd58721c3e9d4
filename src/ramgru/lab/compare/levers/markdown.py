"""A study as a page of the documentation: the report's sentences, pictures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ramgru.lab.compare.levers import findings
from ramgru.lab.compare.levers.page import all_points, pictures, question, title
from ramgru.lab.compare.levers.results import Results
from ramgru.lab.show.html import Picture, Text
from ramgru.lab.show.html import Table as Shown

# {name of a picture: the picture}, in the order in which they stand on the page
Pictures = Mapping[str, Picture]


def named_pictures(results: Results) -> dict[str, Picture]:
    """All pictures of a study: LEVER, LEVER-2, …"""
    found = {}
    for lever in results.levers:
        for number, picture in enumerate(pictures(results, lever), 1):
            found[lever if number == 1 else f"{lever}-{number}"] = picture
    return found


def markdown(results: Results, heading: str, shown: Pictures, folder: str) -> str:
    """The page. folder: where NAME.svg of every picture lies, seen from the page."""
    lines = ["# Levers of memory efficiency", "", heading, "", findings.headline(results), ""]
    for lever in results.levers:
        lines += [f"## {title(lever)}", "", question(lever), ""]
        for name, picture in shown.items():
            if name.partition("-")[0] == lever:
                lines += [f"![{picture.alt}]({folder}/{name}.svg)", "", picture.finding, ""]
    lines += ["## All points", ""]
    for part in all_points(results):
        lines += _table(part) if isinstance(part, Shown) else [_text(part), ""]
    return "\n".join([*lines, *_recipe(results)]) + "\n"


def _table(table: Shown) -> list[str]:
    rows = [_row(table.header), "|---|" + "---:|" * (len(table.header) - 1)]
    rows += [_row([cell.replace("\n", "<br>") for cell in row]) for row in table.rows]
    return [f"{table.caption}.", "", *rows, ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: Text) -> str:
    return text.text


def _recipe(results: Results) -> list[str]:
    config = results.config
    seeds, machine = len(config["seeds"]), results.machine.items()
    return [
        f"Each run has {config['steps']} steps of {config['batch_size']} sequences at a learning "
        f"rate of {config['lr']:g}; every point has {seeds} seed{'s' if seeds > 1 else ''}. "
        f"Machine: {', '.join(f'{key} {value}' for key, value in machine)}."
    ]
