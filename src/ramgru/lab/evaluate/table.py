"""An evaluation as tables on a terminal."""

from __future__ import annotations

from typing import Any

from ramgru.lab.evaluate.sweep import Evaluation, Group


def render(evaluation: Evaluation, name: str) -> list[Any]:
    """rich tables: one with a row a size, then one of distances and one of kinds, if known."""
    from rich.table import Table

    rows = evaluation.rows
    axes = list(dict.fromkeys(axis for row in rows for axis in row.axes))
    title = f"{name} · state {evaluation.state_bytes:,} bytes a sequence"
    if evaluation.memory_capacity is not None:
        title += f" · memory capacity {evaluation.memory_capacity:.1f} past inputs"
    table = Table(title=title, title_justify="left")
    several = any(abs(row.exact - row.score) > 1e-12 for row in rows)
    plateau = any(row.plateau is not None for row in rows)
    grows = len({row.state_bytes for row in rows}) > 1
    bits = any(row.bits_held is not None for row in rows)
    heads = [*axes, evaluation.metric, "95 % interval"]
    heads += ["whole answers"] if several else []
    heads += ["chance"] + (["plateau"] if plateau else []) + ["asked"]
    heads += ["state bytes"] if grows else []
    heads += ["bits held", "bits a state byte"] if bits else []
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        cells = [f"{row.axes[axis]:,}" if axis in row.axes else "" for axis in axes]
        cells += [f"{row.score:.3f}", f"{row.low:.3f} – {row.high:.3f}"]
        cells += [f"{row.exact:.3f}"] if several else []
        cells += [share(row.chance)] + ([share(row.plateau)] if plateau else [])
        cells += [f"{row.count:,}"] + ([f"{row.state_bytes:,}"] if grows else [])
        if bits:
            held = "" if row.bits_held is None else f"{row.bits_held:,.1f}"
            cells += [held, share(row.bits_per_state_byte)]
        table.add_row(*cells)
    tables = [table]
    for title, groups in (("distance", evaluation.distance), ("kind", evaluation.kinds)):
        if groups:
            tables.append(_groups(title, groups, evaluation.metric))
    return tables


def share(value: float | None) -> str:
    """A number with three significant digits: chance may be a ten-thousandth."""
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
