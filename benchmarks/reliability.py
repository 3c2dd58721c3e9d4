"""What ramgru promises of files, commands and numbers, tried many times: docs/reliability.md.

    python benchmarks/reliability.py flips kills --count 100      two of the parts, 100 cases each
    python benchmarks/reliability.py fuzz --hours 8 --processes 4 as many cases as fit in
    python benchmarks/reliability.py fuzz --seed 4711             one case again, with its trace

Parts: {parts}. A case is determined by its number, the seed. The same command goes on after the
last one, in this sitting or another, and tries those that failed again; `--again` starts a part
anew. The page is written at the end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ramgru import files, kernels
from ramgru.version import __version__

PARTS = ("kills", "flips", "readers", "fuzz", "stream")
DOCS = Path(__file__).parents[1] / "docs"
EVERY = 20.0  # seconds between two saves
SHOWN = 10  # failures on the page
CHUNK = 16  # cases that a process of a pool gets at once
_case: Callable[[int], str]


def module(part: str) -> ModuleType:
    return importlib.import_module(f"reliability_{part}")


def fresh() -> dict[str, Any]:
    return {"cases": 0, "seconds": 0.0, "outcomes": {}, "failures": {}}


def attempt(case: Callable[[int], str], seed: int) -> str:
    """A case's outcome; an error is one as well."""
    try:
        return case(seed)
    except Exception as error:
        return f"!{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def prepared(part: str, work: Path) -> None:
    """In a process of a pool: what `attempted` runs."""
    global _case
    _case = module(part).prepare(work / f"{part}-{os.getpid()}")


def attempted(seed: int) -> str:
    return attempt(_case, seed)


@contextmanager
def outcomes(
    part: str, seeds: Sequence[int], work: Path, processes: int
) -> Iterator[Iterable[str]]:
    """Of each seed in turn, by so many processes."""
    if processes == 1:
        yield map(partial(attempt, module(part).prepare(work / part)), seeds)
        return
    with get_context("spawn").Pool(processes, prepared, (part, work)) as pool:
        yield pool.imap(attempted, seeds, CHUNK)


def go_on(
    part: str, record: dict[str, Any], count: int, end: float, save: Any, work: Path, processes: int
) -> None:
    """Run the cases that failed, and all from the first that was not run, up to number `count`."""
    failed = [int(seed) for seed in record["failures"]]
    seeds, before = [*failed, *range(record["cases"], count)], record["seconds"]
    start = saved = time.monotonic()
    with outcomes(part, seeds, work, processes) as found:
        for seed, outcome in zip(seeds, found):
            if record["failures"].pop(str(seed), None) is not None:
                record["outcomes"]["failed"] -= 1
            if outcome.startswith("!"):
                record["failures"][str(seed)] = outcome[1:]
                print(f"{part} {seed}: {outcome[1:]}", flush=True)
                outcome = "failed"
            record["outcomes"][outcome] = record["outcomes"].get(outcome, 0) + 1
            record["cases"] = max(record["cases"], seed + 1)
            record["seconds"] = round(before + processes * (time.monotonic() - start), 1)
            if time.monotonic() - saved > EVERY:
                saved = time.monotonic()
                save()
            if time.monotonic() > end:
                break
    save()
    print(f"{part}: {line(record)}", flush=True)


def line(record: dict[str, Any]) -> str:
    counts = sorted(record["outcomes"].items())
    outcomes = [f"{count:,} {name}" for name, count in counts if count]
    return f"{record['cases']:,} cases: {'; '.join(outcomes)}"


def page(records: dict[str, dict[str, Any]]) -> str:
    """docs/reliability.md."""
    machine = records.get("machine", {})
    lines = [
        "# Reliability",
        "",
        "What ramgru promises of files, commands and numbers, how each promise is tried, and the "
        "figures of the latest trials. `benchmarks/reliability.py` writes this page; the tests "
        "hold a short form of each part.",
        "",
        "| part | cases | failed | of the full count | hours of one core |",
        "|---|---:|---:|---:|---:|",
    ]
    for part in PARTS:
        record, full = records.get(part, fresh()), module(part).CASES
        failed, hours = len(record["failures"]), record["seconds"] / 3600
        share = record["cases"] / full
        lines.append(f"| {part} | {record['cases']:,} | {failed:,} | {share:.1%} | {hours:.2f} |")
    for part in PARTS:
        record, about = records.get(part, fresh()), module(part)
        lines += ["", f"## {part.capitalize()}", "", f"**{about.PROMISE}**", "", about.HOW, ""]
        lines.append(f"{line(record)}." if record["cases"] else "Not yet run.")
        shown = list(record["failures"].items())[:SHOWN]
        lines += [f"- seed {seed}: {text}" for seed, text in shown]
        command = f"python benchmarks/reliability.py {part} --count {about.CASES}"
        lines += ["", f"    {command}"]
        if part == "readers":
            lines += guided(records.get("guided", {}))
    lines += ["", NOTES.strip()]
    if machine:
        lines += ["", "Measured with " + ", ".join(f"{k} {v}" for k, v in machine.items()) + "."]
    return "\n".join(lines) + "\n"


