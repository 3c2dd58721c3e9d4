"""Put to the test what the project claims about the memory's quality; write docs/study/quality.md.

    python benchmarks/quality.py             # all rows; goes on where it was stopped
    python benchmarks/quality.py mqar copy   # some of them
    python benchmarks/quality.py --jobs 2    # two runs side by side, one thread each
    python benchmarks/quality.py --draw      # only the page, of what is finished

Trained on at most 64 pairs and 256 steps, at most a quarter of an hour a run; three seeds a row.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import quality_page
import quality_runs
from pages import DOCS
from quality_measures import kept_cells, steps_to_target
from quality_rows import Bar, Question, Row

from ramgru.lab import tasks
from ramgru.lab.compare.runs import Interrupted
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import ModelConfig, TrainConfig
from ramgru.lab.train.build import RAMOptions

# The one configuration of the layer, the same for all rows.
RAM = RAMOptions(
    controller="gru",
    nhead=8,
    head_size=32,
    memory_size=2**20,
    spans=(1, 1, 2, 3, 4, 3, 3, 3),
    skips=(0, 0, 0, 0, 0, 1, 2, 3),
)
ROOT = Path("runs/quality")


def training(name: str, options: dict[str, Any], ram: RAMOptions = RAM, **how: Any) -> TrainConfig:
    """A row's training: the task of this name at these sizes, and how it is learnt."""
    return TrainConfig(
        task=tasks.get(name, **options), model=ModelConfig(ram=ram), threads=1, device="cpu", **how
    )


def at_least(score: float, value: str = "score") -> tuple[Bar, ...]:
    return (Bar(value, least=score),)


def recall(pairs: int, length: int, score: float) -> Question:
    """A question about recall at one size."""
    task = tasks.get("mqar", pairs=pairs, length=length)
    return Question({"pairs": pairs, "length": length}, task, at_least(score))


MQAR = Row(
    "mqar",
    "Trained on 16 pairs, the memory recalls as many pairs as there are keys, and more of them "
    "than softmax attention that was trained alike.",
    training("mqar", {"pairs": 16, "length": 64}, steps=300, batch_size=64, lr=3e-3),
    (
        recall(64, 256, 0.995),
        recall(256, 1024, 0.99),
        recall(1024, 4096, 0.98),
        recall(4095, 16_384, 0.95),
    ),
    above="mqar_attention",
    picture="pairs",
)

MQAR_ATTENTION = replace(
    MQAR,
    name="mqar_attention",
    claim="Softmax attention of the same width and depth on the same data, to be compared with.",
    training=replace(MQAR.training, model=ModelConfig(layer="attention")),
    questions=tuple(replace(question, bars=(Bar(),)) for question in MQAR.questions),
    rates=(1e-3, 3e-3, 1e-2),
    above=None,
    picture=None,
)

MQAR_LARGE = Row(
    "mqar_large",
    "With 65,536 tokens, trained on 16 pairs, it recalls 16,384 pairs over "
    "65,536 steps, which it reads in pieces.",
    training(
        "mqar",
        {"vocab_size": 65_536, "pairs": 16, "length": 64},
        steps=250,
        batch_size=64,
        lr=1e-2,  # so many tokens are each seen a few times only
        curriculum=False,
    ),
    (
        Question(
            {"pairs": 16_384, "length": 65_536},
            tasks.get("mqar", vocab_size=65_536, pairs=16_384, length=65_536),
            at_least(0.95),
            Effort(examples=2, questions=1, tokens=8192),  # logits: 65,536 a question
        ),
    ),
)

MQAR_UPDATE = Row(
    "mqar_update",
    "Of a key that was written twice it gives the later value.",
    training(
        "mqar_update",
        {"pairs": 16, "updates": 16, "length": 128},
        steps=300,
        batch_size=64,
        lr=3e-3,
    ),
    (
        Question(
            {"pairs": 256, "updates": 256, "length": 2048},
            tasks.get("mqar_update", pairs=256, updates=256, length=2048),
            at_least(0.99),
        ),
    ),
)

PHRASES = training(
    "mqar_compositional",
    {"min_key": 2, "key": 4, "pairs": 16, "length": 160},
    steps=400,
    batch_size=64,
    lr=3e-3,
)
MQAR_COMPOSITIONAL = Row(
    "mqar_compositional",
    "It recalls by phrases of two to four tokens, no one of which tells the pair.",
    PHRASES,
    tuple(
        Question(point.axes, point.task, at_least(0.98) if point.axes["pairs"] == 16 else (Bar(),))
        for point in PHRASES.task.grid()
        if point.axes["pairs"] in (16, 256)
    ),
)

NGRAM_LOOKUP = Row(
    "ngram_lookup",
    "Shown three letters of a string, it goes on from there: trained on strings of up to 20 "
    "letters, asked on strings of 80.",
    training(
        "ngram_lookup",
        {"n": 3, "min_length": 5, "length": 20},
        steps=400,
        batch_size=64,
        lr=3e-3,
    ),
    (
        Question(
            {"length": 80},
            tasks.get("ngram_lookup", n=3, min_length=80, length=80),
            (*at_least(0.98), *at_least(0.9, "exact")),
            Effort(examples=256),
        ),
    ),
)

