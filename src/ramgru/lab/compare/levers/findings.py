"""What the pictures of a study prove, in one sentence each, computed from the data."""

from __future__ import annotations

from ramgru.lab.compare.levers.points import DEFAULT
from ramgru.lab.compare.levers.results import PointRun, Results
from ramgru.lab.compare.levers.tables import capacity_text
from ramgru.lab.show.data import Score
from ramgru.lab.show.plots import percent
from ramgru.lab.show.sentences import slice_text


def headline(results: Results) -> str:
    """How much each lever changes the score at the hardest slice."""
    parts = []
    for lever in results.levers:
        means = [_hardest(results, name).mean for name in results.of_lever(lever)]
        if means:
            parts.append(f"{lever} {_points(max(means) - min(means))}")
    where = slice_text(results.rows()[-1].axes)
    trained = f", trained on {slice_text(results.trained)}" if results.trained else ""
    return (
        f"Between the best and the worst point of a lever, {results.metric} at {where}{trained} "
        f"differs by: {'; '.join(parts)}."
    )


def by_lever(results: Results, lever: str) -> str:
    """The best and the worst point beside the default, and whether the seeds tell them apart."""
    names = results.of_lever(lever)
    where = slice_text(results.rows()[-1].axes)
    scores = {name: _hardest(results, name) for name in names}
    best = max(names, key=lambda name: scores[name].mean)
    worst = min(names, key=lambda name: scores[name].mean)
    metric = results.metric.capitalize()
    if scores[best].mean == scores[worst].mean:
        return f"{metric} at {where} is {percent(scores[best].mean)} at every point."
    text = (
        f"{metric} at {where} is highest with {best} ({percent(scores[best].mean)}) and lowest "
        f"with {worst} ({percent(scores[worst].mean)})"
    )
    if DEFAULT not in scores:
        return f"{text}."
    if best != DEFAULT:
        known = "" if worst == DEFAULT else f"; default has {percent(scores[DEFAULT].mean)}"
        return f"{text}{known}: {_told(scores, best)}."
    others = [name for name in names if name != DEFAULT]
    second = max(others, key=lambda name: scores[name].mean)
    known = "" if second == worst else f"; next is {second} ({percent(scores[second].mean)})"
    return f"{text}{known}: {_told(scores, second)}."


def by_cells(results: Results, sizes: list[tuple[int, str]]) -> str:
    """What the number of cells gives and costs, from the fewest to the most.

    sizes: (cells of a head, name of the point), ascending.
    """
    (few, first), (many, last) = sizes[0], sizes[-1]
    parts = []
    held = [results.capacity(name) for name in (first, last)]
    if all(capacity is not None for capacity in held):
        parts.append(f"pairs held go from {capacity_text(held[0])} to {capacity_text(held[1])}")
    times = [results.mean(name, lambda run: run.cost.step_us) for name in (first, last)]
    if times[0] and times[1]:
        parts.append(f"the time of a step from {times[0]:.3g} to {times[1]:.3g} µs")
    text = f"From {few:,} to {many:,} cells {' and '.join(parts)}"
    bits = {n: results.mean(name, _state_bits) for n, name in sizes}
    known = {n: value for n, value in bits.items() if value}
    if not known:
        return f"{text}."
    dense = max(known, key=lambda n: known[n])
    return f"{text}; a bit of state holds most, {known[dense]:.2g} bits, with {dense:,} cells."


def _state_bits(run: PointRun) -> float | None:
    return run.bits_per_state_bit


def _hardest(results: Results, name: str) -> Score:
    return results.score(name, results.rows()[-1].axes)


def _told(scores: dict[str, Score], name: str) -> str:
    """Whether the 95 % intervals of a point and the default lie apart."""
    lower, higher = sorted((scores[DEFAULT], scores[name]), key=lambda score: score.mean)
    if lower.high is None or higher.low is None:
        return "without intervals this may be chance"
    apart = lower.high < higher.low
    return f"the 95 % intervals of {name} and default {'lie apart' if apart else 'overlap'}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
