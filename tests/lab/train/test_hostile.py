"""Files never run, and no size that they name is believed before it is bounded."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ramgru import RAMGRUModel, RAMGRUState, files
from ramgru.errors import CheckpointError, DataError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.cli import main
from ramgru.lab.compare.results import from_json
from ramgru.lab.tasks import FileTask, archive, write_examples
from ramgru.lab.train import ModelConfig, TrainConfig, layers, load_run, log, train
from ramgru.lab.train.configfile import read_config

DEEP = "[" * 100_000


def changed(path: Path, **changes) -> None:
    """A JSON file with other values, as if by hand: without its digest."""
    values = json.loads(path.read_text())
    values.pop("sha256", None)
    for place, value in changes.items():
        *groups, last = place.split("__")
        inner = values
        for group in groups:
            inner = inner[group]
        inner[last] = value
    path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two steps, and its files; each test restores what it changed."""
    config = TrainConfig(
        task=tasks.get("mqar", vocab_size=16, pairs=2, length=8),
        model=ModelConfig(layer="gru", d_model=8, num_layers=1),
        batch_size=4,
        steps=2,
        evaluate_examples=4,
        log_every=1,
        curriculum=False,
        out=tmp_path_factory.mktemp("runs") / "run",
    )
    return train(config, quiet=True).run


@pytest.fixture
def restored(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    yield run
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__num_layers": 10**9},
        {"model__num_layers": 1e9},
        {"model__layer": "gru,num_layers=1000000000"},
        {"model__d_model": 10**9},
        {"model__d_model": 10**30},
        {"model__hidden_size": 10**12},
        {"model__layer": "ramgru", "model__memory": {"heads": "1000000000"}},
        {"model__layer": "ramgru", "model__memory": {"heads": 10**9}},
        {"model__layer": "ramgru", "model__memory": {"cells": 2**40, "learned_start": True}},
        {"model__layer": "ramgru", "model__memory": {"width": 10**15}},
        {"task__options__pairs": 10**12, "task__options__length": 10**13},
        {"task__options__vocab_size": 10**15},
        {"task__name": "file", "task__options": {"path": "/dev/zero"}},
        {"task__name": "text", "task__options": {"path": "/dev/zero"}},
        {"model": DEEP},
        {"betas": [1]},
        {"lr": 10**400},
    ],
    ids=lambda changes: ",".join(changes)[:40],
)
def test_no_size_in_a_configuration_is_believed(restored, changes):
    changed(restored / "config.json", **changes)
    with pytest.raises(RamgruError):
        load_run(restored)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 10**9},
        {"nhead": 10**9},
        {"d_model": 10**12},
        {"memory_size": 2**40, "memory__learned_start": True},
        {"vocab_size": 10**18},
        {"memory__heads": "key:1000000000"},
    ],
    ids=str,
)
def test_no_size_of_a_saved_model_is_believed(tmp_path, changes):
    RAMGRUModel(11, 8, 2, 64, num_layers=1).save_pretrained(tmp_path)
    changed(tmp_path / "config.json", **changes)
    with pytest.raises(CheckpointError):
        RAMGRUModel.from_pretrained(tmp_path)


def test_deep_nesting_is_told(restored, tmp_path):
    for name in ("config.json", "log.jsonl"):
        (restored / name).write_text(DEEP + "\n")
    with pytest.raises(CheckpointError, match="nested too deeply"):
        load_run(restored)
    with pytest.raises(RamgruError, match="line 1: expected a JSON object"):
        log.read(restored / "log.jsonl")
    with pytest.raises(DataError, match="nested too deeply"):
        from_json(DEEP)
    np.savez(tmp_path / "x.npz", **{n: np.array(DEEP) for n in ("config", "inputs", "labels")})
    with pytest.raises(DataError):
        FileTask(str(tmp_path / "x.npz"))


def header(shape: tuple[int, ...]) -> bytes:
    described = {"descr": "<i4", "fortran_order": False, "shape": shape}
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, described)
    return text.getvalue()


def tables_of_npz(path: Path) -> dict[str, bytes]:
    write_examples(path, tasks.get("parity"), 4)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_array_of_seven_tebibytes(tmp_path):
    path = tmp_path / "x.npz"
    members = tables_of_npz(path)
    members["inputs.npy"] = header((2**20, 2**21)) + bytes(100)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"inputs.npy names 8,796,093,022,336 bytes and has 228"):
        FileTask(str(path))
    broken = header((3,)).replace(b"}", b"(")  # not closed, as an expression of Python
    for content in (header((2**41,)) + bytes(100), broken + bytes(12)):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"x.npy is not a .npy file of integers"):
            tasks.get("tokens", path=str(tmp_path / "x.npy"))


