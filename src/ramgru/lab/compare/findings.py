"""The captions of a comparison's pictures, computed from the data."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.lab.compare.results import Comparison, Results
from ramgru.lab.compare.tables import label, standings
from ramgru.lab.show.data import Line
from ramgru.lab.show.sentences import joined, percent, slice_text
from ramgru.lab.show.theme import look

HELD = 0.9  # the score at which a size counts as held
LEARNT = 0.95  # the held-out metric at which a run counts as having learnt


def headline(results: Results) -> str:
    """The scores at the last, hardest slice; of the levers, the range of each."""
    hardest = results.slices()[-1]
    trained = f", trained on {slice_text(results.trained)}" if results.trained else ""
    where = f"{results.metric.capitalize()} at {slice_text(hardest)}{trained}"
    scores = {layer: results.score(layer, hardest).mean for layer in results.layers}
    groups = {k: [scores[n] for n in of if n in scores] for k, of in results.groups.items()}
    if any(groups.values()):
        parts = [f"{k} {percent(min(v))} to {percent(max(v))}" for k, v in groups.items() if v]
        return f"{where}, from the worst to the best variant: {'; '.join(parts)}."
    parts = [f"{label(results, layer)} {percent(mean)}" for layer, mean in scores.items()]
    return f"{where}: {joined(parts)}; chance is {percent(results.runs[0].rows[-1].chance)}."


def over_tasks(comparison: Comparison) -> str:
    """The mean of each layer over all tasks."""
    known = [(place.layer, place.mean) for place in standings(comparison) if place.mean is not None]
    parts = [f"{look(layer).label} {percent(mean.mean)}" for layer, mean in known]
    if not parts:
        return f"No layer has a run on each of the {len(comparison.tasks)} tasks."
    return (
        f"Mean over {len(comparison.tasks)} tasks of (score - chance) / (1 - chance): "
        f"{joined(parts)}."
    )


def by_size(results: Results, lines: Sequence[Line], axis: str) -> str:
    """The largest size up to which each layer holds."""
    parts, never = [], []
    for line in lines:
        failed = [x for x, score in zip(line.x, line.scores) if score.mean < HELD]
        held = [x for x in line.x if not failed or x < min(failed)]
        name = label(results, line.layer)
        if held:
            parts.append(f"{name} up to {max(held):,.0f} {axis}")
        else:
            never.append(name)
    if never:
        parts.append(f"{joined(never)} at none of the sizes")
    return f"At least {100 * HELD:.0f} % {results.metric} is reached by {'; by '.join(parts)}."


def by_training(results: Results) -> str:
    """The step at which each layer has learnt the training sizes."""
    parts = []
    for layer in results.layers:
        curves = [run.curve for run in results.of(layer)]
        reached = [
            next((s for s, m in zip(c.metric_steps, c.metric) if m >= LEARNT), None) for c in curves
        ]
        known = sorted(step for step in reached if step is not None)
        name = label(results, layer)
        if len(known) == len(reached):
            parts.append(f"{name} after {known[len(known) // 2]:,} steps")
        else:
            best = max(max(curve.metric, default=0.0) for curve in curves)
            often = "never" if not known else f"in {len(known)} of {len(reached)} runs"
            parts.append(f"{name} {often} (best {percent(best)})")
    return (
        f"{100 * LEARNT:.0f} % {results.metric} on held-out data of the training sizes is reached "
        f"by {'; by '.join(parts)}."
    )
