"""An evaluation as tables on a terminal."""

from __future__ import annotations

from typing import Any

from ramgru.lab.evaluate.sweep import Evaluation, Group


def render(evaluation: Evaluation, name: str) -> list[Any]:
    """rich tables: one row a size; the distances and kinds of question where there are any."""
    from rich.table import Table

    axes = list(dict.fromkeys(axis for row in evaluation.rows for axis in row.axes))
    title = f"{name} · state {evaluation.state_bytes:,} bytes a sequence"
    table = Table(title=title, title_justify="left")
    several = any(abs(row.exact - row.score) > 1e-12 for row in evaluation.rows)
    plateau = any(row.plateau is not None for row in evaluation.rows)
    heads = [*axes, evaluation.metric, "95 % interval"]
    heads += ["whole answers"] if several else []
    heads += ["chance"] + (["plateau"] if plateau else []) + ["asked"]
    for head in heads:
        table.add_column(head, justify="right")
    for row in evaluation.rows:
        cells = [f"{row.axes[axis]:,}" if axis in row.axes else "" for axis in axes]
        cells += [f"{row.score:.3f}", f"{row.low:.3f} – {row.high:.3f}"]
        cells += [f"{row.exact:.3f}"] if several else []
        cells += [share(row.chance)] + ([share(row.plateau)] if plateau else [])
        table.add_row(*cells, f"{row.count:,}")
    tables = [table]
    for title, groups in (("distance", evaluation.distance), ("kind", evaluation.kinds)):
        if groups:
            tables.append(_groups(title, groups, evaluation.metric))
    return tables


def share(value: float | None) -> str:
    """A share with three digits that count: chance may be a ten-thousandth."""
    return "" if value is None else f"{value:.3g}"


def _groups(title: str, groups: list[Group], metric: str) -> Any:
    from rich.table import Table

    table = Table()
    several = any(g.exact is not None and abs(g.exact - g.score) > 1e-12 for g in groups)
    heads = [title, metric, "95 % interval"] + (["whole answers"] if several else []) + ["asked"]
    for head in heads:
        table.add_column(head, justify="right")
    for group in groups:
        low, high = group.interval
        name = group.name.get("kind") or f"{group.name['low']:,} – {group.name['high']:,}"
        cells = [name, f"{group.score:.3f}", f"{low:.3f} – {high:.3f}"]
        cells += [f"{group.exact:.3f}"] if several else []
        table.add_row(*cells, f"{group.count:,}")
    return table