def test_an_archive_that_unpacks_to_more_than_it_may(tmp_path):
    """Its list of members says 3 GiB of a member, or is itself endless."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tables_of_npz(tmp_path / "y.npz").items():
            archive.writestr(name, content)
        archive.getinfo("labels.npy").file_size = 3 << 30
    with pytest.raises(DataError, match=r"its arrays take 3,221,22\d,\d+ bytes, expected at most"):
        FileTask(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(2000):
            archive.writestr(f"{n}.npy", b"")
    with pytest.raises(DataError, match="its list of members takes more than"):
        FileTask(str(path))


def test_parquet_that_repeats_one_number(tmp_path, monkeypatch):
    """A run of equal numbers takes a few bytes; so does a row far longer than the others."""
    import pyarrow
    import pyarrow.parquet

    path = write_examples(tmp_path / "x.parquet", tasks.get("parity"), 3)
    metadata = {b"ramgru": pyarrow.parquet.read_schema(path).metadata[b"ramgru"]}
    monkeypatch.setattr(archive, "MOST", 1 << 20)
    for rows in ([1 << 17, 1], [1 << 10] + [1] * 1000):
        values = pyarrow.array(np.ones(sum(rows), dtype=np.int8))
        column = pyarrow.ListArray.from_arrays(np.cumsum([0, *rows]).astype(np.int32), values)
        table = pyarrow.table({"inputs": column, "labels": column})
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)
        assert path.stat().st_size < 1 << 14
        with pytest.raises(DataError, match="its arrays take"):
            FileTask(str(path))


def test_pipes_and_devices_are_no_files(restored, tmp_path):
    for name in ("x.npz", "x.parquet", "x.txt", "x.npy", "state", "run.json"):
        os.mkfifo(tmp_path / name)
    for name in ("file,path=x.npz", "file,path=x.parquet", "text,path=x.txt", "tokens,path=x.npy"):
        kind, _, place = name.partition(",path=")
        with pytest.raises(DataError, match="expected a regular file, got a pipe or a device"):
            tasks.get(kind, path=str(tmp_path / place))
    with pytest.raises(CheckpointError, match="holds no state"):
        RAMGRUState.load(tmp_path / "state")
    for name in ("log.jsonl", "config.json"):
        (restored / name).unlink()
        os.mkfifo(restored / name)
    try:
        with pytest.raises(RamgruError, match="expected a regular file, got a pipe or a device"):
            log.read(restored / "log.jsonl")
        with pytest.raises(CheckpointError, match="expected a regular file, got a pipe or a devic"):
            load_run(restored)
    finally:
        for name in ("log.jsonl", "config.json"):
            (restored / name).unlink()


def test_files_larger_than_their_kind_may_be(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(files.JSON_MOST + 1)
    with pytest.raises(OSError, match="expected at most 67,108,864 bytes, got 67,108,865"):
        files.read_json(path)
    with pytest.raises(ValueError, match=r"count must be at most [\d,]+ for examples of mqar"):
        write_examples(tmp_path / "x.npz", tasks.get("mqar"), 10**9)


def test_a_run_names_no_code(restored, monkeypatch, tmp_path):
    """Neither a module that is imported already nor one of the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("torch", "rich", "own_layer"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} ran')")
    for layer in ("torch.nn:Identity", "own_layer:Layer", "subprocess:Popen"):
        changed(restored / "config.json", model__layer=layer)
        before = list(sys.path)
        with pytest.raises(CheckpointError, match=f"names the layer {layer}, which is your own c"):
            load_run(restored)
        assert main(["evaluate", str(restored)]) == 1
        assert sys.path == before
        assert layer.split(":")[0] != "own_layer" or "own_layer" not in sys.modules


def test_a_layer_that_the_caller_names_comes_last_on_the_path(restored, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "named_layer.py").write_text("import torch\nclass Mine(torch.nn.Identity): pass\n")
    (tmp_path / "fractions.py").write_text("raise SystemExit('hid a module of Python')")
    changed(restored / "config.json", model__layer="named_layer:Mine")
    layers.import_own("named_layer:Mine")
    assert sys.path[-1] == str(tmp_path)
    assert read_config(restored / "config.json").model.layer == "named_layer:Mine"
    with pytest.raises(RamgruError, match=r"cannot import it: .* \(of .*fractions.py\)"):
        layers.import_own("fractions:Mine")


def test_changed_bits_are_refused_or_harmless(run, tmp_path):
    """Short form of `benchmarks/reliability.py flips`."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    try:
        import reliability_flips as flips
    finally:
        sys.path.pop(0)
    case = flips.cases(flips.subjects(run, tmp_path))
    found = Counter(case(seed) for seed in range(60))
    assert found.keys() <= {"refused", "harmless"}, found
    assert found["refused"] > 30
