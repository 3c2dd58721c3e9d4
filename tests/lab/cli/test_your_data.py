"""Your own data at the command line, as docs/your_data.md shows it: train, evaluate, predict."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ramgru.lab.cli import main
from ramgru.lab.evaluate import predict
from ramgru.lab.tasks import sources
from ramgru.lab.train.run import WEIGHTS

TEXT = (Path(__file__).parents[3] / "docs" / "your_data.md").read_text(encoding="utf-8")
SMALL = (
    "--model.d-model 16 --model.num-layers 1 --model.memory.cells 32 --model.memory.heads lag:24"
)
SHORT = "--steps 6 --steps-per-epoch 3 --batch-size 8 --evaluate-examples 8 --warmup 2 --threads 1"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def season(path: str, rows: int = 240) -> None:
    """A season of twelve rows that repeats, and its number."""
    shape = np.random.default_rng(0).standard_normal(12)
    lines = [f"{n},{shape[n % 12]:.6f}" for n in range(rows)]
    Path(path).write_text("\n".join(["month,sales", *lines]) + "\n")


def run(line: str) -> int:
    return main(shlex.split(line))


def said(capsys, line: str) -> str:
    """What a command that fails says: one line."""
    capsys.readouterr()
    assert run(line) != 0
    out, error = capsys.readouterr()
    assert error.count("\n") == 1, error
    return error.strip()


def test_a_season_is_learned_and_evaluated_beside_the_naive_forecast(capsys):
    season("sales.csv")
    options = "--task.target sales --task.skip month --task.horizon 2 --task.length 36"
    budget = "--steps 100 --steps-per-epoch 50 --batch-size 16 --evaluate-examples 16 --lr 1e-2"
    assert run(f"train --data sales.csv {options} {SMALL} {budget} --threads 1") == 0
    out = capsys.readouterr().out
    assert re.search(r"epoch 2 · loss \d\.\d{4} · skill \d\.\d{3}\n", out)
    assert run("evaluate") == 0
    shown = capsys.readouterr().out
    for column in ("skill", "mean error", "without a model"):
        assert column in shown
    rows = json.loads(Path("runs/table-ramgru/evaluation.json").read_text())["rows"]
    assert [row["ahead"] for row in rows] == [1, 2]
    values = np.loadtxt("sales.csv", delimiter=",", skiprows=1)[:, 1]
    for row in rows:
        ahead = row["ahead"]
        assert row["count"] == 48 - (ahead - 1)  # a fifth of 240 rows, each once
        errors = np.abs(values[192 + ahead - 1 :] - values[191 : 240 - ahead])
        assert row["zero_error"] == pytest.approx(errors.mean(), rel=1e-4)
        assert row["score"] > 0.8
        assert row["error"] < 0.5 * row["zero_error"]
        assert row["low"] is None

    told = predict("runs/table-ramgru")
    assert told.shape == (240, 2)
    error = np.abs(told[191:239, 0] - values[192:]).mean()
    assert error < 0.6 * rows[0]["zero_error"]
    Path("new.csv").write_text("\n".join(Path("sales.csv").read_text().splitlines()[:100]))
    np.testing.assert_allclose(predict("runs/table-ramgru", "new.csv"), told[:99], atol=1e-5)


def test_classes_at_the_end_of_series():
    rows = [f"{s},{step},{math.sin(s):.3f},{'ab'[s % 2]}" for s in range(20) for step in range(5)]
    Path("events.tsv").write_text("\n".join(["who,step,x,kind", *rows]).replace(",", "\t"))
    options = "--task.series who --task.target kind --task.predict class --task.ask end"
    assert run(f"train --data events.tsv {options} {SMALL} {SHORT}") == 0
    assert run("evaluate --effort.examples 4") == 0
    (row,) = json.loads(Path("runs/table-ramgru/evaluation.json").read_text())["rows"]
    assert (row["count"], row["chance"]) == (4, 0.5)
    assert set(predict("runs/table-ramgru")) <= {"a", "b"}


@pytest.mark.parametrize("way", ["text", "tokens", "array", "file of tokens"])
def test_other_files(way):
    if way == "text":
        Path("x.jsonl").write_text('{"text": "to be or not to be"}\n' * 20)
    elif way == "tokens":
        Path("x.jsonl").write_text("[3, 1, 2, 3, 1, 2, 3]\n" * 20)
    path = "x.npy" if "x.jsonl" not in os.listdir() else "x.jsonl"
    if way == "array":
        np.save("x.npy", np.sin(np.arange(80.0)).reshape(2, 40, 1))
    elif way == "file of tokens":
        np.save("x.npy", np.arange(90) % 7)
    flag = "--text" if way == "text" else "--data"
    assert run(f"train {flag} {path} --task.length 6 {SMALL} {SHORT}") == 0


def test_a_pipe_is_kept_so_that_a_run_can_go_on(monkeypatch):
    season("sales.csv", 60)
    content = Path("sales.csv").read_bytes()
    os.mkfifo("pipe")
    feeder = threading.Thread(target=lambda: Path("pipe").write_bytes(content))
    feeder.start()
    options = f"--task.target sales --task.length 8 {SMALL} {SHORT}"
    assert run(f"train --data pipe {options} --out a") == 0
    feeder.join()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(f"train --data - {options} --out b") == 0
    assert Path("a", WEIGHTS).read_bytes() == Path("b", WEIGHTS).read_bytes()
    assert run("train --resume b --steps 8") == 0
    (kept,) = sources.PIPED.iterdir()
    assert kept.read_bytes() == content
    kept.write_bytes(content + b"60,1.5\n")
    assert run("train --resume b --steps 10") == 2  # other data


def test_killed_and_resumed_with_the_same_bits(tmp_path):
    season("sales.csv", 80)
    options = shlex.split(
        f"train --data sales.csv --task.target sales --task.length 8 --model.dropout 0.1 {SMALL} "
        "--steps 60 --steps-per-epoch 20 --batch-size 8 --evaluate-examples 8 --save-every 5 "
        "--log-every 5 --threads 1 --out"
    )
    assert main([*options, "whole"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "ramgru", *options, "run"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert b" lr " in process.stdout.readline()
    assert process.stdout.readline().startswith(b"epoch 1 ")  # after step 20 of 60
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert run("train --resume run") == 0
    assert Path("run", WEIGHTS).read_bytes() == Path("whole", WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        ("x.jsonl", "[1, 2]\noops\n", "--text x.jsonl", "x.jsonl, line 2: expected JSON"),
        ("x.csv", "a,b\n1,2\n", "--data x.csv", "x.csv: give --task.target, one of its columns"),
        ("x.csv", "a,b\n1,2\n", "--text x.csv", "x.csv holds no text: --data reads .csv files"),
        ("x.csv", "a\nz\n1\n", "--data x.csv", "line 2, column a: expected a number, got 'z'"),
        ("x.md", "text", "--data x.md", "--data reads files that end in .npz, .parquet, "),
        ("x.csv", "", "--data x.csv", "x.csv is empty"),
        ("x.npz", "text", "--data x.npz", "does not hold examples, or is broken: it does not end"),
        ("x.csv", "", "--data missing.csv", "cannot read "),
        ("x.json", "[17, 4, 2]", "--text x.json", "x.json begins with a list of numbers, not with"),
        ("x", '{"id": 1, "tokens": [3]}', "--text x", "x begins with a list of numbers, not with"),
    ],
)
def test_what_is_not_understood_is_one_sentence(capsys, name, content, line, message):
    Path(name).write_text(content)
    error = said(capsys, f"train {line}")
    assert message in error
    assert "pickle" not in error
    assert not Path("runs").exists()


def test_the_page_s_code_runs(capsys):
    """Its commands with smaller budgets, then its Python."""
    season("sales.csv", 120)
    for block in re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL):
        for line in block.splitlines():
            if "sales.csv" in line and "|" not in line:
                small = f" {SMALL} {SHORT}" if " train " in line else ""
                assert run(line.removeprefix("ramgru ").partition("#")[0] + small) == 0
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        exec(compile(block, "docs/your_data.md", "exec"), names)
    assert names["forecast"].shape == (12,)
