"""JSONL: lines are sequences of their own, and what is wrong is one sentence with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramgru.errors import DataError
from ramgru.lab.tasks import IGNORE, Lines, from_config, to_config


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")
    return str(tmp_path / "x.jsonl")


def test_lines_that_are_shorter_than_the_length(tmp_path):
    task = Lines(write(tmp_path, "[1, 2, 3]\n[4, 5]\n"), length=256)
    assert sorted(task.draw(2, 0).lengths.tolist()) == [1, 2]


TOKENS = "".join(f"[{', '.join(str(10 * n + i) for i in range(2 + n % 3))}]\n" for n in range(10))


def test_lines_of_tokens(tmp_path):
    task = Lines(write(tmp_path, TOKENS), length=2, validation=0.2)
    assert task.vocab_size == 92
    batch = task.draw(40, 0)
    for b, n in enumerate(batch.lengths):
        x, y = batch.inputs[b], batch.labels[b]
        line = x[0] // 10
        assert line < 8  # the last two lines are held out
        assert n == min(2, 1 + line % 3)
        assert (y[:n] == x[:n] + 1).all()
        assert (y[n:] == IGNORE).all()
        assert (x[n:] == 0).all()
    held = task.held_out().draw(8, 1)
    assert set((held.inputs[:, 0] // 10).tolist()) == {8, 9}
    starts = {int(x) % 10 for x in batch.inputs[batch.lengths == 2][:, 0]}
    assert starts == {0, 1}  # windows of long lines begin anywhere
    assert from_config(to_config(task)) == task


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ('"abcab"', {}),
        ('{"text": "abcab", "id": 3}', {}),
        ('{"body": "abcab", "text": 3}', {"field": "body"}),
    ],
    ids=["text", "object", "field"],
)
def test_lines_of_text(tmp_path, line, options):
    task = Lines(write(tmp_path, f"{line}\n\n{line}"), length=4, validation=0, **options)
    assert task.characters == "abc"
    batch = task.draw(2, 0)
    assert task.decode(batch.inputs[0]) == "abca"
    assert task.decode(batch.labels[1]) == "bcab"
    assert Lines(task.path, length=4, validation=0, unit="byte", **options).vocab_size == 256


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("[1, 2]\nhello\n", {}, "x.jsonl, line 2: expected JSON, "),
        ("[1, 2]\n[1, 2.5]\n", {}, "line 2: expected a text or a list of integers, got 2.5"),
        ("[1, true]\n", {}, "line 1: expected a text or a list of integers, got true"),
        ("[1, -2]\n", {}, "line 1: expected tokens from 0 to 2147483647, got -2"),
        ("3\n", {}, "line 1: expected a text or a list of integers, got 3"),
        ('[1, 2]\n"ab"\n', {}, "line 2: expected tokens as before, got a text"),
        ('"ab"\n[1, 2]\n', {}, "line 2: expected a text as before, got tokens"),
        (
            '{"body": "a"}\n',
            {},
            "line 1: expected the key 'text' or 'tokens' or 'input_ids', got 'body'; "
            "--task.field names another",
        ),
        ('{"body": "ab"}\n', {"field": "b"}, "line 1: expected the key 'b', got 'body'"),
        ("[1]\n[2]\n", {}, "x.jsonl: expected a line with at least two tokens, got none"),
        ("\n", {}, "x.jsonl is empty"),
        (
            '"abd"\n',
            {"alphabet": "abc"},
            "x.jsonl: the character 'd' is not among the 3 characters",
        ),
        ('"a\\ud800"\n', {"unit": "byte"}, r"x.jsonl: the character '\\ud800' has no bytes"),
    ],
)
def test_what_is_not_understood_is_one_sentence(tmp_path, text, options, message):
    with pytest.raises(DataError, match=message):
        Lines(write(tmp_path, text), length=1, validation=0, **options)
