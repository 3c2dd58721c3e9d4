"""Rows of letters put together by hand."""

import numpy as np

from ramgru.lab.tasks import IGNORE, letters


def part(*texts: str) -> letters.Part:
    """The strings as a part, of different lengths."""
    tokens = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = [letters.CHARACTERS.index(c) for c in text]
    return tokens, np.array([[len(text)] for text in texts])


def test_parts_follow_each_other_row_by_row() -> None:
    joined = letters.join([part("ab", "c"), letters.mark(letters.BAR, 2), part("d", "xyz")])
    assert [letters.text(row) for row in joined] == ["ab|d*", "c|xyz"]


def test_answer_is_asked_for_one_step_before_it_is_shown() -> None:
    batch = letters.ask([part("$abc|", "$q|")], part("bc", "q"), np.array([[2], [1]]))
    assert [letters.text(row) for row in batch.inputs] == ["$abc|bc.", "$q|q.***"]
    assert batch.lengths.tolist() == [8, 5]
    x = IGNORE
    assert batch.labels.tolist() == [[x, x, x, x, 1, 2, x, x], [x, x, 16, x, x, x, x, x]]
    assert batch.distance is not None
    assert batch.distance[batch.distance >= 0].tolist() == [2, 2, 1]
