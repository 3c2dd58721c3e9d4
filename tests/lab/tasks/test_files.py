"""Examples on disk and back: bits, batches, broken and foreign files, a disk without room."""

import json
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ramgru.errors import DataError, RamgruError
from ramgru.lab.tasks import (
    TASKS,
    Batch,
    FileTask,
    Task,
    from_config,
    get,
    read_examples,
    to_config,
    write_examples,
)

from .text_solvers import params

NAMES = params(TASKS)
ENDINGS = (".npz", ".parquet")


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in Batch.__dataclass_fields__]
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_come_back(tmp_path: Path, name: str, ending: str) -> None:
    task = get(name)
    path = write_examples(tmp_path / f"examples{ending}", task, 20, seed=3)
    found = read_examples(path)
    drawn = task.draw(20, 3)
    assert same(found.batch, drawn)
    assert (found.task, found.seed) == (task, 3)
    for field in ("inputs", "labels", "lengths"):
        assert getattr(found.batch, field).dtype == getattr(drawn, field).dtype
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

    from_file = FileTask(str(path))
    assert len(from_file) == 20
    for attribute in ("vocab_size", "features", "outputs", "chance", "plateau", "metric"):
        assert getattr(from_file, attribute) == getattr(task, attribute)
    assert from_file.kinds == task.kinds
    assert from_file.classes == task.classes
    assert from_file.padding == task.padding
    assert from_file.grid() == task.grid()
    assert from_file.held_out() == task.held_out()
    assert from_config(json.loads(json.dumps(to_config(from_file)))) == from_file


@pytest.fixture(params=ENDINGS)
def parity(tmp_path: Path, request: pytest.FixtureRequest) -> FileTask:
    """23 strings of different lengths."""
    path = write_examples(tmp_path / f"parity{request.param}", get("parity"), 23)
    return FileTask(str(path))


def rows(batch: Batch) -> list[tuple[int, ...]]:
    return [
        tuple(tokens[:n]) for tokens, n in zip(batch.inputs.tolist(), batch.lengths, strict=True)
    ]


def test_an_epoch_shows_each_example_once(parity: FileTask) -> None:
    known = sorted(rows(parity.examples.batch))
    assert parity.batches_per_epoch(5) == 4
    for epoch in range(3):
        seen = [row for i in range(4) for row in rows(parity.batch(5, 4 * epoch + i))]
        assert len(seen) == 20
        assert not _more(seen, known)
    whole = [parity.batch(23, epoch) for epoch in range(3)]
    assert all(sorted(rows(batch)) == known for batch in whole)
    assert rows(whole[0]) != rows(whole[1]) != rows(whole[2])
    assert same(parity.batch(5, 7), parity.batch(5, 7))
    assert not same(parity.batch(5, 7), parity.batch(5, 7, seed=1))


def _more(some: list[tuple[int, ...]], known: list[tuple[int, ...]]) -> bool:
    return any(some.count(row) > known.count(row) for row in some)


def test_draw_picks_different_examples(parity: FileTask) -> None:
    batch = parity.draw(8, 5)
    assert same(batch, parity.draw(8, 5))
    assert not same(batch, parity.draw(8, 6))
    assert not _more(rows(batch), rows(parity.examples.batch))
    assert batch.inputs.shape[1] == batch.lengths.max()
    batch.inputs[:] = 1
    assert not same(batch, parity.draw(8, 5))


def test_batch_size_beyond_the_file(parity: FileTask) -> None:
    for ask in (parity.draw, parity.batch):
        with pytest.raises(ValueError, match="batch_size must be at most 23, the examples in"):
            ask(24, 0)


