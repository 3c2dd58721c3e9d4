"""Test the project's claims, and write the pages that state them.

    python benchmarks/claims.py                            # all pages; resumes interrupted work
    python benchmarks/claims.py quality mqar hold          # some rows of one page
    python benchmarks/claims.py quality --jobs 2           # two runs at a time, one thread each
    python benchmarks/claims.py leaderboard --layers ramgru
    python benchmarks/claims.py --draw                     # only redraw the pages

The rows are in claims_table.py. A page is drawn from the JSON beside it, which holds the results
of each seed, so that rows can be measured one by one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import claims_leaderboard as leaderboard
import claims_page
import claims_runs
from claims_rows import Page
from claims_table import PAGES
from pages import DOCS

from ramgru.lab.compare.runs import Interrupted

NAMES = (*PAGES, leaderboard.NAME)


def study(
    page: Page,
    docs: Path,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
    jobs: int = 1,
    root: Path = claims_runs.ROOT,
) -> bool:
    """Train the named rows of a page, or all rows, and draw the page; -> whether all runs
    succeeded."""
    path = docs / "study" / f"{page.name}.json"
    wanted = [row for row in page.rows if not rows or row.name in rows]
    try:
        return claims_runs.run(wanted, root, seeds, jobs)
    finally:  # an interrupted run leaves results too
        claims_page.write(page, claims_runs.update(page, path, root, seeds), docs)


def draw(name: str, docs: Path) -> Path | None:
    """Draw a page from its stored results; -> its path, or None without any results."""
    if name in PAGES:
        records = claims_runs.read(PAGES[name], docs / "study" / f"{name}.json")
        return claims_page.write(PAGES[name], records, docs)
    known = leaderboard.read(docs)
    return None if known is None else leaderboard.write(known, docs)


def suite(docs: Path, layers: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """Train layers of the leaderboard, and store their results beside those of the others."""
    new = leaderboard.train(leaderboard.selected(layers), tuple(seeds), jobs)
    leaderboard.store(leaderboard.merged(leaderboard.read(docs), new), docs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="?", choices=NAMES, help="all pages without it")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the page; default: all")
    parser.add_argument("--layers", nargs="+", default=(), help="of the leaderboard; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=(), help="replace the rows' own")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--draw", action="store_true", help="draw the pages without training")
    given = parser.parse_args()
    known = [row.name for row in PAGES[given.page].rows] if given.page in PAGES else []
    if unknown := [name for name in given.rows if name not in known]:
        parser.error(f"unknown row {unknown[0]!r} of {given.page}; expected {', '.join(known)}")
    if given.jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {given.jobs}")
    if given.layers and not leaderboard.selected(given.layers):
        parser.error(f"--layers: no layer of the leaderboard is named {given.layers[0]!r}")
    fine = True
    for name in [given.page] if given.page else NAMES:
        try:
            if given.draw:
                pass
            elif name in PAGES:
                fine &= study(PAGES[name], DOCS, given.rows, given.seeds, given.jobs)
            else:
                suite(DOCS, given.layers, given.seeds, given.jobs)
        except (Interrupted, KeyboardInterrupt) as error:
            sys.exit(str(error) or "interrupted; the same command resumes")
        path = draw(name, DOCS)
        print(f"wrote {path}" if path else f"{name}: no results, no page written")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
