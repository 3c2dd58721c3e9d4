"""text_lookup: passages, phrases that occur once, and their continuations."""

import sys

import numpy as np
import pytest

from ramgru.errors import DataError
from ramgru.lab.tasks import IGNORE, TextLookup, exact_answers
from ramgru.lab.tasks.sampling import unique
from ramgru.lab.tasks.text_lookup import phrase_numbers, reference

from .text_solvers import examples, read, text_lookup


def occurrences(text: str, phrase: str) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(phrase, i)]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("phrase", "answer", "questions"), [(3, 1, 2), (8, 8, 4), (20, 3, 1)])
def test_rows_are_as_the_docstring_says(
    phrase: int, answer: int, questions: int, split: str
) -> None:
    task = TextLookup(length=100, questions=questions, phrase=phrase, answer=answer, split=split)
    text = read(reference(split))
    batch = task.draw(50, 0)
    assert batch.distance is not None
    for tokens, labels, distance in zip(batch.inputs, batch.labels, batch.distance, strict=True):
        passage, *asked = read(tokens).split("¶")
        assert len(passage) == 100
        assert passage in text
        assert len(asked) == questions
        places = []
        for question in asked:
            (place,) = occurrences(passage, question[:phrase])
            assert passage[place : place + phrase + answer] == question
            places.append(place // (100 // questions))
        assert sorted(places) == [*range(questions)]
        (steps,) = np.nonzero(labels != IGNORE)
        assert read(labels[steps]) == "".join(question[phrase:] for question in asked)
        assert np.array_equal(tokens[steps + 1], labels[steps])
        assert np.array_equal(tokens[steps - distance[steps]], labels[steps])


def test_questions_come_in_any_order() -> None:
    batch = TextLookup(questions=2).draw(400, 0)
    assert batch.distance is not None
    first = [row[row >= 0][0] for row in batch.distance]
    assert 150 < sum(distance > 128 for distance in first) < 250


def test_the_test_part_is_no_training_part() -> None:
    train, test = (read(reference(split)) for split in ("train", "test"))
    assert len(train) > 5 * len(test) > 50_000
    assert len(set(train + test)) > 80
    batch = TextLookup().held_out().draw(200, 0)
    passages = [read(tokens[:256]) for tokens in batch.inputs]
    assert sum(passage in test for passage in passages) == 200
    assert not any(passage in train for passage in passages)
    grid = TextLookup().grid()
    assert {entry.task.options()["split"] for entry in grid} == {"test"}
    assert [e.axes["length"] for e in grid] == [64, 128, 256, 512, 1024, 2048, 4096]


def test_equal_phrases_have_equal_numbers() -> None:
    text = read(reference("test"))
    for size in (1, 2, 3, 7, 8):
        numbers = phrase_numbers("test", size)
        phrases = [text[i : i + size] for i in range(len(text) - size + 1)]
        assert len(numbers) == len(phrases)
        assert len({*numbers.tolist()}) == len({*phrases}) == len({*zip(numbers.tolist(), phrases)})


def testunique() -> None:
    numbers = np.array([[3, 1, 3, 2], [5, 5, 5, 5], [4, 0, 1, 2]])
    assert unique(numbers).tolist() == [[False, True, False, True], [False] * 4, [True] * 4]


def test_the_docstring_shows_a_true_example() -> None:
    task = TextLookup(length=16, questions=1, phrase=4, answer=3)
    (batch,) = examples(task)
    assert exact_answers(batch, text_lookup(task, batch)).right.tolist() == [True]


def test_without_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    reference.cache_clear()
    with pytest.raises(DataError, match=r"standard library lacks pydoc_data\.topics"):
        TextLookup().draw(1, 0)


def test_errors_that_only_the_text_tells() -> None:
    with pytest.raises(ValueError, match="phrase must be longer for length=2000 and questions=50"):
        TextLookup(length=2000, questions=50, phrase=1).draw(1, 0)
    with pytest.raises(ValueError, match=r"length must be at most \d+, the characters"):
        TextLookup(length=10**7, split="test").draw(1, 0)