COPY = Row(
    "copy",
    "Trained on lists of up to 20 vectors, it copies 1,000. A symbol is a bit; a whole answer is "
    "the whole list.",
    training("copy", {"length": 20}, steps=400, batch_size=64, lr=3e-3),
    tuple(
        Question(
            {"length": length},
            tasks.get("copy", min_length=length, length=length),
            (*at_least(0.99), Bar("exact")),
        )
        for length in (200, 1000)
    ),
)

ASSOCIATIVE_RECALL = Row(
    "associative_recall",
    "Trained on up to 10 items, it finds the one that followed among 1,000. The bar is held "
    "against the measure of the task's own paper (arXiv 1410.5401): the cross-entropy of the item "
    "asked for, in bits a sequence.",
    training("associative_recall", {"items": 10}, steps=600, batch_size=64, lr=3e-3),
    tuple(
        Question(
            {"items": items},
            tasks.get("associative_recall", min_items=items, items=items),
            (Bar("cost", most=0.05), Bar("wrong"), Bar()),
            Effort(examples=200),
        )
        for items in (20, 200, 1000)
    ),
)

MILLION = tasks.get("hold", pairs=16, min_distance=1_000_000, distance=1_000_000)
HOLD = Row(
    "hold",
    "Sixteen pairs are known after a million steps of noise, and the cells that a single token "
    "names hold the very same bits.",
    training("hold", {"pairs": 16, "distance": 100}, steps=250, batch_size=64, lr=3e-3),
    (
        Question(
            {"distance": 1_000_000},
            MILLION,
            at_least(0.99),
            Effort(examples=1, questions=1),
        ),
        Question(
            {"distance": 1_000_000},
            MILLION,
            at_least(1.0, "kept"),
            Effort(examples=1),
            kept_cells,
        ),
    ),
)

PROGRAMS = Row(
    "programs",
    "Trained on programs of 8 registers and 20 statements, it reads back what registers hold in "
    "programs of 64 registers and of 160 statements; arithmetic and text, which ask for a result "
    "too, are shown beside it.",
    training("programs", {"registers": 8, "statements": 20}, steps=500, batch_size=16, lr=3e-3),
    tuple(
        Question(
            {"registers": registers, "statements": 160},
            tasks.get("programs", registers=registers, statements=160),
            (*at_least(0.95, "exact read"), Bar("exact arithmetic"), Bar("exact text")),
            Effort(questions=8192),
        )
        for registers in (64, 8)
    ),
)


def state_tracking(name: str, claim: str) -> Row:
    """A task over strings of up to 40 that asks for a state."""
    return Row(
        name,
        claim,
        training(
            name,
            {"length": 40},
            steps=600,
            batch_size=64,
            lr=3e-3,
        ),
        (
            Question(
                {"length": 500},
                tasks.get(name, min_length=500, length=500),
                at_least(0.99),
            ),
        ),
    )


SPEED = Row(
    "speed",
    "It learns to recall 8 pairs from the first step on, without easier sizes first, and no seed "
    "fails to.",
    training(
        "mqar",
        {"pairs": 8, "length": 64},
        steps=150,
        batch_size=64,
        lr=3e-3,
        curriculum=False,
        evaluate_every=10,
        target=0.98,
    ),
    (
        Question(
            {"pairs": 8, "length": 64},
            tasks.get("mqar", pairs=8, length=64),
            (Bar("steps", most=150, every=True), Bar("reached", least=1.0, every=True)),
            measure=steps_to_target,
        ),
    ),
    seeds=tuple(range(10)),
    picture="curves",
)

ROWS = {
    row.name: row
    for row in (
        MQAR,
        MQAR_ATTENTION,
        MQAR_LARGE,
        MQAR_UPDATE,
        MQAR_COMPOSITIONAL,
        NGRAM_LOOKUP,
        COPY,
        ASSOCIATIVE_RECALL,
        HOLD,
        PROGRAMS,
        state_tracking("parity", "With the exact GRU as its controller it also tracks a state."),
        state_tracking("cycle_navigation", "The same of a walk on a cycle of five states."),
        SPEED,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of the rows' own")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--draw", action="store_true", help="write the page without training")
    given = parser.parse_args()
    if unknown := [name for name in given.rows if name not in ROWS]:
        parser.error(f"unknown row {unknown[0]!r}; expected some of {', '.join(ROWS)}")
    if given.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {given.jobs}")
    fine, seeds = True, given.seeds or ()
    if not given.draw:
        wanted = [ROWS[name] for name in given.rows or ROWS]
        try:
            fine = quality_runs.run(wanted, ROOT, seeds, given.jobs)
        except (Interrupted, KeyboardInterrupt) as error:
            sys.exit(str(error) or "interrupted; the same command goes on")
    path = quality_page.write(list(ROWS.values()), ROOT, DOCS / "study", RAM, seeds)
    print(f"wrote {path}" if path else f"no row is finished in {ROOT}: no page was written")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
