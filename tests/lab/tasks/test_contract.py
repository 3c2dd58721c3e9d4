"""The contract of every task of the registry."""

import doctest
import importlib
import json
import pkgutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramgru.lab.tasks
from ramgru.lab.tasks import (
    IGNORE,
    TASKS,
    Batch,
    Task,
    exact_answers,
    from_config,
    from_text,
    get,
    to_config,
)

from .solvers import NONE, SOLVERS
from .text_solvers import missing, params

everywhere = pytest.mark.parametrize("name", params(TASKS))
EMPTY_STEPS = {  # tasks whose answers are given in steps of one blank input
    *("associative_recall", "compression", "copy", "cycle_navigation", "duplicate", "listops"),
    *("missing_duplicate", "odds_first", "parity", "priority_sort", "repeat_copy", "reverse"),
    "selective_copy",
}
FIXED = ("japanese_vowels", "spelling")  # real data, as large as they are


def drawn(task: Task, rows: int, seed: int) -> Batch:
    """A batch that was checked against the promises of Batch and Task."""
    batch = task.draw(rows, seed)
    shape = batch.inputs.shape[:2]
    assert shape[0] == rows
    assert batch.lengths.shape == (rows,)
    assert batch.lengths.dtype == batch.labels.dtype == np.int64
    assert batch.lengths.min() >= 1
    assert batch.lengths.max() == shape[1]
    if task.vocab_size:
        assert batch.inputs.dtype == np.int64
        assert batch.labels.shape == shape
        assert batch.inputs.min() >= 0
        assert batch.inputs.max() < task.vocab_size
        top = task.vocab_size
    else:
        assert batch.inputs.dtype == np.float32
        assert batch.inputs.shape == (*shape, task.features)
        assert batch.labels.shape == (shape if task.classes else (*shape, task.outputs))
        top = task.outputs if task.classes else 2
    answers = batch.labels[batch.labels != IGNORE]
    assert answers.size
    assert answers.min() >= 0
    assert answers.max() < top
    asked = (batch.labels != IGNORE).reshape(*shape, -1).any(axis=2)
    assert asked.any(axis=1).all(), "every example asks something"
    if task.name in EMPTY_STEPS and not task.options().get("exact"):
        assert np.unique(batch.inputs[asked]).size == 1, "no answer leaks into the inputs"
    beyond = np.arange(shape[1])[None] >= batch.lengths[:, None]
    assert not asked[beyond].any()
    assert (batch.inputs[beyond] == task.padding).all()
    for array in (batch.distance, batch.kind):
        if array is not None:
            assert array.shape == shape
            assert array.dtype == np.int64
            assert np.array_equal(array >= 0, asked)
            assert (array[~asked] == -1).all()
    assert (batch.kind is not None) == bool(task.kinds)
    if batch.kind is not None:
        assert batch.kind.max() < len(task.kinds)
    return batch


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in Batch.__dataclass_fields__]
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


def solved(task: Task, rows: int, seed: int) -> Batch:
    """A checked batch. The task's solver answers all that is asked, and has no answer elsewhere."""
    batch = drawn(task, rows, seed)
    predicted = SOLVERS[task.name](task, batch)
    assert exact_answers(batch, predicted).right.all()
    if not task.options().get("random_blanks"):  # which ask the solver for any key
        assert np.array_equal(predicted != NONE, batch.labels != IGNORE)
    return batch


@everywhere
def test_solver_answers_everything(name: str) -> None:
    batch = solved(get(name), 50, seed=3)
    assert len(exact_answers(batch, batch.labels).right) >= 50


@everywhere
def test_solver_answers_every_size_of_grid_and_curriculum(name: str) -> None:
    task = get(name)
    for sized in (*(entry.task for entry in task.grid()), *task.curriculum()):
        solved(sized, 2, seed=0)


@everywhere
def test_same_seed_same_bits(name: str) -> None:
    task = get(name)
    assert same(task.draw(5, 11), get(name).draw(5, 11))
    assert not same(task.draw(5, 11), task.draw(5, 12))


@everywhere
def test_batches_share_no_memory(name: str) -> None:
    task = get(name)
    first = task.draw(3, 0)
    first.inputs[:] = 0
    first.labels[:] = 0
    assert not same(first, task.draw(3, 0))


@everywhere
def test_config_survives_json(name: str) -> None:
    for entry in get(name).grid():
        assert from_config(json.loads(json.dumps(to_config(entry.task)))) == entry.task


@everywhere
def test_curriculum_ends_with_the_task(name: str) -> None:
    stages = get(name).curriculum()
    assert stages[-1] == get(name)
    assert len(set(stages)) == len(stages)
    assert len({stage.vocab_size for stage in stages}) == 1