def test_usage_errors(tmp_path: Path, parity: FileTask) -> None:
    with pytest.raises(ValueError, match=r"path must end in .npz or .parquet, got .*\.csv"):
        write_examples(tmp_path / "a.csv", get("mqar"), 3)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        write_examples(tmp_path / "a.npz", get("mqar"), 0)
    with pytest.raises(ValueError, match="task must be drawn from a seed alone, got file"):
        write_examples(tmp_path / "a.npz", parity, 3)
    with pytest.raises(TypeError, match="path must be a file's path, got None"):
        FileTask(None)  # type: ignore[arg-type]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 5000])
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_room_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, ending: str, size: int
) -> None:
    path = write_examples(tmp_path / f"examples{ending}", get("parity"), 3)
    before = path.read_bytes()
    with room_for(size), pytest.raises(RamgruError, match=r"cannot write .*: File too large"):
        write_examples(path, get("mqar"), 500)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RamgruError, match=r"cannot write .*: there is no folder .*nowhere"):
        write_examples(tmp_path / "nowhere" / "a.npz", get("parity"), 3)


def npz(path: Path, **changes: object) -> None:
    """A sound file of four parity examples, with some of its arrays changed (None: left out)."""
    write_examples(path, get("parity", min_length=4, length=4), 4)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays |= {name: np.array(value) for name, value in changes.items() if value is not None}
    kept = {name: a for name, a in arrays.items() if changes.get(name, "") is not None}
    np.savez(path, **kept)


def config(**changes: object) -> str:
    whole: dict[str, object] = {
        "format": "ramgru examples",
        "version": 1,
        "task": {"name": "parity", "options": {}},
        "seed": 0,
    }
    return json.dumps({**whole, **changes})


def shortened(path: Path) -> None:
    npz(path)
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    write_examples(path, get("mqar"), 10)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)


