"""Recall against bytes of recurrent state: RAM-GRU beside a dense Gated DeltaNet.

    python benchmarks/state_bytes.py --jobs 2    # goes on where it was stopped
    python benchmarks/state_bytes.py --draw      # writes the page again, from its data

Writes docs/study/state_bytes.md, the numbers beside it as JSON, and a picture. The protocol is that
of zoology's recall-memory figure (arXiv 2402.18668): trained on a mixture of 4 to 64 pairs, scored
by the mean recall over 4 to 256 pairs, the learning rate chosen at every point by that score. Here
it is chosen on the first seed, from as many rates for either layer; data and steps are the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import state_bytes_page as page
import step_cost
from recall_mixture import RecallMixture
from state_bytes_results import Point, Results, read

from ramgru import files
from ramgru.lab.compare import runs
from ramgru.lab.compare.results import Run
from ramgru.lab.evaluate import Effort
from ramgru.lab.show import machine
from ramgru.lab.show.data import over_seeds
from ramgru.lab.train.build import ModelConfig, RAMOptions
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.run import load_run

DOCS = Path(__file__).parents[1] / "docs"
CELLS = (2**4, 2**6, 2**8, 2**10, 2**12, 2**16)  # of a head
# Of a training step of 32 sequences, mean of the points, and of a run before and after its steps.
SECONDS, STARTING = {"ramgru": 0.075, "gated_deltanet": 0.15}, 3.0
STATES = ((1, 16), (1, 32), (1, 64), (2, 64), (1, 96), (1, 128))  # heads, width of keys and values


def ram(cells: int) -> ModelConfig:
    """Four heads of cells of width 16."""
    options = RAMOptions(nhead=4, head_size=16, address_size=16, offsets=(1,), memory_size=cells)
    return ModelConfig(ram=options)


def deltanet(heads: int, width: int) -> ModelConfig:
    """Heads whose memories are width x width."""
    layer = f"gated_deltanet,heads={heads},value_size={width}"
    return ModelConfig(layer=layer, hidden_size=heads * width)


def default_models() -> dict[str, ModelConfig]:
    """{name of a point: its network}, the smaller states of each layer first."""
    ours = {f"N = {cells:,}": ram(cells) for cells in CELLS}
    theirs = {
        f"{f'{heads} heads ' if heads > 1 else ''}{width} × {width}": deltanet(heads, width)
        for heads, width in STATES
    }
    return ours | theirs


@dataclass(frozen=True)
class Study:
    """Which networks, and the budget that each of their runs has."""

    models: dict[str, ModelConfig] = field(default_factory=default_models)
    # Not zoology's 8,192 tokens: in a budget of minutes all layers have to learn them first.
    task: RecallMixture = field(default_factory=partial(RecallMixture, vocab_size=1024))
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 600
    batch_size: int = 32
    effort: Effort = field(default_factory=Effort)
    folder: Path = Path("runs/state-bytes")

    def training(self, name: str, lr: float, seed: int) -> TrainConfig:
        """One run: those of two points differ in nothing but the network and its rate."""
        return TrainConfig(
            task=self.task,
            model=self.models[name],
            lr=lr,
            seed=seed,
            steps=self.steps,
            batch_size=self.batch_size,
            evaluate_examples=self.batch_size,
            curriculum=False,  # the mixture has the easy sizes in it, the same for all
            threads=1,
            device="cpu",
        )


Job = tuple[str, float, int]  # point, learning rate, seed


def made(study: Study, job: Job) -> Run:
    """A run with its evaluation; what of it was done before is reused."""
    training = study.training(*job)
    folder = study.folder / runs.run_name(training, study.effort)
    runs.trained(training, folder, quiet=True)
    return runs.measured(folder, training, study.effort)


def make(study: Study, jobs: Sequence[Job], at_a_time: int) -> dict[Job, Run]:
    """All runs of `jobs`, several at a time, each on one thread."""
    if at_a_time == 1:
        return {job: _told(job, made(study, job)) for job in jobs}
    # Spawned, not forked: a fork would share torch's threads with its parent.
    context = multiprocessing.get_context("spawn")
    left = iter(jobs)
    found: dict[Job, Run] = {}
    with ProcessPoolExecutor(at_a_time, mp_context=context) as pool:
        # No more is handed out than goes on: when the user stops, nothing waits to be begun.
        going = {pool.submit(made, study, job): job for job in islice(left, at_a_time)}
        while going:
            for ended in wait(going, return_when=FIRST_COMPLETED).done:
                job = going.pop(ended)
                found[job] = _told(job, ended.result())
                going |= {pool.submit(made, study, job): job for job in islice(left, 1)}
    return found


def _told(job: Job, run: Run) -> Run:
    name, lr, seed = job
    print(f"{name} · lr {lr:g} · seed {seed}: {mean(run):.3f} in {run.seconds:.0f} s", flush=True)
    return run


def mean(run: Run) -> float:
    """Recall averaged over the sizes that were tested."""
    return sum(row.score for row in run.rows) / len(run.rows)


def run_study(study: Study, at_a_time: int) -> Results:
    """Every point at every rate on the first seed, then on the other seeds at its best rate."""
    study.folder.mkdir(parents=True, exist_ok=True)
    first = study.seeds[0]
    tried = make(study, [(m, lr, first) for m in study.models for lr in study.rates], at_a_time)
    best = {m: max(study.rates, key=lambda lr: mean(tried[m, lr, first])) for m in study.models}
    rest = [(m, best[m], seed) for m in study.models for seed in study.seeds[1:]]
    found = tried | make(study, rest, at_a_time)
    points = []
    for name in study.models:
        rates = {f"{lr:g}": mean(tried[name, lr, first]) for lr in study.rates}
        points.append(
            point(study, name, best[name], rates, [found[name, best[name], s] for s in study.seeds])
        )
    threads = f"1 a run, {at_a_time} runs at a time"
    facts = {**machine.describe(), "torch threads": threads}
    return Results(points=points, config=described(study), machine=facts)


def point(
    study: Study, name: str, lr: float, rates: dict[str, float], made: Sequence[Run]
) -> Point:
    """What the runs of one network, a seed each, have found, and what it costs."""
    _, task, model = load_run(study.folder / made[0].name)
    return Point(
        layer=made[0].layer,
        name=name,
        parameters=made[0].parameters,
        state_bytes=made[0].state_bytes,
        written_bytes=step_cost.written_bytes(model, task.grid()[-1].task.draw(1, seed=0)),
        touched_bytes=step_cost.touched_bytes(model),
        multiplications=step_cost.model_multiplications(model),
        rates=rates,
        lr=lr,
        mean=over_seeds([mean(run) for run in made], None, None),
        sizes={
            str(row.axes["pairs"]): over_seeds([run.rows[n].score for run in made], None, None)
            for n, row in enumerate(made[0].rows)
        },
        seconds=sum(run.seconds for run in made) / len(made),
    )


def described(study: Study) -> dict[str, Any]:
    """The budget as JSON values."""
    return {
        "vocab_size": study.task.vocab_size,
        "trained": study.task.trained,
        "tested": study.task.tested,
        "steps": study.steps,
        "batch_size": study.batch_size,
        "rates": list(study.rates),
        "seeds": list(study.seeds),
        "models": {name: asdict(model) for name, model in study.models.items()},
    }


def minutes(study: Study) -> float:
    """About how long all runs take on one thread."""
    each = len(study.rates) + len(study.seeds) - 1
    steps = [study.steps * SECONDS[model.name] for model in study.models.values()]
    return each * sum(seconds + STARTING for seconds in steps) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, a thread each")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every point")
    parser.add_argument("--draw", action="store_true", help="write the page without training")
    given = parser.parse_args()
    for name in ("jobs", "seeds"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    data = (DOCS / page.PAGE).with_suffix(".json")
    if not given.draw:
        study = Study(seeds=tuple(range(given.seeds)))
        print(f"about {minutes(study) / given.jobs:.0f} minutes from the start", flush=True)
        results = run_study(study, given.jobs)
        data.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(data, asdict(results))
    print(f"wrote {page.write(read(data), DOCS)}")


if __name__ == "__main__":
    main()
