"""What every task of the registry promises, whatever it asks."""

import doctest
import importlib
import json
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramgru.lab.tasks
from ramgru.lab.tasks import IGNORE, TASKS, Batch, Task, exact_answers, from_config, get, to_config

from .solvers import SOLVERS
from .text_solvers import missing, params

everywhere = pytest.mark.parametrize("name", params(TASKS))
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


@everywhere
def test_solver_answers_everything(name: str) -> None:
    task = get(name)
    batch = drawn(task, 50, seed=3)
    result = exact_answers(batch, SOLVERS[name](task, batch))
    assert result.right.all()
    assert len(result.right) >= 50


@everywhere
def test_solver_answers_every_size_of_grid_and_curriculum(name: str) -> None:
    task = get(name)
    for sized in (*(entry.task for entry in task.grid()), *task.curriculum()):
        batch = drawn(sized, 2, seed=0)
        assert exact_answers(batch, SOLVERS[name](sized, batch)).right.all()


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


@everywhere
@pytest.mark.parametrize(
    ("rows", "seed", "error", "message"),
    [
        (0, 0, ValueError, "batch_size must be at least 1, got 0"),
        (2.5, 0, TypeError, "batch_size must be an integer, got 2.5"),
        (True, 0, TypeError, "batch_size must be an integer, got True"),
        (1, -1, ValueError, "seed must be at least 0, got -1"),
        (1, "0", TypeError, "seed must be an integer, got '0'"),
    ],
    ids=["no rows", "half a row", "bool", "negative seed", "text seed"],
)
def test_draw_arguments(
    name: str, rows: object, seed: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        get(name).draw(rows, seed)  # type: ignore[arg-type]


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Any task of any small size."""
    name = draw(st.sampled_from(sorted(name for name in TASKS if not missing(name))))
    count = draw(st.integers(1, 9))
    extra = draw(st.integers(0, 9))
    if name in ("mqar", "mqar_update"):
        updates = draw(st.integers(0, count)) if name == "mqar_update" else 0
        options = {
            "vocab_size": 2 * count + 2 + extra,
            "pairs": count,
            "length": 4 * count + 2 * updates + 2 * extra,
            "power": draw(st.sampled_from([0.01, 0.5, 1.0, 2.0])),
            "random_blanks": draw(st.booleans()),
        }
        options |= {"exact": draw(st.booleans())} if name == "mqar" else {"updates": updates}
        return get(name, **options)
    if name == "mqar_compositional":
        key = draw(st.integers(3, 4))
        return get(
            name,
            vocab_size=14 + 2 * count + extra,
            alphabet=5 + extra,
            min_key=draw(st.integers(3 if count == 2 else 2, key)),
            key=key,
            pairs=3 + count,
            length=2 * (3 + count) * (key + 1) + extra,
        )
    if name == "hold":
        noise = draw(st.integers(1, 9))
        return get(
            name,
            vocab_size=2 * count + 2 + noise + extra,
            pairs=count,
            min_distance=extra,
            distance=extra + draw(st.integers(0, 9)),
            noise=noise,
        )
    if name == "associative_recall":
        bits, vectors = draw(st.integers(1, 6)), draw(st.integers(1, 4))
        most = min(1 + count + extra, 2 ** (bits * vectors))
        least = min(1 + count, most)
        return get(name, bits=bits, vectors=vectors, min_items=least, items=most)
    if name == "programs":
        return get(
            name,
            names=count + extra,
            registers=count,
            statements=count + 1 + extra,
            digits=draw(st.integers(1, 4)),
            letters=draw(st.integers(1, 4)),
            writes=draw(st.sampled_from([0.0, 0.3, 0.6])),
            reads=draw(st.sampled_from([0.0, 0.4])),
            keeps=draw(st.sampled_from([0.0, 0.5, 1.0])),
        )
    if name in ("in_context_recall", "noisy_recall"):
        noisy = {"noise": count, "fraction": draw(st.sampled_from([0.0, 0.4, 0.9]))}
        options = {"vocab_size": 4 + count + extra, "length": 2 * draw(st.integers(2, 20))}
        options |= {"exact": draw(st.booleans())} | (noisy if name == "noisy_recall" else {})
        return get(name, **options)
    if name == "selective_copy":
        return get(name, vocab_size=4 + extra, tokens=count, length=2 * count + 1 + extra)
    if name == "compression":
        return get(name, vocab_size=3 + extra, length=1 + count, exact=draw(st.booleans()))
    if name == "priority_sort":
        return get(name, bits=draw(st.integers(1, 9)), vectors=count + extra, top=count)
    if name == "variable_tracking":
        hops = draw(st.integers(1, 4))
        names = count * (hops + 1)
        return get(
            name,
            form=draw(st.sampled_from(["names", "values"])),
            vocab_size=2 * names + 3 + extra,
            chains=count,
            hops=hops,
            length=3 * names + 1 + extra,
            noise=1 + extra % 2,
        )
    if name == "listops":
        arguments, depth = draw(st.integers(2, 9)), draw(st.integers(2, 6))
        return get(name, min_length=4, length=4 + extra, arguments=arguments, depth=depth)
    if name == "text_lookup":
        sizes = {"questions": draw(st.integers(1, 3)), "answer": count, "phrase": 5 + extra}
        length = sizes["questions"] * (count + 5 + extra) + draw(st.integers(0, 99))
        return get(name, **sizes, length=length, split=draw(st.sampled_from(["train", "test"])))
    if name == "phone_book":
        form, asked = draw(st.sampled_from(["phone", "log"])), draw(st.integers(1, count))
        sizes = {"min_entries": count, "entries": count + extra, "questions": asked}
        return get(name, form=form, **sizes)
    if name in FIXED:
        return get(name, split=draw(st.sampled_from(["train", "test"])))
    options: dict[str, object] = {"min_length": count, "length": count + extra}
    if name == "missing_duplicate":
        options = {"min_length": count + 1, "length": count + 1 + extra}
    if name == "repeat_copy":
        options |= {"min_repeats": count, "repeats": count + extra}
    if name in ("copy", "repeat_copy"):
        options["bits"] = draw(st.integers(1, 9))
    if name == "ngram_lookup":
        options["n"] = draw(st.integers(1, count))
        options |= {"min_length": count + 1, "length": count + 1 + extra}
        options["form"] = draw(st.sampled_from(["suffix", "prefix"]))
    return get(name, **options)


@settings(max_examples=150, deadline=None)
@given(task=tasks(), rows=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_any_size(task: Task, rows: int, seed: int) -> None:
    batch = drawn(task, rows, seed)
    assert same(batch, task.draw(rows, seed))
    assert exact_answers(batch, SOLVERS[task.name](task, batch)).right.all()


def test_distance_leads_to_the_answer() -> None:
    for task in (
        get("mqar", vocab_size=64, pairs=5, length=48),
        get("mqar_update", vocab_size=64, pairs=5, length=48),
        get("mqar_compositional"),
        get("hold", pairs=3),
        get("string_copy"),
        get("ngram_lookup"),
        get("ngram_lookup", form="prefix"),
        get("in_context_recall"),
        get("noisy_recall"),
        get("selective_copy"),
        get("compression"),
        get("compression", exact=True),
        get("variable_tracking"),
        get("variable_tracking", form="values"),
        get("reverse"),
        get("duplicate"),
        get("odds_first"),
        get("missing_duplicate"),
        get("text_lookup"),
        get("phone_book"),
        get("phone_book", form="log"),
    ):
        batch = task.draw(20, 0)
        row, step = np.nonzero(batch.distance >= 0)
        written = batch.inputs[row, step - batch.distance[row, step]]
        assert np.array_equal(written, batch.labels[row, step])
    for task in (get("copy"), get("associative_recall"), get("priority_sort")):
        batch = task.draw(20, 0)
        row, step = np.nonzero(batch.distance >= 0)
        written = batch.inputs[row, step - batch.distance[row, step], : task.outputs]
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
