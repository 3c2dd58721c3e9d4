"""All layers on the default suite, three seeds each, and docs/leaderboard.md drawn from it.

python benchmarks/leaderboard.py            # on two cores some two hours; goes on where it stopped
python benchmarks/leaderboard.py --add      # train only layers that docs/leaderboard.json lacks
python benchmarks/leaderboard.py --draw     # only write the page again, from docs/leaderboard.json

Every layer has as many parameters as the RAM-GRU, the same examples, the same steps, and the best
of three learning rates. The suite is small enough for a CPU: short sequences to learn from, and
up to thirty times longer ones to be asked on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from leaderboard_page import write
from pages import DOCS

from ramgru import files
from ramgru.lab.compare import CompareConfig, compare
from ramgru.lab.compare.compare import DATA
from ramgru.lab.compare.config import sized
from ramgru.lab.compare.results import Comparison, from_json
from ramgru.lab.compare.table import to_csv
from ramgru.lab.evaluate import Effort
from ramgru.lab.train.layers import LAYERS

TASKS = (
    "mqar,vocab_size=1024,pairs=8,length=32",
    "mqar_update,vocab_size=1024,pairs=6,updates=6,length=48",
    "noisy_recall,length=32",
    "selective_copy,tokens=8,length=32",
    "copy,length=10",
    "reverse,length=20",
    "parity,length=20",
)
# Half of eight heads look for keys, half count: they are half as wide as the default's four.
WITH_TAPE = ("ramgru,nhead=8,tape_heads=4", "ramgru,nhead=8,tape_heads=4,controller=gru")
SUITE = CompareConfig(
    task=sized(TASKS[0]),
    also=TASKS[1:],
    layers=("ramgru", "ramgru,controller=gru", *LAYERS[1:], *WITH_TAPE),
    steps=400,
    batch_size=32,
    lr=(3e-3, 1e-2, 1e-3),
    seeds=(0, 1, 2),
    effort=Effort(questions=512, examples=16, max_length=1024),
    jobs=2,
    threads=1,
    device="cpu",
    out=Path("runs/leaderboard"),
)


def together(known: Comparison, new: Comparison) -> Comparison:
    """The layers of both, on the same tasks."""
    tasks = [
        replace(before, runs=before.runs + after.runs, tried=before.tried + after.tried)
        for before, after in zip(known.tasks, new.tasks, strict=True)
    ]
    layers = [*known.config["layers"], *new.config["layers"]]
    return replace(known, tasks=tasks, config={**known.config, "layers": layers})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="write the page without training")
    parser.add_argument("--seeds", type=int, default=3, help="how many; more can follow later")
    parser.add_argument("--add", action="store_true", help="train only layers that are not in it")
    arguments = parser.parse_args()
    data = DOCS / "leaderboard.json"
    if not arguments.draw:
        suite = replace(SUITE, seeds=tuple(range(arguments.seeds)))
        known = from_json(data.read_text(encoding="utf-8")) if arguments.add else None
        if known is not None:
            new = tuple(layer for layer in suite.layers if layer not in known.layers)
            suite = replace(suite, layers=new, out=suite.out.with_name("leaderboard-added"))
        compare(suite)
        whole = from_json((suite.folder / DATA).read_text(encoding="utf-8"))
        if known is not None:
            whole = together(known, whole)
        plain = replace(whole, command="python benchmarks/leaderboard.py")
        files.write(data, json.dumps(json.loads(plain.to_json()), separators=(",", ":")) + "\n")
        files.write(DOCS / "leaderboard.csv", to_csv(plain))
    print(f"wrote {write(data, DOCS)}")


if __name__ == "__main__":
    main()
