"""The tables of a study: the same on the page, in the terminal and in Markdown."""

from __future__ import annotations

from ramgru.lab.compare.levers.capacity import ENOUGH, Capacity
from ramgru.lab.compare.levers.results import Results
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.sentences import score_text, slice_text

NOTHING = "–"  # where a number is not known
Table = tuple[list[str], list[list[str]]]  # header, rows


def recall_rows(results: Results, points: list[str]) -> Table:
    """A row a point, a column a size; then chance, and the plateau where it is known."""
    sizes = results.rows()
    header = ["", *(slice_text(row.axes) for row in sizes)]
    rows = [[name, *(score_text(results.score(name, r.axes)) for r in sizes)] for name in points]
    rows.append(["chance", *(percent(row.chance) for row in sizes)])
    if any(row.plateau is not None for row in sizes):
        known = [NOTHING if row.plateau is None else percent(row.plateau) for row in sizes]
        rows.append(["plateau", *known])
    return header, rows


def efficiency_rows(results: Results, points: list[str]) -> Table:
    """A row a point: what it holds, and for how many bits of state and parameters."""
    header = ["", f"pairs at {ENOUGH:.0%}", "bits", "a state bit", "a written bit", "a parameter"]
    rows = [
        [
            name,
            capacity_text(results.capacity(name)),
            _number(results.mean(name, lambda run: run.bits), "{:,.0f}"),
            _number(results.mean(name, lambda run: run.bits_per_state_bit)),
            _number(results.mean(name, lambda run: run.bits_per_written_bit)),
            _number(results.mean(name, lambda run: run.bits_per_parameter)),
        ]
        for name in points
    ]
    return header, rows


def cost_rows(results: Results, points: list[str]) -> Table:
    """A row a point: what it costs in parameters, state, time and memory."""
    header = ["", "parameters", "state", "step, µs", "training, µs", "touched", "for backward"]
    rows = [
        [
            name,
            f"{results.of(name)[0].run.parameters:,}",
            bytes_text(results.of(name)[0].run.state_bytes),
            _number(results.mean(name, lambda run: run.cost.step_us), "{:.3g}"),
            _number(results.mean(name, lambda run: run.cost.train_us), "{:.3g}"),
            bytes_text(results.of(name)[0].cost.touched_bytes),
            bytes_text(results.of(name)[0].cost.backward_bytes),
        ]
        for name in points
    ]
    return header, rows


def short_rows(results: Results) -> Table:
    """Of every point what matters most, in a width of 80: for the terminal."""
    hardest = results.rows()[-1].axes
    header = ["", results.metric, f"pairs at {ENOUGH:.0%}", "bits/state bit", "µs/step"]
    rows = [
        [
            name,
            percent(results.score(name, hardest).mean),
            capacity_text(results.capacity(name)),
            _number(results.mean(name, lambda run: run.bits_per_state_bit)),
            _number(results.mean(name, lambda run: run.cost.step_us), "{:.3g}"),
        ]
        for name in results.points
    ]
    return header, rows


def capacity_text(capacity: Capacity | None) -> str:
    """'1,024', '≥ 1,024' where the largest measured size is held still, '–' where unknown."""
    if capacity is None:
        return NOTHING
    if not capacity.pairs:
        return "none"
    return f"{'≥ ' if capacity.at_least else ''}{capacity.pairs:,.0f}"


def _number(value: float | None, form: str = "{:.2g}") -> str:
    return NOTHING if value is None else form.format(value)
