"""Names of tasks, options as values and as text, and error messages."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from ramgru.lab.tasks import MQAR, SOURCES, TASKS, Text, from_config, get, to_config


def test_names() -> None:
    assert set(TASKS) >= {"mqar", "mqar_update", "copy", "parity", "programs"}
    assert set(SOURCES) == {"text", "tokens", "lines", "table", "file"}
    assert all(cls.name == name for name, cls in {**TASKS, **SOURCES}.items())


def test_options_as_text() -> None:
    task = get("mqar", pairs="16", length="128", power="0.5", random_blanks="yes", exact="false")
    assert task == MQAR(pairs=16, length=128, power=0.5, random_blanks=True, exact=False)


def test_options_as_values(tmp_path: Path) -> None:
    assert get("mqar", pairs=np.int64(4), length=64.0, power=1) == MQAR(pairs=4, power=1.0)
    assert type(get("mqar", pairs=np.int64(4)).options()["pairs"]) is int
    path = tmp_path / "a.txt"
    path.write_text("to be or not to be")
    assert get("text", path=path, length=3) == Text(str(path), length=3)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "mqr",
            {},
            ValueError,
            r"unknown task 'mqr'; did you mean mqar\? Known: associative_recall, ",
        ),
        ("zzz", {}, ValueError, r"unknown task 'zzz'; Known: associative_recall, "),
        ("mqar", {"pair": 3}, TypeError, r"mqar has no option 'pair'; did you mean pairs\? Known"),
        ("mqar", {"pairs": "many"}, ValueError, "pairs of task mqar must be of type int, got 'ma"),
        ("mqar", {"pairs": 2.5}, ValueError, "pairs of task mqar must be of type int, got 2.5"),
        ("mqar", {"pairs": True}, ValueError, "pairs of task mqar must be of type int, got True"),
        ("mqar", {"exact": "maybe"}, ValueError, "must be of type bool, got 'maybe'"),
        ("mqar", {"power": "x"}, ValueError, "must be of type float, got 'x'"),
        ("text", {"path": 3}, ValueError, "must be of type str, got 3"),
        ("file", {}, ValueError, "task file needs the option path"),
        ("text", {}, ValueError, "task text needs the option path"),
    ],
)
def test_errors(
    name: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        get(name, **options)


@pytest.mark.parametrize(
    "config",
    [None, [], {}, {"name": 3}, {"name": "mqar", "options": [1]}],
    ids=["none", "list", "empty", "number", "options as a list"],
)
def test_config_that_is_none(config: object) -> None:
    with pytest.raises(ValueError, match="task"):
        from_config(config)  # type: ignore[arg-type]


def test_config_holds_every_option() -> None:
    assert to_config(MQAR(pairs=3)) == {
        "name": "mqar",
        "options": {
            "vocab_size": 8192,
            "pairs": 3,
            "length": 64,
            "power": 0.01,
            "random_blanks": False,
            "exact": False,
        },
    }


def test_config_of_numpy_sizes_is_json() -> None:
    config = to_config(MQAR(pairs=np.int64(3), power=np.float64(0.5)))  # type: ignore[arg-type]
    assert from_config(json.loads(json.dumps(config))) == MQAR(pairs=3, power=0.5)


def test_tasks_are_frozen_and_resized_as_copies() -> None:
    task = MQAR()
    assert task.resized(pairs=4) == MQAR(pairs=4)
    assert task == MQAR()
    with pytest.raises(FrozenInstanceError):
        task.pairs = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="pears"):
        task.resized(pears=3)
    assert task.held_out() is task
