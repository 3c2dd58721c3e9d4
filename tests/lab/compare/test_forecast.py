"""What a comparison says before it begins: where, how much, and about how long."""

from __future__ import annotations

import math
from dataclasses import replace

from ramgru.lab.compare import forecast
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.evaluate import Effort


def test_the_first_line_counts_runs_of_every_layer_rate_and_seed(small):
    config = replace(small, lr=(1e-3, 3e-3), seeds=(0, 1, 2))
    line = forecast.text(config).split(" · ")
    # two layers: each with two rates on the first seed, then two more seeds
    assert line[:4] == ["cpu, 1 thread", str(config.folder), "8 runs of 6 steps", "lr 0.001 0.003"]
    assert line[4].startswith("about ")
    assert not config.folder.exists()  # what is timed leaves nothing behind


def test_times_are_rounded_as_a_forecast_may_be():
    assert forecast.duration(4) == "10 seconds"
    assert forecast.duration(61) == "60 seconds"
    assert forecast.duration(400) == "7 minutes"
    assert forecast.duration(3 * 3600) == "3 hours"


def test_a_layer_that_fails_is_not_timed_and_says_so_when_it_runs(small, tmp_path, monkeypatch):
    (tmp_path / "fails.py").write_text("class Layer:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "about" not in forecast.text(replace(small, layers=("fails:Layer",)))


def test_evaluations_count_as_they_ask():
    """At least `questions` keys and `examples` sequences at each size."""
    config = CompareConfig(effort=Effort(questions=64, examples=2, max_length=256))
    sizes = [(4, 64), (8, 64), (16, 64), (64, 256)]
    asked = sum(max(2, math.ceil(64 / pairs)) * length for pairs, length in sizes)
    assert forecast._tokens(config.task, config) == asked