def guided(readers: dict[str, Any]) -> list[str]:
    """What `reliability_guided.py` has found, a row for each reader."""
    lines = [
        "",
        "Guided by the lines that they reach, atheris chose files for one reader after the other:",
        "",
        "| file | files read | minutes | different failures |",
        "|---|---:|---:|---:|",
    ]
    for name, counts in readers.items():
        minutes, failures = counts["seconds"] / 60, counts["failures"]
        lines.append(f"| {name} | {counts['files']:,} | {minutes:.1f} | {len(failures)} |")
    lines += ["", *(f"- {name}: {text}" for name in readers for text in readers[name]["failures"])]
    if not readers:
        lines = ["", "Not yet run guided by atheris."]
    return [
        *lines,
        *([""] if lines[-1] else []),
        "    python benchmarks/reliability_guided.py --seconds 600",
    ]


NOTES = """
## What else holds

- A command writes only into a folder that is empty or its own. It holds the folder's lock before
  it writes a byte; a second command says which process has it. Links are followed, and never
  replaced. On a file system without locks a command says so.
- SIGTERM, Ctrl-C and a closed terminal end a command with 128 + the signal's number. A training
  saves its step first and prints the command that goes on; a second signal ends it at once.
- Nothing that a file names is executed. A layer of your own is imported if the command line, or
  your program, names it, and the current folder comes last on Python's path. `python -m ramgru`
  is Python's own way and looks for torch in the current folder first; `ramgru` does not.
- A file's own sizes are compared with its length before memory is taken: at most 2 GiB for the
  arrays of examples, 64 MiB for JSON, 1 GiB for a log. A saved model is built with the sizes of
  its weights or not at all.
- Digests show damage, and no forgery: whoever can write a file can write its digest.
- Standard output may be ASCII, closed, a pipe whose reader has ended, or a full disk: training
  goes on. What is a bug ends with exit code 70 and a file that holds its trace.
- Equal bits: the same process settings (threads, instruction set, torch) give the same bits run
  after run, in one process or continued in another. Kernels of this package do so on any number
  of threads; torch's own products do not promise it. Another instruction set gives the same
  numbers within float32's rounding.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    text = (__doc__ or "").replace("{parts}", ", ".join(PARTS))
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="the parts to run; none: write the page")
    parser.add_argument("--count", type=int, help="cases of each part, those before included")
    parser.add_argument("--hours", type=float, default=float("inf"), help="time for each part")
    parser.add_argument("--processes", type=int, default=1, help="cases at a time (default 1)")
    parser.add_argument("--seed", type=int, help="run one case and show its error")
    parser.add_argument("--again", action="store_true", help="forget the cases of these parts")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    parser.add_argument("--work", type=Path, default=Path("runs", "reliability"))
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"parts: expected some of {', '.join(PARTS)}, got {', '.join(unknown)}")
    store = options.docs / "reliability.json"
    options.docs.mkdir(parents=True, exist_ok=True)
    records = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}

    def save() -> None:
        files.write_json(store, records)
        files.write(options.docs / "reliability.md", page(records))

    for part in options.parts:
        if options.seed is not None:
            outcome = module(part).prepare(options.work / part)(options.seed)
            print(f"{part} {options.seed}: {outcome.removeprefix('!')}")
            return int(outcome.startswith("!"))
        if options.again or part not in records:
            records[part] = fresh()
        records["machine"] = {
            "ramgru": __version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
            "instruction set": kernels.native.isa(),
        }
        end = time.monotonic() + 3600 * options.hours
        count = options.count or module(part).CASES
        go_on(part, records[part], count, end, save, options.work, options.processes)
    save()
    return int(any(records.get(part, fresh())["failures"] for part in PARTS))


if __name__ == "__main__":
    sys.exit(main())
