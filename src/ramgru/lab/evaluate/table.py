"""An evaluation as tables on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ramgru.lab.evaluate.sweep import Evaluation, Group, Row


def render(evaluation: Evaluation, name: str) -> list[Any]:
    """rich tables: one with a row a size, then one of distances and one of kinds, if known.

    A column that says nothing new is left out: whole answers that equal the score, a plateau or
    bits that are unknown, state bytes that are the same at each size (they are in the title).
    """
    rows, metric = evaluation.rows, evaluation.metric
    title = f"{name} · state {evaluation.state_bytes:,} bytes a sequence"
    if evaluation.memory_capacity is not None:
        title += f" · memory capacity {evaluation.memory_capacity:.1f} past inputs"
    columns = {}
    for axis in dict.fromkeys(axis for row in rows for axis in row.axes):
        columns[axis] = [f"{row.axes[axis]:,}" if axis in row.axes else "" for row in rows]
    columns |= _scores(rows, metric, lambda row: (row.low, row.high))
    if any(row.error is not None for row in rows):
        columns["mean error"] = [share(row.error) for row in rows]
        columns["without a model"] = [share(row.zero_error) for row in rows]
    else:
        columns["chance"] = [share(row.chance) for row in rows]
    if any(row.plateau is not None for row in rows):
        columns["plateau"] = [share(row.plateau) for row in rows]
    columns["asked"] = [f"{row.count:,}" for row in rows]
    if len({row.state_bytes for row in rows}) > 1:
        columns["state bytes"] = [f"{row.state_bytes:,}" for row in rows]
    if any(row.bits_held is not None for row in rows):
        columns["bits held"] = [share(row.bits_held) for row in rows]
        columns["bits a state byte"] = [share(row.bits_per_state_byte) for row in rows]
    tables = [_table(columns, title)]
    for title, groups in (("distance", evaluation.distance), ("kind", evaluation.kinds)):
        if groups:
            columns = {title: [_name(group) for group in groups]}
            columns |= _scores(groups, metric, lambda group: group.interval)
            tables.append(_table(columns | {"asked": [f"{group.count:,}" for group in groups]}))
    return tables


def share(value: float | None) -> str:
    """A number with three significant digits: chance may be a ten-thousandth."""
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _scores(
    rows: Sequence[Row] | Sequence[Group], metric: str, interval: Callable[[Any], Any]
) -> dict[str, list[str]]:
    columns = {metric: [f"{row.score:.3f}" for row in rows]}
    intervals = [interval(row) for row in rows]
    if all(low is not None for low, _ in intervals):
        columns["95 % interval"] = [f"{low:.3f} – {high:.3f}" for low, high in intervals]
    if any(row.exact is not None and abs(row.exact - row.score) > 1e-12 for row in rows):
        columns["whole answers"] = [f"{row.exact:.3f}" for row in rows]
    return columns


def _name(group: Group) -> str:
    return group.name.get("kind") or f"{group.name['low']:,} – {group.name['high']:,}"


def _table(columns: dict[str, list[str]], title: str | None = None) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for head in columns:
        table.add_column(head, justify="right")
    for cells in zip(*columns.values()):
        table.add_row(*cells)
    return table
