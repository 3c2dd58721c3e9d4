"""variable_tracking: chains, their order, the questions of each form, kinds."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, VariableTracking

from .solvers import variable_tracking

SMALL = {"vocab_size": 64, "noise": 10, "chains": 3, "hops": 2, "length": 50}


def assigned(tokens: list[int]) -> dict[int, int]:
    """Of a row of SMALL: what each name is given, in the order of the row."""
    told = [token for token in tokens[:40] if token < 54]
    return dict(zip(told[::2], told[1::2], strict=True))


@pytest.mark.parametrize("form", ["names", "values"])
def test_rows_are_chains_in_their_order_among_noise(form: str) -> None:
    batch = VariableTracking(form=form, **SMALL).draw(200, 0)  # type: ignore[arg-type]
    for tokens in batch.inputs.tolist():
        assert tokens.index(0) == 40
        given = assigned(tokens)
        assert len(given) == 9
        assert len(set(given.values())) == 9  # no two are given the same
        values = [source for source in given.values() if source >= 27]
        assert len(values) == 3
        seen: set[int] = set()
        for name, source in given.items():
            assert 1 <= name < 27
            assert source >= 27 or source in seen
            seen.add(name)


def test_names_are_asked_for_chain_by_chain() -> None:
    batch = VariableTracking(**SMALL).draw(50, 0)  # type: ignore[arg-type]
    for tokens, labels in zip(batch.inputs[:, 41:], batch.labels[:, 41:], strict=True):
        for chain in range(3):
            asked, answers = tokens[3 * chain :][:3], labels[3 * chain :][:3]
            assert 27 <= asked[0] < 54
            assert np.array_equal(asked[1:], answers[:-1])
            assert (answers < 27).all()
    assert (batch.labels[:, :41] == IGNORE).all()
    assert batch.kind is not None
    assert batch.kind[:, 41:].tolist() == [[0, 1, 1] * 3] * 50


def test_values_are_asked_for_by_every_name() -> None:
    task = VariableTracking(form="values", **SMALL)  # type: ignore[arg-type]
    batch = task.draw(50, 0)
    assert batch.kind is not None
    for row, tokens in enumerate(batch.inputs.tolist()):
        given = assigned(tokens)
        assert sorted(tokens[41:]) == sorted(given)
        direct = [given[name] >= 27 for name in tokens[41:]]
        assert np.array_equal(batch.kind[row, 41:] == task.kinds.index("direct"), direct)


def test_one_look_up_answers_direct_questions_only() -> None:
    task = VariableTracking(form="values", **SMALL)  # type: ignore[arg-type]
    batch = task.draw(50, 0)
    assert batch.kind is not None
    full = variable_tracking(task, batch)
    for row, tokens in enumerate(batch.inputs.tolist()):
        given = assigned(tokens)
        once = np.array([given[name] for name in tokens[41:]])
        assert np.array_equal(once == full[row, 41:], batch.kind[row, 41:] == 0)


def test_places_of_assignments_are_uniform() -> None:
    task = VariableTracking(vocab_size=16, noise=4, chains=1, hops=1, length=13)
    rows = 15_000
    batch = task.draw(rows, 0)
    quiet = batch.inputs[:, :10] < 12
    sets = [tuple(np.flatnonzero(row)) for row in quiet]
    expected = rows / 28  # two assignments and six steps of noise: 8 over 2
    counts = np.unique(sets, axis=0, return_counts=True)[1]
    assert counts.size == 28
    assert np.abs(counts - expected).max() < 4 * expected**0.5
