"""What a comparison's pictures prove, in one sentence each, computed from the data."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.lab.compare.results import Results
from ramgru.lab.show.data import Line, TimePoint
from ramgru.lab.show.plots import bytes_text, percent, time_text
from ramgru.lab.show.sentences import joined, slice_text
from ramgru.lab.show.theme import look


def headline(results: Results) -> str:
    """The scores at the last, hardest slice."""
    hardest = results.slices()[-1]
    scores = {layer: results.score(layer, hardest).mean for layer in results.layers}
    parts = [f"{look(layer).label} {percent(mean)}" for layer, mean in scores.items()]
    chance = results.runs[0].rows[-1].chance
    trained = f", trained on {slice_text(results.trained)}" if results.trained else ""
    return (
        f"{results.metric.capitalize()} at {slice_text(hardest)}{trained}: {joined(parts)}; "
        f"chance is {percent(chance)}."
    )


def by_size(results: Results, lines: Sequence[Line], axis: str) -> str:
    """How far each layer holds: the largest size up to which it reaches 90 %."""
    parts, never = [], []
    for line in lines:
        failed = [x for x, score in zip(line.x, line.scores) if score.mean < 0.9]
        held = [x for x in line.x if not failed or x < min(failed)]
        name = look(line.layer).label
        if held:
            parts.append(f"{name} up to {max(held):,.0f} {axis}")
        else:
            never.append(name)
    if never:
        parts.append(f"{joined(never)} at none of the sizes")
    return f"At least 90 % {results.metric} is reached by {'; by '.join(parts)}."


def by_distance(results: Results, lines: Sequence[Line]) -> str:
    """The score of the nearest beside the farthest questions."""
    parts = [
        f"{look(line.layer).label} {percent(line.scores[0].mean)} at the shortest distance and "
        f"{percent(line.scores[-1].mean)} at the longest"
        for line in lines
    ]
    return f"{results.metric.capitalize()}: {'; '.join(parts)}."


def by_state(results: Results) -> str:
    """What the best layer carries, and what it gives for it."""
    hardest = results.slices()[-1]
    order = sorted(results.layers, key=lambda layer: -results.score(layer, hardest).mean)
    best, others = order[0], order[1:]
    size = results.of(best)[0].state_bytes
    text = (
        f"{look(best).label} is right in {percent(results.score(best, hardest).mean)} of the "
        f"questions with {bytes_text(size)} of state a sequence"
    )
    parts = [
        f"{look(layer).label} in {percent(results.score(layer, hardest).mean)} with "
        f"{bytes_text(results.of(layer)[0].state_bytes)}"
        for layer in others
    ]
    return f"{text}; {joined(parts)}." if parts else f"{text}."


def by_time(points: Sequence[TimePoint]) -> str:
    """What a train step takes, the fastest layer first."""
    order = sorted(points, key=lambda point: point.microseconds)
    parts = [f"{look(p.layer).label} {time_text(p.microseconds)}" for p in order]
    return f"A train step takes a token: {joined(parts)}."


def by_training(results: Results) -> str:
    """When each layer was first at 95 % while training."""
    parts = []
    for layer in results.layers:
        reached = [
            next((s for s, m in zip(run.curve.metric_steps, run.curve.metric) if m >= 0.95), None)
            for run in results.of(layer)
        ]
        known = sorted(step for step in reached if step is not None)
        name = look(layer).label
        if len(known) == len(reached):
            parts.append(f"{name} after {known[len(known) // 2]:,} steps")
        else:
            best = max(max(run.curve.metric, default=0.0) for run in results.of(layer))
            often = "never" if not known else f"in {len(known)} of {len(reached)} runs"
            parts.append(f"{name} {often} (best {percent(best)})")
    sizes = f"95 % {results.metric} on held-out data of the training sizes is reached by"
    return f"{sizes} {'; by '.join(parts)}."