@everywhere
def test_grid_holds_training_size_and_far_beyond(name: str) -> None:
    task = get(name)
    grid = task.grid()
    assert len({entry.task for entry in grid}) == len(grid)
    assert len({tuple(entry.axes) for entry in grid}) == 1
    for entry in grid:
        assert entry.task.vocab_size == task.vocab_size
        assert all(entry.task.options()[axis] == size for axis, size in entry.axes.items())
    if name in FIXED:
        assert [entry.task for entry in grid] == [task.held_out()] != [task]
        return
    longest = max(entry.task.draw(1, 0).inputs.shape[1] for entry in grid)
    assert longest >= 4 * task.draw(8, 0).inputs.shape[1]


@everywhere
def test_chance_and_plateau(name: str) -> None:
    task = get(name)
    assert 0 < task.chance < 1
    assert task.plateau is None or task.chance < task.plateau < 1


@pytest.mark.parametrize("name", ["mqar", "mqar,exact=yes", "copy"])
@pytest.mark.parametrize(
    ("rows", "seed", "error", "message"),
    [
        (0, 0, ValueError, "batch_size must be at least 1, got 0"),
        (2.5, 0, TypeError, "batch_size must be an integer, got 2.5"),
        (True, 0, TypeError, "batch_size must be an integer, got True"),
        (1, -1, ValueError, "seed must be (at least 0|from 0 to 4294967295), got -1"),
        (1, "0", TypeError, "seed must be an integer, got '0'"),
    ],
    ids=["no rows", "half a row", "bool", "negative seed", "text seed"],
)
def test_draw_arguments(
    name: str, rows: object, seed: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_text(name).draw(rows, seed)  # type: ignore[arg-type]


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Any task of any small size."""

    def size(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    def one(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    name = one(*sorted(name for name in TASKS if not missing(name)))
    n, extra, yes = size(1, 9), size(0, 9), one(False, True)
    lengths = {"min_length": n, "length": n + extra}
    longer = {"min_length": n + 1, "length": n + 1 + extra}
    sizes: dict[str, Any] = {
        "associative_recall": {"bits": size(1, 6), "vectors": size(1, 4)},
        "compression": {"vocab_size": 3 + extra, "length": 1 + n, "exact": yes},
        "copy": lengths | {"bits": size(1, 9)},
        "feature_recall": {
            **{"min_pairs": n, "pairs": n + extra, "noise": one(0.0, 0.1), "distractors": extra},
            **{"scale": one(0.1, 1.0, 10.0), "one_hot": one(0, n + extra, 64)},
        },
        "fuzzy_recall": {"key": size(1, 3), "value": size(1, 3), "vocab_size": 7 + extra},
        "hold": {"pairs": n, "noise": size(1, 9), "min_distance": extra},
        "in_context_recall": {"length": 2 * size(2, 20), "exact": yes},
        "japanese_vowels": {"split": one("train", "test")},
        "lag_recall": {"symbols": 2 + extra, "lag": n, "length": 3 * n + extra},
        "listops": {"length": 4 + extra, "arguments": size(2, 9), "depth": size(2, 6)},
        "missing_duplicate": longer,
        "mqar": {"pairs": n, "power": one(0.01, 0.5, 1.0, 2.0), "random_blanks": one(True, False)},
        "mqar_compositional": {"alphabet": 5 + extra, "key": size(3, 4), "pairs": 3 + n},
        "ngram_lookup": longer | {"n": size(1, n), "form": one("suffix", "prefix")},
        "phone_book": {"form": one("phone", "log"), "min_entries": n, "entries": n + extra},
        "priority_sort": {"bits": size(1, 9), "vectors": n + extra, "top": n},
        "programs": {
            **{"names": n + extra, "registers": n, "statements": n + 1 + extra},
            **{"digits": size(1, 4), "letters": size(1, 4), "writes": one(0.0, 0.3, 0.6)},
            **{"reads": one(0.0, 0.4), "keeps": one(0.0, 0.5, 1.0)},
        },
        "repeat_copy": lengths | {"bits": size(1, 9), "min_repeats": n, "repeats": n + extra},
        "selective_copy": {"vocab_size": 4 + extra, "tokens": n, "length": 2 * n + 1 + extra},
        "spelling": {"split": one("train", "test")},
        "text_lookup": {"questions": size(1, 3), "answer": n, "phrase": 5 + extra},
        "variable_tracking": {"form": one("names", "values"), "chains": n, "hops": size(1, 4)},
    }
    sizes["mqar_update"] = sizes["mqar"] | {"updates": size(0, n)}
    sizes["mqar"]["exact"] = yes
    sizes["noisy_recall"] = sizes["in_context_recall"] | {
        "noise": n,
        "fraction": one(0.0, 0.4, 0.9),
    }
    options = sizes.get(name, lengths)
    if name == "associative_recall":
        most = min(1 + n + extra, 2 ** (options["bits"] * options["vectors"]))
        options |= {"min_items": min(1 + n, most), "items": most}
    elif name == "fuzzy_recall":
        options["min_key"] = size(1, options["key"])
        options["length"] = 2 * (options["key"] + options["value"]) + 1 + 3 * extra
    elif name == "hold":
        options["vocab_size"] = 2 * n + 2 + options["noise"] + extra
        options["distance"] = extra + size(0, 9)
    elif name in ("in_context_recall", "noisy_recall"):
        options["vocab_size"] = 4 + n + extra
    elif name == "listops":
        options["min_length"] = 4
    elif name in ("mqar", "mqar_update"):
        options["vocab_size"] = 2 * n + 2 + extra
        options["length"] = 4 * n + 2 * options.get("updates", 0) + 2 * extra
    elif name == "mqar_compositional":
        options["vocab_size"] = 14 + 2 * n + extra
        options["min_key"] = size(3 if n == 2 else 2, options["key"])
        options["length"] = 2 * options["pairs"] * (options["key"] + 1) + extra
    elif name == "phone_book":
        options["questions"] = size(1, n)
    elif name == "text_lookup":
        options["length"] = options["questions"] * (n + 5 + extra) + size(0, 99)
        options["split"] = one("train", "test")
    elif name == "variable_tracking":
        names = n * (options["hops"] + 1)
        options |= {"vocab_size": 2 * names + 3 + extra, "noise": 1 + extra % 2}
        options["length"] = 3 * names + 1 + extra
    return get(name, **options)


@settings(max_examples=150, deadline=None)
@given(task=tasks(), rows=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_any_size(task: Task, rows: int, seed: int) -> None:
    assert same(solved(task, rows, seed), task.draw(rows, seed))


ONE_STEP_AHEAD = (  # tasks with teacher forcing: an answer is shown one step after it was asked for
    *("string_copy", "ngram_lookup", "ngram_lookup,form=prefix", "phone_book"),
    *("phone_book,form=log", "text_lookup", "programs", "in_context_recall", "noisy_recall"),
)


@pytest.mark.parametrize("task", ONE_STEP_AHEAD)
def test_answers_are_shown_one_step_later(task: str) -> None:
    batch = from_text(task).draw(20, 0)
    asked = batch.labels[:, :-1] != IGNORE
    assert np.array_equal(batch.inputs[:, 1:][asked], batch.labels[:, :-1][asked])


WITH_DISTANCE = (
    *("mqar,vocab_size=64,pairs=5,length=48", "mqar_update,vocab_size=64,pairs=5,length=48"),
    *("mqar_compositional", "hold,pairs=3", "selective_copy", "compression"),
    *("compression,exact=yes", "variable_tracking", "variable_tracking,form=values", "reverse"),
    *("duplicate", "odds_first", "missing_duplicate", "copy", "associative_recall"),
    *("priority_sort", *(task for task in ONE_STEP_AHEAD if task != "programs")),
)


@pytest.mark.parametrize("name", WITH_DISTANCE)
def test_distance_leads_to_the_answer(name: str) -> None:
    task = from_text(name)
    batch = task.draw(20, 0)
    assert batch.distance is not None
    row, step = np.nonzero(batch.distance >= 0)
    written = batch.inputs[row, step - batch.distance[row, step]]
    written = written[:, : task.outputs] if task.outputs else written
    assert np.array_equal(written, batch.labels[row, step])


def modules() -> list[str]:
    found = pkgutil.walk_packages(ramgru.lab.tasks.__path__, "ramgru.lab.tasks.")
    return ["ramgru.lab.tasks", *(entry.name for entry in found)]


@pytest.mark.parametrize("module", modules())
def test_examples_in_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mqar", {"vocab_size": 12, "pairs": 2, "length": 16}),
        ("mqar_update", {"vocab_size": 12, "pairs": 3, "updates": 1, "length": 16}),
        (
            "mqar_compositional",
            {"vocab_size": 20, "alphabet": 9, "key": 2, "pairs": 4, "length": 24},
        ),
        ("hold", {"vocab_size": 20, "noise": 6, "pairs": 2}),
        ("parity", {}),
        ("cycle_navigation", {}),
        ("in_context_recall", {"vocab_size": 8}),
        ("noisy_recall", {"vocab_size": 12, "noise": 4}),
        ("selective_copy", {"vocab_size": 8, "tokens": 3, "length": 12}),
        ("compression", {"vocab_size": 8}),
        ("variable_tracking", {"vocab_size": 24, "noise": 6, "hops": 1, "length": 19}),
        ("reverse", {}),
        ("duplicate", {}),
        ("odds_first", {}),
        ("missing_duplicate", {}),
        ("listops", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_docstring_shows_a_true_example(name: str, options: dict[str, int]) -> None:
    shown = {}
    for line in (TASKS[name].__doc__ or "").splitlines():
        word, *tokens = line.split() or [""]
        if word in ("inputs", "labels") and word not in shown:
            known = [t for t in tokens if t == "." or t.isdigit()]
            shown[word] = np.array([[IGNORE if t == "." else int(t) for t in known]])
    task = get(name, **options)
    inputs, labels = shown["inputs"], shown["labels"]
    labels = labels[:, : inputs.shape[1]]
    batch = Batch(inputs, labels, np.array([inputs.shape[1]]))
    if "length" in options:
        assert inputs.shape[1] == options["length"]
    assert exact_answers(batch, SOLVERS[name](task, batch)).right.all()
