"""Does each peer do here what it is known for? Train them on their home tasks, three seeds each.

    python benchmarks/home_tasks.py                  # all rows; goes on where it was stopped
    python benchmarks/home_tasks.py lstm-parity      # some of them
    python benchmarks/home_tasks.py --draw           # only the page, of what is finished

Writes docs/study/home_tasks.md and the numbers beside it as JSON. A peer that fails where it is
known to succeed was built or tuned wrongly, and proves nothing where it loses to the RAM-GRU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import quality_page
import quality_runs
from pages import DOCS, table
from quality_page import Found
from quality_rows import Bar, Question, Row

from ramgru import files
from ramgru.lab import tasks
from ramgru.lab.compare.runs import Interrupted
from ramgru.lab.peers import PEERS
from ramgru.lab.show.plots import percent
from ramgru.lab.show.sentences import joined
from ramgru.lab.tasks.registry import TASKS
from ramgru.lab.train import ModelConfig, TrainConfig

ROOT = Path("runs/home-tasks")
PAGE = "home_tasks"
COMMAND = "python benchmarks/home_tasks.py"
MQAR = {"vocab_size": 8192, "pairs": 16, "length": 64}
ZOOLOGY = "arXiv 2312.04927"


@dataclass(frozen=True)
class Home:
    """A peer and the task that it is known to solve.

    layer:  the peer's name, its options behind commas
    sizes:  of the task that is learnt; asked: those that are others when the model is asked
    least:  the score that counts as the known result
    known:  the result in words; source: who found it
    model:  options of the network; how: of its training
    rates:  learning rates tried, all on the first seed
    """

    layer: str
    task: str
    sizes: Mapping[str, int]
    least: float
    known: str
    source: str
    asked: Mapping[str, int] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    rates: tuple[float, ...] = (3e-3, 1e-2)

    @property
    def peer(self) -> str:
        return self.layer.partition(",")[0]

    @property
    def name(self) -> str:
        return f"{self.peer}-{self.task}"

    @property
    def missing(self) -> str:
        """What this row needs and is not there; empty where all is."""
        return " and ".join(
            f"no {kind} {name!r}"
            for kind, name, known in (("peer", self.peer, PEERS), ("task", self.task, TASKS))
            if name not in known
        )

    def row(self) -> Row:
        """What `quality_runs` trains and asks."""
        task = tasks.get(self.task, **self.sizes)
        training = TrainConfig(
            task=task,
            model=ModelConfig(layer=self.layer, **self.model),
            threads=1,
            device="cpu",
            **self.how,
        )
        asked = task.resized(**self.asked) if self.asked else task
        question = Question(dict(self.asked), asked, (Bar(least=self.least),))
        return Row(self.name, self.known, training, (question,), rates=self.rates)


HOMES = (
    Home(
        "attention",
        "mqar",
        MQAR,
        0.99,
        "recalls all pairs at every size",
        ZOOLOGY,
        how={"steps": 300},
    ),
    Home(
        "window_attention,window=64",
        "mqar",
        {**MQAR, "pairs": 8},
        0.99,
        "is full attention as long as all pairs lie within its window",
        f"{ZOOLOGY}; arXiv 2402.18668",
        how={"steps": 300},
    ),
    Home(
        "deltanet",
        "mqar",
        MQAR,
        0.99,
        "recalls all pairs that its keys have dimensions for",
        "arXiv 2406.06484",
        how={"steps": 500},
    ),
    Home(
        "gated_deltanet",
        "mqar",
        MQAR,
        0.99,
        "recalls what a DeltaNet does: where its decay stays at 1 it is one",
        "arXiv 2412.06464",
        how={"steps": 900},
        rates=(1e-2,),  # of two that were tried with fewer steps
    ),
    Home(
        "mamba2",
        "mqar",
        MQAR,
        0.99,
        "recalls one pair for every four steps, as attention does and Mamba does not",
        "arXiv 2405.21060, section 9.1 and figure 8",
        how={"steps": 700},
    ),
    Home(
        "gated_slots",
        "mqar",
        MQAR,
        0.95,
        "recalls more than other linear attention: nearly all pairs that it has slots for",
        "arXiv 2409.07146, abstract",
        how={"steps": 700},
    ),
    Home(
        "sparse_delta,cells=4096",
        "mqar",
        MQAR,
        0.95,
        "recalls with many cells what a dense state has no room for: nearly all of twice as many "
        "pairs as such a state of its width has dimensions",
        "arXiv 2607.07386, abstract",
        asked={"pairs": 128, "length": 512},
        how={"steps": 600, "batch_size": 32},
    ),
    Home(
        "lstm",
        "parity",
        {"length": 40},
        0.99,
        "trained on strings of up to 40, right on strings of 41 to 500",
        "arXiv 2207.02098, appendix B.1",
        asked={"min_length": 41, "length": 500},
        model={"num_layers": 1},
        how={"steps": 400},
    ),
    Home(
        "ntm,hidden_size=100",
        "copy",
        {"length": 20},
        0.99,
        "copies lists of up to 20 vectors without a wrong bit",
        "arXiv 1410.5401, section 4.1",
        model={"num_layers": 1, "d_model": 32},
        how={"steps": 1500, "batch_size": 32},
        rates=(3e-3,),
    ),
    Home(
        "dnc,hidden_size=100",
        "copy",
        {"length": 20},
        0.99,
        "copies lists of random vectors, each into a cell that is free",
        "Nature 538 (2016), 471–476, extended data figure 1",
        model={"num_layers": 1, "d_model": 32},
        how={"steps": 700, "batch_size": 32},
        rates=(3e-3,),
    ),
    Home(
        "mingru",
        "selective_copy",
        {"vocab_size": 16, "tokens": 4, "length": 64},
        0.95,
        "two layers copy nearly all tokens, one does not",
        "arXiv 2410.01201",
        how={"steps": 1000},
    ),
)


def write(
    homes: Sequence[Home], root: Path, folder: Path, seeds: Sequence[int] = ()
) -> Path | None:
    """The page of all rows that are finished, and its data; -> its path, or None of none.

    Rows whose runs are gone stay as the data there has them, as long as their recipe is the same:
    the page grows over several sittings, on one machine or on others.
    """
    before, found = _kept(folder / f"{PAGE}.json"), {}
    for home in homes:
        if home.missing:
            continue
        measured = quality_page.collect(home.row(), root, seeds)
        row = _plain(home, measured) if measured else None
        kept = before.get(home.name)
        if kept is not None and _recipe(kept) != _recipe(asdict(home)):
            kept = None
        if kept is not None and (row is None or len(row["seeds"]) < len(kept["seeds"])):
            row = {**kept, "known": home.known, "source": home.source}
        if row is not None:
            found[home.name] = row
    if not found:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / f"{PAGE}.json", found)
    return files.write(folder / f"{PAGE}.md", "\n".join(_page(homes, found)) + "\n")


def _kept(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier sitting, by name."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _recipe(row: Mapping[str, Any]) -> dict[str, Any]:
    """All that the numbers of a row and its verdict come from, as JSON values."""
    names = (each.name for each in fields(Home) if each.name not in ("known", "source"))
    values: dict[str, Any] = json.loads(json.dumps({name: row.get(name) for name in names}))
    return values


def _page(homes: Sequence[Home], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shown = [(home, found[home.name]) for home in homes if home.name in found]
    lines = [
        "# Peers on their home tasks",
        "",
        f"Written by `{COMMAND}`; do not edit. `{PAGE}.json` beside it holds the values of each "
        "seed.",
        "",
        "What each peer is known for, done again here by the code that it is compared with, at "
        "sizes that a core learns in minutes. Scores are of sequences that were not trained on; "
        "intervals are Student's 95 % intervals over seeds. Reached: the mean is at the bar. "
        "Seconds are those of a training by the clock, whatever else the machine did.",
        "",
        *table(
            [
                "peer and task",
                "bar",
                "mean",
                "95 % interval",
                "chance",
                "reached",
                "seeds",
                "seconds",
            ],
            [_scores(home, row) for home, row in shown],
        ),
        *table(
            ["peer and task", "known", "source", "learnt", "asked", "training"],
            [_told(home, row) for home, row in shown],
        ),
    ]
    if left := [home.name for home in homes if home.name not in found]:
        lines += [f"Not measured yet: {joined(left)}.", ""]
    machines = dict.fromkeys(machine for _, row in shown for machine in row["machine"])
    return [*lines, f"Machine: {'; '.join(machines)}."]


def _scores(home: Home, row: Mapping[str, Any]) -> list[str]:
    score, seconds = row["score"], row["seconds"]
    interval = ""
    if score["low"] is not None and score["high"] is not None:
        interval = f"{percent(score['low'])} – {percent(score['high'])}"
    return [
        home.name,
        score["bar"],
        percent(score["mean"]),
        interval,
        percent(score["chance"] or 0.0),
        "yes" if score["met"] else "no",
        str(len(row["seeds"])),
        f"{sum(seconds) / len(seconds):,.0f}",
    ]


def _told(home: Home, row: Mapping[str, Any]) -> list[str]:
    training = home.row().training
    rates = joined([f"{rate:g}" for rate in home.rates])
    return [
        home.name,
        home.known,
        home.source,
        _sizes(home.sizes),
        _sizes(home.asked) or "the same sizes",
        f"`{home.layer}`, {training.model.num_layers} of width {training.model.d_model}, "
        f"{row['parameters']:,} parameters; at most {training.total_steps:,} steps of "
        f"{training.batch_size}, rate {row['lr']:g} of {rates}",
    ]


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in sizes.items())


def _plain(home: Home, found: Found) -> dict[str, Any]:
    """A row as JSON values."""
    score, seconds = found.cells[0], found.cells[-1]
    return {
        **asdict(home),
        "command": f"{COMMAND} {home.name}",
        "seeds": found.seeds,
        "lr": found.training.lr,
        "steps": found.steps,
        "parameters": found.parameters,
        "score": asdict(score),
        "seconds": seconds.each,
        "machine": found.machines,
    }


def main() -> None:
    names = [home.name for home in HOMES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of 0, 1 and 2")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, a thread each")
    parser.add_argument("--draw", action="store_true", help="write the page without training")
    given = parser.parse_args()
    if unknown := [name for name in given.rows if name not in names]:
        parser.error(f"unknown row {unknown[0]!r}; expected some of {', '.join(names)}")
    if given.jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {given.jobs}")
    fine, seeds = True, given.seeds or ()
    if not given.draw:
        wanted = [home for home in HOMES if not given.rows or home.name in given.rows]
        for home in wanted:
            if home.missing:
                print(f"{home.name}: left out, there is {home.missing}", file=sys.stderr)
        rows = [home.row() for home in wanted if not home.missing]
        try:
            fine = quality_runs.run(rows, ROOT, seeds, given.jobs)
        except (Interrupted, KeyboardInterrupt) as error:
            sys.exit(str(error) or "interrupted; the same command goes on")
    path = write(HOMES, ROOT, DOCS / "study", seeds)
    print(f"wrote {path}" if path else f"no row is finished in {ROOT}: no page was written")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
