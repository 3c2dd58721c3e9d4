"""The peer's bits, the fast draw's distribution, sizes and errors."""

import hashlib

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, MQAR, Batch, MQARUpdate


def digest(batch: Batch) -> str:
    content = batch.inputs.astype("<i8").tobytes() + batch.labels.astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(
    ("task", "rows", "seed", "expected"),
    [
        (MQAR(vocab_size=64, length=32, pairs=4, exact=True), 100, 0, "f8e59f854b5dc7a6"),
        (MQAR(vocab_size=8192, length=256, pairs=64, exact=True), 20, 123, "12ddfabe18d0b541"),
    ],
    ids=["V=64 T=32", "V=8192 T=256"],
)
def test_exact_draw_has_the_bits_of_zoology(
    task: MQAR, rows: int, seed: int, expected: str
) -> None:
    assert digest(task.draw(rows, seed)) == expected


def test_exact_draw_leaves_numpys_global_generator_alone() -> None:
    before = np.random.get_state()[1]  # noqa: NPY002  # it is what the peer changes
    MQAR(exact=True).draw(2, 0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_exact_blanks_are_those_of_torch() -> None:
    import torch

    blank = MQAR(vocab_size=64, pairs=4, length=32, exact=True).draw(10, 3)
    filled = MQAR(vocab_size=64, pairs=4, length=32, exact=True, random_blanks=True).draw(10, 3)
    expected = torch.randint(64, (10, 32), generator=torch.Generator().manual_seed(3)).numpy()
    assert np.array_equal(filled.inputs, np.where(blank.inputs == 0, expected, blank.inputs))
    assert np.array_equal(filled.labels, blank.labels)


def frequencies(batch: Batch, task: MQAR) -> np.ndarray:
    """Of keys, of values, of the places of questions, and of places by the question's number."""
    context = 2 * task.pairs
    keys = np.bincount(batch.inputs[:, 0:context:2].ravel(), minlength=task.vocab_size)
    values = np.bincount(batch.inputs[:, 1:context:2].ravel(), minlength=task.vocab_size)
    first_key = batch.inputs[:, :1]
    places = (batch.labels != IGNORE).sum(axis=0)
    first = (batch.inputs[:, context:] == first_key).sum(axis=0)
    return np.concatenate([keys, values, places, first])


def test_fast_draw_has_the_distribution_of_the_exact_one() -> None:
    task = MQAR(vocab_size=24, pairs=4, length=32)
    rows = 6000
    fast = frequencies(task.draw(rows, 0), task)
    exact = frequencies(task.resized(exact=True).draw(rows, 0), task)
    assert np.array_equal(fast == 0, exact == 0)
    used = fast > 0
    difference = (fast - exact)[used] / np.sqrt((fast + exact)[used])
    assert np.abs(difference).max() < 4  # a count differs by its own spread, no more
    assert 0.5 < np.mean(difference**2) < 1.5


def test_power_law_of_the_gaps() -> None:
    steps = 12
    task = MQAR(vocab_size=64, pairs=1, length=2 + 2 * steps, power=0.01)
    places = (task.draw(20_000, 0).labels != IGNORE).sum(axis=0)[2::2]
    weights = np.arange(1, steps + 1) ** -0.99
    expected = 20_000 * weights / weights.sum()
    assert np.abs((places - expected) / np.sqrt(expected)).max() < 4


def test_random_blanks_change_blanks_only() -> None:
    for exact in (False, True):
        blank = MQAR(exact=exact).draw(4, 0)
        filled = MQAR(exact=exact, random_blanks=True).draw(4, 0)
        shown = blank.inputs != 0
        assert np.array_equal(blank.inputs[shown], filled.inputs[shown])
        assert np.array_equal(blank.labels, filled.labels)
        assert len(np.unique(filled.inputs[~shown])) > 50


def test_grid_of_the_default_task() -> None:
    sizes = [(entry.axes["pairs"], entry.axes["length"]) for entry in MQAR().grid()]
    assert sizes == [(4, 64), (8, 64), (16, 64), (64, 256), (256, 1024), (1024, 4096)]


def test_grid_leaves_out_what_the_vocabulary_cannot_name() -> None:
    sizes = [entry.axes["pairs"] for entry in MQAR(vocab_size=64, pairs=12).grid()]
    assert sizes == [4, 8, 12, 16]


def test_curriculum() -> None:
    assert [(task.pairs, task.length) for task in MQAR(pairs=12, length=96).curriculum()] == [
        (2, 16),
        (4, 32),
        (8, 64),
        (12, 96),
    ]


def test_chance_and_plateau() -> None:
    assert MQAR().chance == 2 / 8192
    assert MQAR().plateau == 1 / 8
    assert MQARUpdate().chance == 2 / 8192
    assert MQARUpdate(pairs=6, updates=2).plateau == 1 / 8


def test_all_keys_and_all_places_in_use() -> None:
    batch = MQAR(vocab_size=66, pairs=32, length=128).draw(3, 0)
    assert (np.sort(batch.inputs[:, 0:64:2], axis=1) == np.arange(1, 33)).all()
    assert (batch.labels[:, 64::2] != IGNORE).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 63}, "length must be even, got 63"),
        ({"pairs": 17}, "length must be at least 68 for pairs=17, got 64"),
        ({"vocab_size": 16}, "pairs must be at most 7, .* at vocab_size=16, got 8"),
        ({"vocab_size": 3}, "vocab_size must be at least 4, got 3"),
        ({"pairs": 0}, "pairs must be at least 1, got 0"),
        ({"power": 0.0}, "power must be positive and finite, got 0.0"),
        ({"power": float("nan")}, "power must be positive and finite, got nan"),
        ({"power": float("inf")}, "power must be positive and finite, got inf"),
    ],
    ids=["odd", "too many pairs", "too few keys", "no keys", "no pairs", "no power", "nan", "inf"],
)
@pytest.mark.parametrize("cls", [MQAR, MQARUpdate])
def test_errors(cls: type[MQAR | MQARUpdate], options: dict[str, float], message: str) -> None:
    if cls is MQARUpdate:
        options = {**options, "updates": 0}
        message = message.replace("for pairs=17", "for pairs=17 and updates=0")
    with pytest.raises(ValueError, match=message):
        cls(**options)  # type: ignore[arg-type]


def test_exact_seed_is_of_32_bits() -> None:
    with pytest.raises(ValueError, match="seed must be from 0 to 4294967295, got 4294967296"):
        MQAR(exact=True).draw(1, 2**32)
    MQAR().draw(1, 2**64)
