"""The learning rate, the curriculum and the stopping rule: small machines, closed forms."""

from __future__ import annotations

import math

import pytest

from ramgru.lab import tasks
from ramgru.lab.train.curriculum import Curriculum
from ramgru.lab.train.schedule import learning_rate
from ramgru.lab.train.stop import StopRule


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_warm_up_is_a_line(schedule):
    rates = [learning_rate(s, 100, lr=2.0, warmup=4, schedule=schedule) for s in range(5)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("constant", 1.0, 1.0), ("cosine", 0.5, 0.0), ("linear", 0.5, 0.0)],
)
def test_course_after_the_warm_up(schedule, middle, end):
    rate = lambda step: learning_rate(step, 110, lr=1.0, warmup=10, schedule=schedule)  # noqa: E731
    assert rate(60) == pytest.approx(middle)
    assert rate(110) == pytest.approx(end)
    quarter = {"constant": 1.0, "cosine": (1 + math.sqrt(0.5)) / 2, "linear": 0.75}[schedule]
    assert rate(35) == pytest.approx(quarter)


def test_no_steps_after_the_warm_up():
    assert learning_rate(5, 5, lr=1.0, warmup=5, schedule="cosine") == 1.0


def stages(count: int) -> list[tasks.Task]:
    return [tasks.get("parity", length=5 * (i + 1)) for i in range(count)]


def test_curriculum_goes_on_at_the_target():
    curriculum = Curriculum(stages(3), target=0.9, budget=1000)
    assert not curriculum.update(10, 0.89)
    assert curriculum.update(20, 0.9)
    assert (curriculum.stage, curriculum.entered, curriculum.task.length) == (1, 20, 10)
    assert curriculum.update(30, 1.0)
    assert curriculum.last
    assert not curriculum.update(40, 1.0)


def test_curriculum_goes_on_after_its_share():
    """Two stages before the last share 100 steps."""
    curriculum = Curriculum(stages(3), target=0.9, budget=100)
    assert not curriculum.update(49, 0.0)
    assert curriculum.update(60, 0.0)
    assert not curriculum.update(100, 0.0)
    assert curriculum.update(110, 0.0)


def test_curriculum_survives_a_checkpoint():
    first, second = (Curriculum(stages(3), target=0.9, budget=100) for _ in range(2))
    first.update(20, 1.0)
    second.load_state_dict(first.state_dict())
    assert (second.stage, second.entered) == (1, 20)


def test_curriculum_of_tasks_that_do_not_fit():
    odd = [tasks.get("copy", bits=4), tasks.get("copy", bits=8)]
    with pytest.raises(ValueError, match=r"stages must agree .*copy\.curriculum"):
        Curriculum(odd, target=0.9, budget=1)


def test_stop_at_the_target():
    rule = StopRule(target=0.9, patience=0)
    rule.update(0.89, 1.0)
    assert rule.reason is None
    rule.update(0.9, 1.0)
    assert rule.reason == "target"


def test_patience_counts_evaluations_without_progress():
    rule = StopRule(target=None, patience=2)
    for score, loss in [(0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.4, 0.9)]:
        rule.update(score, loss)
        assert rule.reason is None
    rule.update(0.5, 0.95)
    assert rule.reason == "patience"


def test_patience_waits_for_the_curriculum():
    rule = StopRule(target=None, patience=1)
    for _ in range(5):
        rule.update(0.5, 1.0, patient=True)
    assert rule.reason is None


def test_stop_rule_survives_a_checkpoint():
    """The reason too: a finished run that is resumed does not go on."""
    rule, again = StopRule(0.5, 3), StopRule(0.5, 3)
    again.load_state_dict(rule.state_dict())
    assert again.reason is None
    rule.update(0.6, 1.0)
    rule.update(0.4, 2.0)
    again.load_state_dict(rule.state_dict())
    assert (again.reason, again.stale, again.best_loss) == ("target", 1, 1.0)
