"""`ramgru meter`: take one measurement, write it as JSON, and print it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ramgru import files
from ramgru.lab import tasks
from ramgru.lab.evaluate.meters import table
from ramgru.lab.evaluate.meters.config import (
    CapacityConfig,
    MeterConfig,
    ParametersConfig,
    StateConfig,
)
from ramgru.lab.evaluate.meters.delays import ShortTermMemory, short_term_memory
from ramgru.lab.evaluate.meters.drive import through_model
from ramgru.lab.evaluate.meters.memorise import Memorised, memorise
from ramgru.lab.evaluate.meters.recall import Recalled, recall
from ramgru.lab.train import build_model, load_run, newest_run
from ramgru.lab.train.configfile import read_config
from ramgru.lab.train.parallel import pick_device
from ramgru.lab.train.run import CONFIG

ROOT = Path("runs")  # where what belongs to no run is written


def meter(config: MeterConfig) -> dict[str, Any]:
    """Measure, write a JSON file, and print a table; -> the content of the file.

    Raises CheckpointError where a run cannot be read, RamgruError where there is none or its task
    has nothing to count.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    with console.status("measuring …"):
        if isinstance(config, CapacityConfig):
            kind, run, name = "capacity", config.run, _name(config)
            delays = _capacity(config)
            shown, values = table.of_delays(delays, name), asdict(delays)
        elif isinstance(config, ParametersConfig):
            kind, run, name = "parameters", config.run, _name(config)
            learnt = _parameters(config)
            shown, values = table.of_items(learnt, name), _rows(learnt, "bits_per_parameter")
        else:
            kind, run = "state", config.run or newest_run()
            name, recalled = str(run), _state(config, run)
            shown, values = table.of_state(recalled, name), _rows(recalled, "bits_per_state_bit")
    path = config.out or (run or ROOT) / f"meter-{kind}.json"
    if config.out is None:
        path.parent.mkdir(exist_ok=True)
    asked = json.loads(json.dumps(asdict(config), default=str))
    content = {"meter": kind, "of": name, **values, "config": asked}
    files.write_json(path, content)
    console.print(shown)
    console.print(f"wrote {path}", soft_wrap=True)
    return content


def _name(config: CapacityConfig | ParametersConfig) -> str:
    return str(config.run) if config.run else f"{config.model.layer}, fresh"


def _rows(found: Sequence[Memorised] | Sequence[Recalled], ratio: str) -> dict[str, Any]:
    return {"rows": [{**asdict(one), ratio: getattr(one, ratio)} for one in found]}


def _capacity(config: CapacityConfig) -> ShortTermMemory:
    _use(config.threads)
    if config.run is None:
        torch.manual_seed(config.seed)
        model = build_model(config.model, tasks.get("parity"))  # of any task: nothing is asked
    else:
        model = load_run(config.run)[2]
    return short_term_memory(
        through_model(model), delays=config.delays, steps=config.steps, seed=config.seed
    )


def _parameters(config: ParametersConfig) -> list[Memorised]:
    model = config.model if config.run is None else read_config(config.run / CONFIG).model
    return [memorise(model, items, config.effort) for items in config.items]


def _state(config: StateConfig, run: Path) -> list[Recalled]:
    _use(config.threads)
    device = pick_device(config.device)
    _, task, model = load_run(run, device)
    return recall(model, task, config.effort, device=device)


def _use(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)
