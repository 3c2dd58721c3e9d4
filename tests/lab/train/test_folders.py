"""Folders belong to people: a command writes into an empty one or its own run, under a lock."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ramgru import files
from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.compare import CompareConfig, compare
from ramgru.lab.tasks import write_examples
from ramgru.lab.train import train
from ramgru.lab.train.run import locked


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name", ["log.jsonl", "checkpoint.safetensors", "config.json", "evaluation.json", ".hidden"]
)
def test_folder_with_other_files_stays_as_it_is(small, tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("{}")
    (folder / "model").mkdir()
    (folder / "model" / "notes.txt").write_text("mine")
    before = content(folder)
    with pytest.raises(ValueError, match=r"out must be a new or an empty directory, got .*run, wi"):
        train(small(), quiet=True)
    with pytest.raises(ValueError, match="or that of a comparison"):
        compare(CompareConfig(out=folder), quiet=True)
    with pytest.raises(CheckpointError, match=r"is no run|is no configuration of a ramgru run"):
        train(small(resume=folder), quiet=True)
    assert content(folder) == before


def test_refused_options_leave_an_empty_folder_and_make_none(small, tmp_path):
    write_examples(tmp_path / "x.npz", small().task, 9)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new"):
        with pytest.raises(ValueError, match="batch_size must be at most 9"):
            train(small(data=tmp_path / "x.npz", batch_size=10, out=folder), quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "x.npz"]
    assert not list((tmp_path / "empty").iterdir())


HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_second_run_says_which_process_has_the_folder(small, tmp_path):
    (tmp_path / "run").mkdir()
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        number = f", number {other.pid}" if Path("/proc/locks").exists() else ""
        for changes in ({}, {"resume": tmp_path / "run"}):
            if changes:
                (tmp_path / "run" / "config.json").write_text("{}")
            with pytest.raises(RamgruError, match=f"written by another process{number}$"):
                train(small(**changes), quiet=True)
        (tmp_path / "run" / "config.json").unlink()
        assert not list((tmp_path / "run").iterdir())  # nothing was written without the lock
        other.communicate("")
    assert train(small(), quiet=True).reason == "steps"


def test_file_system_without_locks_is_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "lock", lambda descriptor: False)
    with pytest.warns(UserWarning, match="run is on a file system without locks"):
        train(small(steps=1), quiet=True)


def test_runs_without_a_name_that_start_together_have_two_folders(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/mqar-gru").mkdir(parents=True)
    with locked(Path("runs/mqar-gru")):
        assert train(small(out=None, steps=1), quiet=True).run == Path("runs/mqar-gru-2")


def test_links_are_followed_and_never_replaced(small, tmp_path):
    real, link = tmp_path / "real", tmp_path / "run"
    real.mkdir()
    link.symlink_to(real)
    run = train(small(), quiet=True).run
    assert run == link
    assert link.is_symlink()
    (tmp_path / "elsewhere").mkdir()
    for name in ("checkpoint.safetensors", "evaluation.json", "model/model.safetensors"):
        there = tmp_path / "elsewhere" / Path(name).name
        if (run / name).exists():
            os.replace(run / name, there)
        (run / name).symlink_to(there)
    train(small(resume=run, steps=16), quiet=True)
    assert (run / "model/model.safetensors").is_symlink()
    assert (run / "checkpoint.safetensors").is_symlink()
    assert (run / "evaluation.json").is_symlink()
    files.write(run / "evaluation.json", "{}")
    assert (tmp_path / "elsewhere" / "evaluation.json").read_text() == "{}"


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(RamgruError, match="expected a regular file or a new name"):
            files.write(tmp_path / name, "text")
    (tmp_path / "secret").write_text("a")
    (tmp_path / "secret").chmod(0o600)
    files.write(tmp_path / "secret", "b")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_examples_replace_examples_and_nothing_else(tmp_path):
    for ending in (".npz", ".parquet"):
        path = tmp_path / f"x{ending}"
        write_examples(path, tasks.get("parity"), 3)
        write_examples(path, tasks.get("parity"), 4)
        path.write_bytes(b"mine")
        with pytest.raises(RamgruError, match="it is there, and holds no examples of ramgru"):
            write_examples(path, tasks.get("parity"), 3)
        assert path.read_bytes() == b"mine"


def test_temporary_files_of_killed_writers_are_swept(small, tmp_path):
    run = train(small(), quiet=True).run
    left = run / ".checkpoint.safetensors.0123abcd.tmp"
    other = run / ".notes.tmp"
    for path in (left, other):
        path.write_text("half")
    with open(run / ".config.json.0123abcd.tmp", "xb") as living:
        assert files.lock(living.fileno())
        train(small(resume=run, steps=16), quiet=True)
        assert not left.exists()
        assert other.exists()
        assert Path(living.name).exists()
    assert train(small(resume=run), quiet=True).step == 16
    assert not Path(living.name).exists()
    # A run that was killed while it wrote its first file begins anew.
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / ".config.json.0123abcd.tmp").write_text("{")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(small(out=fresh), quiet=True).run == fresh
    assert not list(fresh.glob(".*"))
