"""A comparison that was never run, with all that a report can show, and one small enough to run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ramgru.lab import tasks
from ramgru.lab.compare import CompareConfig
from ramgru.lab.compare.results import Comparison, DistanceRow, Memory, Results, Row, Run, Trial
from ramgru.lab.evaluate import Effort
from ramgru.lab.show.data import Answer, Curve, Occupancy, Sample
from ramgru.lab.train import ModelConfig

SIZES = ((16, 64), (256, 1024), (1024, 4096))


def run(layer: str, seed: int, scores: tuple[float, ...]) -> Run:
    rows = [
        Row(
            {"pairs": p, "length": n},
            s,
            2048,
            max(0.0, s - 0.01),
            min(1.0, s + 0.01),
            2 / 8192,
            1 / p,
        )
        for (p, n), s in zip(SIZES, scores)
    ]
    distance = [
        DistanceRow(8, 15, scores[0], 100, (scores[0] - 0.01, scores[0])),
        DistanceRow(16, 31, scores[1], 100, (scores[1] - 0.01, scores[1])),
    ]
    curve = Curve(layer, seed, (10, 20), (9.0, 0.5), (20,), (scores[0],))
    state = {"ramgru": 2**24, "gru": 1024, "mingru": 512}[layer]
    return Run(
        f"{layer}-lr0.003-seed{seed}",
        "mqar",
        layer,
        seed,
        3e-3,
        1_000_000,
        state,
        20,
        12.5,
        curve,
        rows,
        distance,
        step_us=60.0,
        train_us={"ramgru": 2.0, "gru": 1.0, "mingru": 0.5}[layer],
        touched_bytes=384 if layer == "ramgru" else None,
    )


@pytest.fixture
def results() -> Results:
    counts = np.zeros((1, 64), dtype=np.int64)
    counts[0, [3, 9]] = 5, 1
    weight = [0.0, 0.9, 0.0, 0.1, 0.0, 0.0]
    sample = Sample(
        list("abcdab"), [Answer(4, "b", "b", weight, 1), Answer(5, "d", "b", weight, 3)]
    )
    return Results(
        task="mqar",
        metric="recall",
        trained={"pairs": 16, "length": 64},
        runs=[
            run("ramgru", 0, (1.0, 0.98, 0.94)),
            run("ramgru", 1, (1.0, 0.99, 0.96)),
            run("gru", 0, (0.0625, 0.004, 0.001)),
            run("gru", 1, (0.0625, 0.004, 0.001)),
        ],
        tried=[
            Trial("gru", 3e-3, 0.06, 3.0, 20, given_up=False, chosen=True),
            Trial("gru", 1e-2, 0.05, 3.5, 5, given_up=True, chosen=False),
            Trial("gru", 1.0, None, None, 2, given_up=False, chosen=False),
        ],
        memory=Memory(
            "ramgru-lr0.003-seed0", Occupancy.of(counts), {"pairs": 1024, "length": 4096}, sample
        ),
    )


@pytest.fixture
def comparison(results) -> Comparison:
    return Comparison(
        [results],
        command="ramgru compare mqar --seeds 0 1",
        config={"steps": 20, "note": "<b>not bold</b>"},
        machine={"processor": "a processor", "ramgru": "0.1.0"},
    )


@pytest.fixture
def two_tasks(comparison, results) -> Comparison:
    """The same on another task, where minGRU is in place of nn.GRU, and all are half as good."""
    runs = [
        replace(
            run,
            task="parity",
            layer="mingru" if run.layer == "gru" else run.layer,
            rows=[replace(row, axes={"length": 9}, score=row.score / 2) for row in run.rows[:1]],
        )
        for run in results.runs
    ]
    parity = replace(results, task="parity", metric="accuracy", trained={}, runs=runs, tried=[])
    return replace(comparison, tasks=[results, replace(parity, memory=None)])


@pytest.fixture
def small(tmp_path) -> CompareConfig:
    """Two peers on a tiny task: a run takes a second."""
    return CompareConfig(
        task=tasks.get("mqar", vocab_size=32, pairs=2, length=16),
        layers=("gru", "mingru"),
        model=ModelConfig(d_model=8, num_layers=1),
        equal="nothing",
        steps=6,
        batch_size=32,
        effort=Effort(questions=16, examples=2, max_length=64),
        threads=1,
        device="cpu",
        out=tmp_path / "compare",
    )
