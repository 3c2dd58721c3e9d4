"""Readers of files under atheris, which chooses the changes by the lines that they reach.

    python benchmarks/reliability_guided.py                    the names of the readers
    python benchmarks/reliability_guided.py --seconds 600      all, so long each
    python benchmarks/reliability_guided.py table.csv          one of them

Needs `pip install atheris`. A reader is given files until its time is over, whatever it does with
them; each different failure is kept beside the corpus, with the file that shows it, and a later
sitting goes on from the corpus. The counts are on the page that `reliability.py` writes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import atheris
import torch

with atheris.instrument_imports(
    include=["ramgru.lab", "ramgru.files", "ramgru.state", "ramgru.pretrained", "json", "csv"]
):
    import reliability_readers as readers

from ramgru import files

DOCS = Path(__file__).parents[1] / "docs"
LONGEST = 20_000  # bytes of a file
RECORD = "counts.json"
EVERY = 10.0  # seconds between two saves


def guide(name: str, target: readers.Target, folder: Path, seconds: int) -> None:
    """Give files to one reader; does not return."""
    path, content, read = target
    corpus, failures, record = folder / "corpus", folder / "failures", folder / RECORD
    for place in (corpus, failures):
        place.mkdir(parents=True, exist_ok=True)
    (corpus / "whole").write_bytes(content)
    counts = read_record(record)
    start = saved = time.monotonic()
    before = counts["seconds"]

    def one(data: bytes) -> None:
        nonlocal saved
        outcome, now = readers.read_once(path, data, read), time.monotonic()
        counts["files"] += 1
        fresh = outcome.startswith("!") and outcome[1:] not in counts["failures"]
        if fresh:
            kept = failures / str(len(counts["failures"]))
            kept.write_bytes(data)
            counts["failures"][outcome[1:]] = kept.name
            print(f"{name}: {outcome[1:]} ({kept})", flush=True)
        if fresh or now - saved > EVERY:
            saved, counts["seconds"] = now, round(before + now - start, 1)
            files.write_json(record, counts)

    options = [f"-max_total_time={seconds}", f"-max_len={max(LONGEST, 2 * len(content))}"]
    options += ["-timeout=60", "-rss_limit_mb=8192", "-verbosity=1"]
    atheris.Setup([sys.argv[0], str(corpus), *options], one)
    atheris.Fuzz()


def read_record(path: Path) -> dict[str, Any]:
    if path.exists():
        found: dict[str, Any] = files.read_json(path)
        return found
    return {"files": 0, "seconds": 0.0, "failures": {}}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readers", nargs="*", help="the readers to try")
    parser.add_argument("--seconds", type=int, help="time of each; all readers if none is named")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    parser.add_argument("--work", type=Path, default=Path("runs", "reliability", "guided"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process with more threads must not fork
    options.docs.mkdir(parents=True, exist_ok=True)
    place = options.work / "files"
    place.mkdir(parents=True, exist_ok=True)
    targets = {str(target[0].relative_to(place)): target for target in readers.targets(place)}
    if unknown := sorted({*options.readers} - {*targets}):
        parser.error(f"readers: expected some of {', '.join(targets)}, got {', '.join(unknown)}")
    if not options.readers and options.seconds is None:
        print("\n".join(targets))
        return 0
    for name in options.readers or targets:
        folder = options.work / name.replace("/", "-")
        number = os.fork()
        if number == 0:
            guide(name, targets[name], folder, options.seconds or 600)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        record = read_record(folder / RECORD)
        if code:
            record["failures"][f"the process ended with {code}"] = ""
        store = options.docs / "reliability.json"
        records = files.read_json(store) if store.exists() else {}
        records.setdefault("guided", {})[name] = record
        files.write_json(store, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
