"""Readers: broken, foreign and hostile files are refused in one sentence, soon and in little room.

`reliability_guided.py` lets atheris choose the changes, guided by the lines that they reach.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from reliability_flips import small_run, subjects

from ramgru.config import Memory
from ramgru.errors import RamgruError
from ramgru.lab import spec, tasks
from ramgru.lab.compare.results import from_json, read_evaluation
from ramgru.lab.train.run import load_run

PROMISE = (
    "Any file in place of one that ramgru reads ends in one sentence, within two seconds of "
    "computing and without a gibibyte of memory; nothing in it is executed."
)
HOW = (
    "A file of each kind, without its digest, is changed at places drawn from the seed: bits, "
    "bytes, numbers of 2 to 8 bytes at their limits, digits, pieces cut, doubled, exchanged with "
    "pieces of other files. Readers: runs, configurations, logs, checkpoints, evaluations, "
    "comparisons, saved models and states, examples (npz, Parquet), tables (CSV, TSV, npy), lines "
    "(JSONL), text, tokens, options as text. A warning of NumPy counts as a failure."
)
CASES = 100_000
SECONDS, ROOM = 2, 1 << 30
TIMES = itertools.count(1)

Read = Callable[[Path], Any]
Target = tuple[Path, bytes, Read]  # of a place, a whole file, and what reads it


def without_digest(content: bytes) -> bytes:
    """A file that its reader takes as one written elsewhere: no digest is checked."""
    try:
        values = json.loads(content)
        values.pop("sha256", None)
        return json.dumps(values).encode()
    except (ValueError, AttributeError):  # no JSON object
        return re.sub(rb', "crc": "[0-9a-f]{8}"', b"", content).replace(b"sha256:", b"sha999:")


def targets(folder: Path) -> list[Target]:
    """Places, contents and readers of all kinds of files."""
    run = small_run(folder / "run")
    found = {path: (path.read_bytes(), read) for path, read in subjects(run, folder)}
    config = run / "config.json"
    values = json.loads(config.read_bytes())
    del values["sha256"]
    more: dict[Path, tuple[bytes, Read]] = {
        config: (json.dumps(values).encode(), lambda path: load_run(run)),
        run / "evaluation.json": (found[run / "evaluation.json"][0], read_evaluation),
        folder / "compare.json": (
            json.dumps({"format": "ramgru-compare-2", "tasks": [], "command": ""}).encode(),
            lambda path: from_json(path.read_text(encoding="utf-8", errors="replace")),
        ),
        folder / "t.txt": (
            b"to be or not to be \xc3\xa4 " * 20,
            lambda path: tasks.get("text", path=str(path), length=8).draw(2, 0),
        ),
        folder / "t.npy": (
            npy(np.arange(100, dtype=np.int32)),
            lambda path: tasks.get("tokens", path=str(path), length=8).draw(2, 0),
        ),
        folder / "table.csv": (
            b"day,sales,shop\n" + b"".join(b"2024-%d,%d.5,a\n" % (n, n) for n in range(40)),
            table(target="sales", skip="day,shop"),
        ),
        folder / "classes.tsv": (
            b"who\tx\tkind\n"
            + b"".join(b"%d\t%d\t%c\n" % (n // 8, n * n % 7, 97 + n // 8 % 2) for n in range(40)),
            table(target="kind", predict="class", series="who", ask="end"),
        ),
        folder / "table.npy": (
            npy(np.arange(120, dtype=np.float32).reshape(2, 20, 3) % 7),
            table(target="2", predict="value"),
        ),
        folder / "texts.jsonl": (b'{"text": "to be \\u00e4"}\n"or not"\n' * 20, lines()),
        folder / "bytes.jsonl": (b'{"text": "to be \\u00e4"}\n"or not"\n' * 20, lines(unit="byte")),
        folder / "ids.jsonl": (b'[17, 4, 902]\n{"tokens": [3, 4, 5, 6]}\n' * 20, lines()),
        folder / "heads": (b"key:2:skip=1 learned lag:4 tape", text(heads)),
        folder / "task": (b"mqar,pairs=4,length=32", text(tasks.from_text)),
        folder / "layer": (b"attention,positions=rope", text(spec.split)),
    }
    return [(path, without_digest(old), read) for path, (old, read) in {**found, **more}.items()]


def table(**options: str) -> Read:
    return lambda path: tasks.get("table", path=str(path), length=8, **options).draw(2, 0)


def lines(**options: str) -> Read:
    return lambda path: tasks.get("lines", path=str(path), length=8, **options).draw(2, 0)


def npy(array: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def text(read: Callable[[str], Any]) -> Read:
    """A reader of options: what they raise for a wrong value is a sentence, too."""

    def run(path: Path) -> Any:
        try:
            return read(path.read_text(encoding="utf-8", errors="replace"))
        except (ValueError, TypeError) as error:
            raise RamgruError(str(error)) from error

    return run


def heads(given: str) -> Memory:
    return Memory(cells=64, heads=given)  # type: ignore[arg-type]


def change(content: bytes, others: list[bytes], r: random.Random) -> bytes:
    """`content` with one to four random changes."""
    found = bytearray(content)
    for _ in range(r.randint(1, 4)):
        place = r.randrange(len(found) + 1)
        size = min(len(found) - place, r.choice([1, 2, 4, 8, 64, 1024]))
        what = r.randrange(8)
        if what == 0 and size:
            found[r.randrange(place, place + size)] ^= 1 << r.randrange(8)
        elif what == 1:
            found[place : place + size] = r.randbytes(size)
        elif what == 2:
            del found[place : place + size]
        elif what == 3:
            found[place:place] = found[place : place + size] * r.choice([1, 2, 100])
        elif what == 4:
            kind = r.choice(["<H", "<I", "<Q", ">I"])
            most = 256 ** struct.calcsize(kind)
            number = r.choice([0, 1, most // 2, most // 2 - 1, most - 1, most // 1024])
            found[place : place + struct.calcsize(kind)] = struct.pack(kind, number)
        elif what == 5:  # a number in text
            digits = [n for n, byte in enumerate(found[:100_000]) if 48 <= byte <= 57]
            if digits:
                n = r.choice(digits)
                found[n : n + 1] = r.choice([b"0", b"-1", b"1e9", b"99999999999", b"1e999", b'""'])
        elif what == 6:
            other = r.choice(others)
            start = r.randrange(len(other) + 1)
            found[place : place + size] = other[start : start + size]
        else:
            del found[place:]
    return bytes(found)


class Slow(BaseException):
    """A reader took longer than it may."""


def _slow(number: int, frame: FrameType | None) -> None:
    raise Slow


def read_once(path: Path, content: bytes, read: Read) -> str:
    """The outcome of reading `content`."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path.write_bytes(content)
    os.utime(path, ns=(0, next(TIMES)))  # readers keep what they read by its time and size
    if path.suffix == ".parquet":
        return apart(path, read)
    signal.signal(signal.SIGVTALRM, _slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # of ramgru, for its users
            read(path)
        outcome = "read"
    except RamgruError as error:
        several = "\n" in str(error).strip()
        outcome = f"!{path.name}: several lines: {str(error)!r:.100}" if several else "refused"
    except Slow:
        outcome = f"!{path.name} took more than {SECONDS} s"
    except Exception as error:
        outcome = f"!{path.name}: {type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return outcome if grown * 1024 < ROOM else f"!{path.name} took {grown >> 10} MiB"


def apart(path: Path, read: Read) -> str:
    """The outcome in a process of its own: a reader of a library may end it."""
    number = os.fork()
    if number == 0:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)  # its signal ends the process
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        code = 2
        try:
            read(path)
            code = 0
        except RamgruError:
            code = 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    outcomes = {0: "read", 1: "refused", 2: f"!{path.name}: another error than a sentence"}
    return outcomes.get(code, f"!{path.name}: its process ended with {code}")


def prepare(folder: Path) -> Callable[[int], str]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    found = targets(folder)
    contents = [content for _, content, _ in found]
    for path, content, read in found:
        outcome = read_once(path, content, read)  # warm, and the file without a digest is read
        assert outcome == "read", f"{path}: {outcome}"

    def case(seed: int) -> str:
        path, content, read = found[seed % len(found)]
        try:
            return read_once(path, change(content, contents, random.Random(seed)), read)
        finally:
            path.write_bytes(content)

    return case
