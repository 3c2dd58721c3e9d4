"""A user's own files as tasks: text by character and by byte, token files, and bad files."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramgru.errors import DataError
from ramgru.lab.tasks import Text, TokenFile, from_config, get, to_config

SAYING = "Wer fremde Sprachen nicht kennt, weiß nichts von seiner eigenen. – Goethe 🙂\n" * 40


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "saying.txt"
    file.write_text(SAYING, encoding="utf-8")
    return str(file)


def test_characters(path: str) -> None:
    task = Text(path, length=20)
    assert task.characters == "".join(sorted(set(SAYING)))
    assert task.vocab_size == len(set(SAYING))
    assert task.decode(task.encode("weiß 🙂")) == "weiß 🙂"
    whole = [Text(path, length=20, split=split).tokens for split in ("train", "validation")]
    assert task.decode(np.concatenate(whole)) == SAYING
    assert len(whole[1]) == len(SAYING) // 10


def test_bytes(path: str) -> None:
    task = Text(path, length=20, unit="byte", validation=0)
    assert task.vocab_size == 256
    assert task.characters is None
    assert task.decode(task.tokens) == SAYING
    assert task.encode("ß").tolist() == [0xC3, 0x9F]
    assert task.decode([0xC3]) == "\ufffd"


@given(st.text(min_size=2).filter(lambda text: not text.startswith("\ufeff")))
def test_any_text(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.txt"
        path.write_bytes(text.encode("utf-8"))
        for unit in ("character", "byte"):
            task = Text(str(path), length=1, unit=unit, validation=0)
            assert task.decode(task.tokens) == text
            assert task.tokens.max() < task.vocab_size


def test_windows_are_of_the_split(path: str) -> None:
    for split in ("train", "validation"):
        task = Text(path, length=20, split=split)
        batch = task.draw(30, 0)
        assert batch.inputs.shape == batch.labels.shape == (30, 20)
        assert np.array_equal(batch.inputs[:, 1:], batch.labels[:, :-1])
        known = task.decode(task.tokens)
        for row in range(30):
            assert task.decode([*batch.inputs[row], batch.labels[row, -1]]) in known
        assert np.array_equal(batch.inputs, task.draw(30, 0).inputs)
        assert not np.array_equal(batch.inputs, task.draw(30, 1).inputs)


def test_windows_reach_both_ends(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("abcdefgh")
    task = Text(str(file), length=5, validation=0)
    batch = task.draw(200, 0)
    assert {task.decode(row) for row in batch.inputs} == {"abcde", "bcdef", "cdefg"}
    assert {task.decode(row) for row in batch.labels} == {"bcdef", "cdefg", "defgh"}


def test_stream(path: str) -> None:
    task = Text(path, length=16)
    stream = task.stream(4)
    chunks = [stream.chunk(step) for step in range(stream.chunks_per_epoch)]
    row = task.decode(np.concatenate([chunk.inputs[0] for chunk in chunks]))
    assert SAYING.startswith(row)
    assert len(row) == 16 * stream.chunks_per_epoch


def test_chance_is_the_most_frequent_token(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("aabaa" * 10)
    assert Text(str(file), length=3).chance == pytest.approx(0.8)


def test_grid_and_held_out_are_the_validation_part(path: str) -> None:
    task = Text(path, length=16)
    held_out = task.held_out()
    assert isinstance(held_out, Text)
    assert held_out == task.resized(split="validation")
    lengths = [entry.axes["length"] for entry in task.grid()]
    assert lengths == [16, 64, 256]
    assert [e.axes["length"] for e in task.resized(length=64).grid()] == [64, 256, 303]
    for entry in task.grid():
        entry.task.draw(1, 0)
    whole = task.resized(validation=0.0)
    assert whole.held_out() == whole


def test_config(path: str) -> None:
    task = Text(path, length=16, unit="byte")
    assert from_config(to_config(task)) == task
    assert get("text", path=path, length="16", unit="byte") == task


def test_another_text_with_the_same_alphabet(path: str, tmp_path: Path) -> None:
    alphabet = Text(path).characters
    assert alphabet is not None
    other = tmp_path / "other.txt"
    other.write_text("seiner Sprachen")
    task = Text(str(other), length=4, alphabet=alphabet)
    assert task.vocab_size == len(alphabet)
    assert task.decode(task.encode("Sachen")) == "Sachen"
    other.write_text("Quark")
    with pytest.raises(DataError, match="'Q' is not among the"):
        Text(str(other), length=4, alphabet=alphabet)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("aaaabbbb")
    task = Text(str(file), length=2)
    digest = task.digest
    file.write_text("abcdefghijk")
    os.utime(file, ns=(1, 1))
    assert task.vocab_size == 11
    assert task.digest != digest


def test_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfabc")
    assert Text(str(file), length=1, validation=0).characters == "abc"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "cannot read .*: No such file or directory"),
        (b"", {}, "is empty"),
        (b"\xef\xbb\xbf", {}, "is empty"),
        (b"abc\xff", {}, 'is not UTF-8: byte 3 is 0xff; unit="byte" reads any file'),
        (b"abcdef", {"length": 6}, "train part .*validation=0.1.* has 6 tokens, .*=6 needs 7"),
        (
            b"abcdefghij",
            {"length": 2, "split": "validation"},
            "validation part .* has 1 tokens, length=2 needs 3",
        ),
    ],
    ids=["missing", "empty", "mark only", "not UTF-8", "short", "short validation"],
)
def test_bad_files(
    tmp_path: Path, content: bytes | None, options: dict[str, object], message: str
) -> None:
    file = tmp_path / "a.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Text(str(file), **options)  # type: ignore[arg-type]


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*: expected a regular file, got a fo"):
        Text(str(tmp_path))


def test_usage_errors(path: str) -> None:
    with pytest.raises(ValueError, match="unit must be one of character, byte, got 'word'"):
        Text(path, unit="word")
    with pytest.raises(ValueError, match="split must be one of train, validation, got 'test'"):
        Text(path, split="test")
    with pytest.raises(ValueError, match=r"validation must be a share in \[0, 1\), got 1"):
        Text(path, validation=1)
    with pytest.raises(ValueError, match=r'alphabet must be "" for unit="byte"'):
        Text(path, unit="byte", alphabet="abc")
    with pytest.raises(TypeError, match="path must be a file's path, got 3"):
        Text(3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'€' is not among the 28 characters of the vocabulary"):
        Text(path).encode("€")
    with pytest.raises(DataError, match=r"too short: batch_size .* tokens are needed"):
        Text(path).stream(1000)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "uint64", ">i4"])
def test_tokens(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, (np.arange(200) % 17).astype(dtype))
    task = TokenFile(str(path), length=8)
    assert task.vocab_size == 17
    assert task.resized(vocabulary=100).vocab_size == 100
    batch = task.draw(5, 0)
    assert batch.inputs.dtype == batch.labels.dtype == np.int64
    assert np.array_equal((batch.inputs + 1) % 17, batch.labels)
    assert task.chance == pytest.approx(11 / 180)
    assert len(task.tokens) == 180
    assert task.stream(2).chunk(0).inputs.tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [3, 4, 5, 6, 7, 8, 9, 10],
    ]
    assert from_config(to_config(task)) == task


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1/0",))


def pickled(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.arange(3))


def saved(values: object) -> object:
    return lambda path: np.save(path, values)


def truncated(path: Path) -> None:
    np.save(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot read .*: No such file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"hello world"), "is not a .npy file of integers"),
        (lambda path: path.write_bytes(b"PK\x03\x04 zip?"), "is not a .npy file of integers"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2])), "is not a .npy file of integers"),
        (pickled, "is not a .npy file of integers"),
        (archive, "is not a .npy file of integers"),
        (truncated, "is not a .npy file of integers"),
        (saved(np.arange(3.0)), "must hold integers along one axis, got float64 of shape"),
        (saved(np.zeros((2, 2), int)), r"got int64 of shape \(2, 2\)"),
        (saved(np.zeros(3, bool)), "got bool"),
        (saved(np.zeros(3, "m8[s]")), "got timedelta64"),
        (saved(np.zeros(0, int)), "is empty"),
        (saved(np.array([3, -1, 2])), "holds the token -1, expected tokens from 0 on"),
        (saved(np.array([3, 2**40])), "holds the token 1099511627776, expected tokens up to"),
        (saved(np.arange(5)), "is too short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_token_files(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "tokens.npy"
    make(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        TokenFile(str(path))


def test_vocabulary_too_small(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.arange(300))
    with pytest.raises(DataError, match=r"holds the token 299, vocabulary=200 allows .* up to 199"):
        TokenFile(str(path), vocabulary=200)
    with pytest.raises(ValueError, match="vocabulary must be at least 0, got -1"):
        TokenFile(str(path), vocabulary=-1)
