"""What a meter found as a table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ramgru.lab.evaluate.meters.delays import ShortTermMemory
from ramgru.lab.evaluate.meters.memorise import Memorised
from ramgru.lab.evaluate.meters.recall import Recalled


def of_delays(found: ShortTermMemory, name: str) -> Any:
    """The first delays one by one, then those that double, then the last."""
    last = len(found.curve) - 1
    shown = [k for k in range(last + 1) if k < 8 or k == last or k & (k - 1) == 0]
    rows = []
    for k in shown:
        counted = (
            "not of the past" if k == 0 else "" if found.curve[k] > found.limit else "as chance"
        )
        rows.append([f"{k}", f"{found.curve[k]:.3f}", counted])
    title = f"{name} · {found.capacity:.2f} past inputs in {found.units} units"
    return _table(title, ["delay", "r²", "left out"], rows)


def of_items(found: Sequence[Memorised], name: str) -> Any:
    """A row for each number of items."""
    rows = [
        [
            f"{one.items:,}",
            f"{one.accuracy:.3f}",
            f"{one.bits:,.1f}",
            f"{one.bits_per_parameter:.3f}",
        ]
        for one in found
    ]
    title = f"{name} · {found[0].parameters:,} parameters"
    return _table(title, ["items", "accuracy", "bits", "bits/parameter"], rows)


def of_state(found: Sequence[Recalled], name: str) -> Any:
    """A row a size."""
    rows = []
    for one in found:
        sizes = [f"{size:,}" for size in one.axes.values()]
        bits = [f"{one.bits:,.1f}", f"{one.state_bits:,}", f"{one.bits_per_state_bit:.2g}"]
        rows.append([*sizes, f"{one.score:.3f}", *bits])
    return _table(name, [*found[0].axes, "score", "bits", "state bits", "bits/state bit"], rows)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", min_width=len(title))
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
