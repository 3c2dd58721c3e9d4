"""The learning-rate schedule, the curriculum and early stopping against closed forms."""

from __future__ import annotations

import json
import math
import signal

import pytest

from ramgru.lab import tasks
from ramgru.lab.train import TrainConfig
from ramgru.lab.train.rules import Curriculum, Interruption, StopRule, learning_rate, write_cost


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_warm_up_is_linear(schedule):
    config = TrainConfig(steps=100, lr=2.0, warmup=4, schedule=schedule)
    assert [learning_rate(config, s) for s in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("schedule", "quarter", "middle", "end"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("cosine", (1 + math.sqrt(0.5)) / 2, 0.5, 0.0),
        ("linear", 0.75, 0.5, 0.0),
    ],
)
def test_schedule_after_the_warm_up(schedule, quarter, middle, end):
    config = TrainConfig(steps=110, lr=1.0, warmup=10, schedule=schedule)
    rates = [learning_rate(config, step) for step in (35, 60, 110)]
    assert rates == pytest.approx([quarter, middle, end])


def test_no_steps_after_the_warm_up():
    assert learning_rate(TrainConfig(steps=5, lr=1.0, warmup=5), 5) == 1.0


def test_the_write_cost_rises_linearly_over_all_steps():
    config = TrainConfig(steps=200, warmup=50, write_cost=0.4)
    costs = [write_cost(config, step) for step in (0, 50, 100, 199, 200, 300)]
    assert costs == pytest.approx([0, 0.1, 0.2, 0.398, 0.4, 0.4])
    assert write_cost(TrainConfig(steps=200, write_cost=0.0), 100) == 0


def stages(count: int) -> list[tasks.Task]:
    return [tasks.get("parity", length=5 * (i + 1)) for i in range(count)]


def test_curriculum_goes_on_at_the_target():
    curriculum, again = (Curriculum(stages(3), target=0.9, budget=1000) for _ in range(2))
    assert not curriculum.update(10, 0.89)
    assert curriculum.update(20, 0.9)
    again.load_state_dict(curriculum.state_dict())
    for each in (curriculum, again):
        assert (each.stage, each.entered, each.task.length) == (1, 20, 10)
        assert each.update(30, 1.0)
        assert each.last
        assert not each.update(40, 1.0)


def test_curriculum_goes_on_after_its_share():
    """Two stages before the last one share 100 steps."""
    curriculum = Curriculum(stages(3), target=0.9, budget=100)
    assert [curriculum.update(step, 0.0) for step in (49, 60, 100, 110)] == [False, True] * 2


def test_curriculum_of_tasks_that_do_not_fit():
    odd = [tasks.get("copy", bits=4), tasks.get("copy", bits=8)]
    with pytest.raises(ValueError, match=r"stages must agree .*copy\.curriculum"):
        Curriculum(odd, target=0.9, budget=1)


def test_stop_at_the_target():
    rule = StopRule(target=0.9, patience=0)
    for score, reason in ((0.89, None), (0.9, "target")):
        rule.update(score, 1.0)
        assert rule.reason == reason


def test_patience_counts_evaluations_without_progress():
    rule = StopRule(target=None, patience=2)
    for score, loss in [(0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.4, 0.9)]:
        rule.update(score, loss)
        assert rule.reason is None
    rule.update(0.5, 0.95)
    assert rule.reason == "patience"
    rule.update(0.5, 1.0, patient=True)  # while the curriculum is at an easier size
    assert rule.reason is None


def test_stop_rule_survives_a_checkpoint():
    """With its reason: a finished run that is resumed does not continue."""
    rule, again = StopRule(0.5, 3), StopRule(0.5, 3)
    again.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    assert again.reason is None
    rule.update(0.6, 1.0)
    rule.update(0.4, 2.0)
    again.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    assert (again.reason, again.stale, again.best_loss) == ("target", 1, 1.0)


def test_second_signal_has_its_usual_effect():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a build may ignore SIGINT
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert interruption.signal == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
