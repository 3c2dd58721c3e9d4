"""examples/compress.py: every byte comes back, nothing is believed or overwritten unasked."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def compress(monkeypatch) -> Any:
    pytest.importorskip("constriction")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("compress")


def run_compress(*arguments: object) -> None:
    command = [sys.executable, EXAMPLES / "compress.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr


def test_another_process_with_other_threads_decodes_the_same_bytes(compress, tmp_path):
    content = compress.library(601)  # no multiple of streams and chunks
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    run_compress(path, "--threads=1")
    path.unlink()
    run_compress("-d", path.with_name("text.txt.ramgru"), "--threads=2")
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"a", bytes(range(256))], ids=["empty", "one", "all"])
def test_any_bytes_come_back(compress, content):
    assert compress.decompress(compress.compress(content)) == content


def test_a_broken_file_is_refused(compress):
    packed = compress.compress(b"to be or not to be" * 10)

    def named(**facts: object) -> bytes:
        """The file with other facts in its header; None: without."""
        magic, header, body = packed.split(b"\n", 2)
        values = {n: v for n, v in {**json.loads(header), **facts}.items() if v is not None}
        return b"\n".join((magic, json.dumps(values).encode(), body))

    assert compress.decompress(named()) == b"to be or not to be" * 10
    words = len(packed.split(b"\n", 2)[2])
    broken = "its header is broken: expected ramgru, torch, processor, sha256, bytes, streams"
    for content, message in (
        (named(bytes=10**15), rf"{words} coded bytes hold at most [\d,]+, got bytes: 1,000,0"),
        (named(bytes=-1), "got bytes: -1"),
        (named(bytes=True), broken),
        (named(bytes=1.0), broken),
        (named(streams=0), "expected 1 to 64 streams, got 0"),
        (named(streams=10**9), "expected 1 to 64 streams, got 1,000,000,000"),
        (named(streams="4"), broken),
        (named(sha256=None), broken),
        (named(torch=None), broken),
        (compress.MAGIC + b"[]\n", broken),
        (compress.MAGIC + b"{\n", "its header is broken: Expecting property name"),
        (compress.MAGIC + b"[" * 10**5 + b"\n", "its header is broken: it is nested too deeply"),
        (packed + b"1", "expected whole words of 4 bytes"),
        (packed[:-words] + b"\xff" * words, "its coded bytes are broken at step 0"),
        (packed[:-8] + bytes(4) + packed[-4:], "the file or the computer differs"),
        (packed.replace(b'"torch": "', b'"torch": "0.'), "the same bits need the same software"),
        (b"something else", "no file that compress.py wrote"),
    ):
        with pytest.raises(ValueError, match=message):
            compress.decompress(content)


def test_a_file_is_overwritten_only_if_it_is_named(compress, tmp_path, monkeypatch, capsys):
    def run(*words) -> None:
        monkeypatch.setattr(sys, "argv", ["compress.py", *map(str, words)])
        compress.main()

    def refusal(*words) -> str:
        with pytest.raises(SystemExit) as ended:
            run(*words)
        return capsys.readouterr().err + str(ended.value.code)

    path, packed = tmp_path / "n.txt", tmp_path / "n.txt.ramgru"
    path.write_bytes(b"abc")
    run(path)
    path.write_bytes(b"mine")
    assert f"{path} exists; -o {path} overwrites it" in refusal("-d", packed)
    assert "exists" in refusal(path)
    assert path.read_bytes() == b"mine"
    run("-d", packed, "-o", path)
    assert path.read_bytes() == b"abc"
    assert "cannot write" in refusal(path, "-o", tmp_path / "none" / "x")


def test_a_stopped_compressor_writes_nothing(compress, tmp_path, monkeypatch, capsys):
    path = tmp_path / "n.txt"
    path.write_bytes(b"abc")
    monkeypatch.setattr(sys, "argv", ["compress.py", str(path)])
    monkeypatch.setattr(compress, "compress", lambda *given: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        compress.main()
    assert ended.value.code == 128 + signal.SIGTERM
    assert "nothing was written, the same command begins again" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [path]