def not_arrays(path: Path) -> None:
    npz(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name in content:
            archive.writestr(name, content[name] if name == "config.npy" else "hello")


def objects(path: Path) -> None:
    npz(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["labels"] = np.array([{}], dtype=object)
    np.savez(path, **arrays)


def single(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


ones = np.ones((4, 5), dtype=np.int64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot read .*: No such file"),
        (lambda path: path.write_bytes(b""), "does not hold examples, or is broken"),
        (lambda path: path.write_bytes(b"hello"), "does not hold examples, or is broken"),
        (shortened, "does not hold examples, or is broken"),
        (flipped, "does not hold examples, or is broken"),
        (not_arrays, "does not hold examples, or is broken"),
        (objects, "does not hold examples, or is broken"),
        (single, "is a single array"),
        (lambda path: npz(path, config=None, labels=None), "it lacks config, labels"),
        (lambda path: npz(path, config="{"), "its config is no JSON"),
        (lambda path: npz(path, config=config(format="x")), '"format" must be "ramgru examples"'),
        (lambda path: npz(path, config=config(version=9)), "has version 9, expected 1"),
        (lambda path: npz(path, config=config(seed="a")), "has the seed 'a', expected an integer"),
        (lambda path: npz(path, config=config(task=3)), "names a task that cannot be made"),
        (
            lambda path: npz(path, config=config(task={"name": "os.system"})),
            "cannot be made: unknown task 'os.system'",
        ),
        (
            lambda path: npz(path, config=config(task={"name": "parity", "options": {"x": 1}})),
            "cannot be made: task parity has no option 'x'",
        ),
        (
            lambda path: npz(path, config=config(task={"name": "file", "options": {"path": "x"}})),
            "names the task file, which reads a file of its own",
        ),
        (lambda path: npz(path, inputs=ones[:3]), r"labels of shape|inputs of shape \(3, 5\)"),
        (lambda path: npz(path, labels=ones[:, :4]), r"labels of shape \(4, 4\) do not fit"),
        (lambda path: npz(path, inputs=ones * 3), "inputs must be tokens below 3"),
        (lambda path: npz(path, inputs=-ones), "inputs must be tokens below 3"),
        (lambda path: npz(path, inputs=ones * 0.5), "inputs must be integers, got float64"),
        (lambda path: npz(path, labels=ones * 3), "labels must be -100 or below 3"),
        (lambda path: npz(path, lengths=[5, 5, 5, 6]), "lengths must be from 1 to 5, got 5 to 6"),
        (lambda path: npz(path, lengths=[5, 0, 5, 5]), "lengths must be from 1 to 5, got 0 to 5"),
        (lambda path: npz(path, lengths=[5.0] * 4), "lengths must be integers, got float64"),
        (lambda path: npz(path, labels=ones.astype("m8[s]")), "must be integers, got timedelta64"),
        (lambda path: npz(path, lengths=[[5] * 4]), "lengths must be one number an example"),
        (lambda path: npz(path, distance=ones[0]), "distance must be integers of shape"),
        (lambda path: npz(path, kind=ones), "kind must be from -1 to -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_npz(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "examples.npz"
    make(path)
    with pytest.raises(DataError, match=message):
        FileTask(str(path))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e31])
def test_features_must_be_finite(tmp_path: Path, bad: float) -> None:
    path = write_examples(tmp_path / "copy.npz", get("copy", length=3), 2)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["inputs"][0, 0, 0] = bad
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="inputs must be finite numbers"):
        read_examples(path)


def test_bad_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "examples.parquet"
    with pytest.raises(DataError, match=r"cannot read .*: "):
        read_examples(path)
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match="is not a Parquet file, or is broken"):
        read_examples(path)

    def table(columns: dict[str, object], metadata: dict[str, str] | None = None) -> None:
        made = pyarrow.table(columns).replace_schema_metadata(metadata)
        pyarrow.parquet.write_table(made, path)

    ours = {"ramgru": config()}
    short = [[0, 1, 2], [1, 2]]
    for columns, metadata, message in (
        ({"a": [1]}, None, "it has no ramgru config"),
        ({"a": [1]}, ours, "it lacks inputs, labels"),
        ({"inputs": [1, 2], "labels": short}, ours, "column inputs must hold lists of numbers"),
        ({"inputs": [[1], None], "labels": short}, ours, "lists of numbers, none of them missing"),
        ({"inputs": [[1, None]], "labels": [[1, 2]]}, ours, "none of them missing"),
        ({"inputs": [["a"]], "labels": [[1]]}, ours, "must hold numbers, got list"),
        ({"inputs": short, "labels": [[1], [2]]}, ours, "labels are not as long as those of inp"),
        ({"inputs": [[7]], "labels": [[1]]}, ours, "inputs must be tokens below 3"),
        ({"inputs": [[]], "labels": [[]]}, ours, "column inputs must hold|does not hold examples"),
    ):
        table(columns, metadata)
        with pytest.raises(DataError, match=message):
            read_examples(path)
    broken = path.read_bytes()
    write_examples(path, get("mqar"), 30)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not a Parquet file, or is broken"):
        read_examples(path)
    assert broken != whole


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what a missing package looks like
    for ask in (
        lambda: write_examples(tmp_path / "a.parquet", get("parity"), 3),
        lambda: read_examples(tmp_path / "a.parquet"),
    ):
        with pytest.raises(DataError, match="pip install pyarrow"):
            ask()
    assert not list(tmp_path.iterdir())


def test_one_row_an_example_for_other_programs(tmp_path: Path) -> None:
    import pyarrow.parquet

    task: Task = get("parity")
    path = write_examples(tmp_path / "parity.parquet", task, 5)
    batch = task.draw(5, 0)
    lists = pyarrow.parquet.read_table(path).column("inputs").to_pylist()
    assert [tuple(row) for row in lists] == rows(batch)


def test_a_rewritten_file_is_read_again(tmp_path: Path) -> None:
    path = write_examples(tmp_path / "a.npz", get("parity"), 5)
    task = FileTask(str(path))
    assert len(task) == 5
    write_examples(path, get("parity"), 9)
    assert len(task) == 9
