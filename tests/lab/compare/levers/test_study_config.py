from dataclasses import replace

import pytest

from ramgru.lab.compare.levers.config import StudyConfig
from ramgru.lab.show import machine
from ramgru.lab.train import ModelConfig


def test_defaults_pull_every_lever_on_mqar():
    config = StudyConfig()
    assert (config.task.name, config.task.pairs, config.task.length) == ("mqar", 16, 64)
    assert list(config.points()) == ["gates", "cells", "structure"]
    assert str(config.folder) == "runs/study-mqar"
    assert "storage" not in config.as_dict()


def test_every_run_is_made_once_and_the_first_seed_first():
    config = StudyConfig(seeds=(3, 1))
    runs = list(config.runs().values())
    points = {point.name for of in config.points().values() for point in of}
    assert len(runs) == 2 * len(points)
    assert {point.name for point, _ in runs[: len(points)]} == points
    assert {seed for _, seed in runs[: len(points)]} == {3}


def test_runs_differ_in_options_of_the_layer_alone():
    config = StudyConfig()
    one, other = (config.training(point, 0) for point in config.points()["gates"][:2])
    assert one != other
    model = replace(other.model, ram=one.model.ram)
    assert replace(other, model=model) == one


def test_as_many_runs_at_a_time_as_there_are_processors(monkeypatch):
    monkeypatch.setattr("ramgru.lab.compare.levers.config.cpu_count", lambda: 6)
    assert StudyConfig(threads=2).at_a_time == 3
    assert StudyConfig(threads=8).at_a_time == 1
    assert StudyConfig(threads=2, jobs=5).at_a_time == 5
    assert machine.cpu_count() >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levers": ()}, "levers must hold at least one entry"),
        ({"levers": ("cells", "cells")}, "levers must not hold an entry twice"),
        ({"levers": ("width",)}, "levers must be among gates, cells, structure, got 'width'"),
        ({"seeds": ()}, "seeds must hold at least one entry"),
        ({"seeds": (-1,)}, "seeds must not be negative"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"jobs": -1}, "jobs must not be negative, got -1"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"model": ModelConfig(layer="gru")}, "model describes the RAM-GRU, .* got layer 'gru'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**options)
