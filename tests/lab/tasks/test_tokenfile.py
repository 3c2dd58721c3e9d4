"""Token files: what is read, and every way in which one can be bad."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from ramgru.errors import DataError
from ramgru.lab.tasks import TokenFile, from_config, to_config


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
        (saved(np.zeros(0, int)), "is empty"),
        (saved(np.array([3, -1, 2])), "holds the token -1, expected tokens from 0 on"),
        (saved(np.array([3, 2**40])), "holds the token 1099511627776, expected tokens up to"),
        (saved(np.arange(5)), "is too short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_files(tmp_path: Path, make: object, message: str) -> None:
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
