"""The report of a comparison: over all tasks first, then task by task, then the recipe.

Drawn from saved results alone, so that it can be drawn again without training.
"""

from __future__ import annotations

import json

from ramgru.lab.compare import findings, task_page
from ramgru.lab.compare.leaderboard import Standing, standings
from ramgru.lab.compare.results import Comparison
from ramgru.lab.show import plots, sentences
from ramgru.lab.show.data import Score, StatePoint, TimePoint
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, facts
from ramgru.lab.show.plots import bytes_text, percent, time_text
from ramgru.lab.show.theme import look


def page(comparison: Comparison) -> Page:
    """The whole report."""
    names = [look(layer, order).label for order, layer in enumerate(comparison.layers)]
    several = len(comparison.tasks) > 1
    sections = _overall(comparison) if several else []
    for task in comparison.tasks:
        for section in task_page.sections(task, comparison.config):
            title = f"{task.task}: {section.title}" if several else section.title
            sections.append(Section(title, section.parts))
    sections.append(Section("Repeat it", _recipe(comparison)))
    where = sentences.joined([task.task for task in comparison.tasks])
    if len(names) > 4:
        who = f"{len(names)} layers"
    else:
        who = f"{names[0]} beside {sentences.joined(names[1:])}" if names[1:] else names[0]
    return Page(
        f"{who} on {where}",
        _lead(comparison) if several else findings.headline(comparison.tasks[0]),
        sections,
        footer=f"Made by ramgru {comparison.machine.get('ramgru', '')}".rstrip(),
    )


def leaderboard_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a layer a row, the best first; its mean above chance, its score on each
    task, and what it costs."""
    tasks = [task.task for task in comparison.tasks]
    header = ["layer", "mean above chance", *tasks, "state", "train step", "streaming step"]
    rows = []
    for place in standings(comparison):
        scores = [_text(place.tasks.get(task)) for task in tasks]
        costs = [bytes_text(place.state_bytes), *map(_time, (place.train_us, place.step_us))]
        rows.append([look(place.layer).label, _text(place.mean), *scores, *costs])
    return header, rows


def _text(score: Score | None) -> str:
    return "–" if score is None else sentences.score_text(score)


def _time(microseconds: float | None) -> str:
    return "–" if microseconds is None else time_text(microseconds)


def _lead(comparison: Comparison) -> str:
    known = [place for place in standings(comparison) if place.mean is not None]
    parts = [f"{look(p.layer).label} {percent(p.mean.mean)}" for p in known if p.mean]
    return (
        f"Over {len(comparison.tasks)} tasks, how much of what lies between chance and every "
        f"answer right is reached: {sentences.joined(parts)}."
    )


def _overall(comparison: Comparison) -> list[Section]:
    header, rows = leaderboard_rows(comparison)
    known = [place for place in standings(comparison) if place.mean is not None]
    note = Text(
        "A task's score is the mean over all sizes of its evaluation, most of them far beyond "
        "those trained on. The first column is the mean over tasks of (score - chance) / (1 - "
        "chance). Below each its 95 % interval over seeds. State: bytes that one sequence carries, "
        "mean over tasks, at the longest size where it grows. A train step is told a token, a "
        "streaming step is one step of one sequence."
    )
    table = Table("All tasks", header, rows)
    return [
        Section("Leaderboard", [table, note]),
        *([Section("Over all tasks", _pictures(known))] if known else []),
    ]


def _pictures(known: list[Standing]) -> list[Picture]:
    scores = [(place, place.mean) for place in known if place.mean is not None]
    metric, where = "mean above chance", "over all tasks"
    state = [StatePoint(place.layer, round(place.state_bytes), score) for place, score in scores]
    pictures = [
        Picture(
            plots.score_against_state(state, metric, where),
            "Mean score above chance against bytes of recurrent state, a point a layer.",
            "More state is no more score by itself: what counts is how it is written and read.",
        )
    ]
    times = [
        TimePoint(place.layer, place.train_us, score)
        for place, score in scores
        if place.train_us is not None
    ]
    if times:
        pictures.append(
            Picture(
                plots.score_against_time(times, metric, where),
                "Mean score above chance against the time of a train step, a point a layer.",
                findings.by_time(times),
            )
        )
    return pictures


def _recipe(comparison: Comparison) -> list[Text | Code | Table]:
    config = json.dumps(comparison.config, indent=2, ensure_ascii=False)
    return [
        Text("The command; the same seeds give the same bits on the same machine and threads."),
        Code(comparison.command),
        Code(config, summary="The configuration"),
        facts("The machine", comparison.machine),
    ]
