import pytest

from ramgru.lab.compare.levers import points as module
from ramgru.lab.compare.levers.config import StudyConfig
from ramgru.lab.compare.levers.points import LEVERS, Lever, Point, points_of
from ramgru.lab.train.build import ModelConfig, RAMOptions, build_model

START = ModelConfig()
DEFAULT = Point("default", {})


@pytest.mark.parametrize("lever", LEVERS)
def test_the_default_is_a_point_of_every_lever(lever):
    points = points_of([lever], START)[lever]
    assert points.count(DEFAULT) == 1
    assert len({point.name for point in points}) == len(points) > 3


def test_the_default_stands_in_its_place_among_the_numbers_of_cells():
    points = points_of(["cells"], START)["cells"]
    sizes = [point.model(START).ram.memory_size for point in points]
    assert sizes == [2**bits for bits in range(4, 21, 4)]
    assert points[sizes.index(65_536)] == DEFAULT


def test_another_start_has_another_default():
    start = ModelConfig(ram=RAMOptions(top_k=2, memory_size=500))
    names = [point.name for point in points_of(["structure"], start)["structure"]]
    assert names.count("default") == 1
    assert "top_k 2" not in names
    assert DEFAULT.model(start) == start


def test_options_that_the_layer_does_not_have_leave_their_point_out():
    lever = Lever("x", "?", ({"top_k": 1}, {"no_such_option": 3}, {"top_k": 1}))
    assert lever.points(START) == [DEFAULT, Point("top_k 1", {"top_k": 1})]


@pytest.mark.parametrize("lever", LEVERS)
def test_every_point_makes_a_model(lever):
    task = StudyConfig().task
    for point in points_of([lever], START)[lever]:
        model = point.model(ModelConfig(d_model=8, num_layers=1))
        assert build_model(model, task).layers[0].top_k == model.ram.top_k


def test_full_crosses_the_levers(monkeypatch):
    short = {
        "a": Lever("a", "?", ({"gate_bias": 3.0},)),
        "b": Lever("b", "?", ({"top_k": 1}, {"top_k": 2})),
    }
    monkeypatch.setattr(module, "LEVERS", short)
    found = points_of(["a", "b"], START, full=True)
    assert [point.name for point in found["crossed"]] == [
        *("default", "top_k 1", "top_k 2"),
        *("gate_bias 3", "gate_bias 3 · top_k 1", "gate_bias 3 · top_k 2"),
    ]
    assert found["crossed"][-1].options == {"gate_bias": 3.0, "top_k": 2}


def test_numbers_are_written_to_be_read():
    ram = RAMOptions()
    assert module.named({"memory_size": 1024}, ram).name == "memory_size 1,024"
    assert module.named({"offsets": (0, 2)}, ram).name == "offsets 0, 2"
    assert module.named({"gate_bias": -1.0}, ram).name == "gate_bias -1"
