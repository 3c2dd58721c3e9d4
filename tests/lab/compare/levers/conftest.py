"""A study that was never run, with all that a report can show, and one small enough to run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ramgru.lab import tasks
from ramgru.lab.compare.levers.config import StudyConfig
from ramgru.lab.compare.levers.cost import Cost
from ramgru.lab.compare.levers.results import PointRun, Results
from ramgru.lab.compare.results import Row, Run
from ramgru.lab.evaluate import Effort
from ramgru.lab.show.data import Curve
from ramgru.lab.train import ModelConfig
from ramgru.lab.train.build import RAMOptions

SIZES = ((16, 64), (256, 1024))
POINTS = {
    "default": {},
    "gate_bias 3": {"gate_bias": 3.0},
    "memory_size 64": {"memory_size": 64},
    "top_k 1": {"top_k": 1},
}
SCORES = {
    "default": (1.0, 0.9),
    "gate_bias 3": (1.0, 0.96),
    "memory_size 64": (1.0, 0.25),
    "top_k 1": (0.5, 0.0),
}


def point_run(point: str, seed: int, scores: tuple[float, ...]) -> PointRun:
    rows = [
        Row({"pairs": p, "length": n}, s, 2048, max(0.0, s - 0.01), min(1.0, s + 0.01), 1 / 4096)
        for (p, n), s in zip(SIZES, scores)
    ]
    rows = [replace(row, plateau=1 / row.axes["pairs"]) for row in rows]
    cells = POINTS[point].get("memory_size", 65_536)
    curve = Curve("ramgru", seed, (10, 20), (9.0, 0.5), (20,), (scores[0],))
    run = Run(
        name=f"ramgru-{point}-{seed}",
        task="mqar",
        layer="ramgru",
        seed=seed,
        lr=3e-3,
        parameters=1000,
        state_bytes=4 * 10 * cells,
        steps=20,
        seconds=12.5,
        curve=curve,
        rows=rows,
        distance=[],
    )
    return PointRun(point, run, Cost(50.0 + seed, 2.0, 6144, 7000.0, [16, 256], 10))


@pytest.fixture
def results() -> Results:
    return Results(
        task="mqar",
        metric="recall",
        trained={"pairs": 16, "length": 64},
        levers={
            "gates": ["default", "gate_bias 3"],
            "cells": ["memory_size 64", "default"],
            "structure": ["default", "top_k 1"],
        },
        options=POINTS,
        runs=[point_run(p, seed, scores) for seed in (0, 1) for p, scores in SCORES.items()],
        command="ramgru study mqar",
        config={
            **{"steps": 20, "batch_size": 4, "lr": 3e-3, "seeds": [0, 1]},
            **{"model": {"ram": {"memory_size": 65_536}}, "note": "<b>not bold</b>"},
        },
        machine={"processor": "a processor", "ramgru": "0.1.0"},
    )


@pytest.fixture
def small(tmp_path) -> StudyConfig:
    """The gates of a tiny model on a tiny task: a run takes a second."""
    return StudyConfig(
        task=tasks.get("mqar", vocab_size=32, pairs=2, length=16),
        levers=("gates",),
        model=ModelConfig(d_model=8, num_layers=1, ram=RAMOptions(memory_size=64)),
        steps=6,
        batch_size=4,
        seeds=(0,),
        effort=Effort(questions=16, examples=2),
        jobs=2,
        device="cpu",
        out=tmp_path / "study",
    )
