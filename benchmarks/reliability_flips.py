"""Changed bits: every file that ramgru reads back, with one bit flipped, is refused or harmless.

Harmless: the reader's result equals that of the file as it was written, number for number.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ramgru import RAMGRU, Memory, RAMGRUModel, RAMGRUState, files
from ramgru.errors import DataError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.compare import budget, runs
from ramgru.lab.compare.compare import DATA, ReportConfig, compare, report
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.compare.results import from_json, read_evaluation
from ramgru.lab.evaluate import Effort, EvaluateConfig, evaluate
from ramgru.lab.tasks import read_examples, write_examples
from ramgru.lab.train import ModelConfig, TrainConfig, checkpoint, log, train
from ramgru.lab.train.configfile import read_config, to_dict
from ramgru.lab.train.run import load_run

PROMISE = (
    "A changed bit in any file that ramgru reads back is refused in one sentence, or harmless."
)
HOW = (
    "One bit, drawn from the seed, is flipped in one of the files in turn: configuration, log, "
    "checkpoint, model, evaluation of a run; a saved model; examples as npz and as Parquet; a "
    "saved state; the report's data, the costs and the budget of a comparison. The file is read. "
    "Harmless is a result equal to the former one in every bit."
)
CASES = 1000

Read = Callable[[Path], Any]


def plain(value: Any) -> Any:
    """A result as values that `==` compares bit for bit."""
    if isinstance(value, torch.Tensor):
        numbers = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return (str(value.dtype), tuple(value.shape), numbers.tobytes())
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "__dataclass_fields__"):
        return plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    return value


def small_run(folder: Path) -> Path:
    """A finished and evaluated run of a few steps."""
    config = TrainConfig(
        task=tasks.get("mqar", vocab_size=16, pairs=2, length=8),
        model=ModelConfig(d_model=8, num_layers=1, memory=Memory(cells=64)),
        batch_size=4,
        steps=4,
        evaluate_examples=4,
        log_every=1,
        curriculum=False,
        out=folder,
    )
    if not (folder / "evaluation.json").exists():
        train(config, quiet=True)
        effort = Effort(questions=8, examples=2, max_length=64)
        evaluate(EvaluateConfig(folder, effort), quiet=True)
    return folder


def subjects(run: Path, folder: Path) -> list[tuple[Path, Read]]:
    """Each file of a run, and files of other kinds in `folder`, with what reads it."""
    for ending in (".npz", ".parquet"):
        write_examples(folder / f"examples{ending}", tasks.get("mqar"), 40)
    model = folder / "saved"
    RAMGRUModel(11, 8, 2, 64, num_layers=1).save_pretrained(model)
    layer = RAMGRU(3, 4, memory=Memory(cells=64))
    layer(torch.randn(5, 2, 3), layer.initial_state(2))[1].save(folder / "state")

    def saved(path: Path) -> Any:
        return RAMGRUModel.from_pretrained(model).state_dict()

    def state(path: Path) -> Any:
        found = RAMGRUState.load(path)
        return [found.hidden, *(tensor for memory in found.memory for tensor in memory)]

    def examples(path: Path) -> Any:
        found = read_examples(path)
        return [found.batch, tasks.to_config(found.task), found.seed]

    found: list[tuple[Path, Read]] = [
        (run / "config.json", lambda path: to_dict(read_config(path))),
        (run / "log.jsonl", log.read),
        (run / "checkpoint.safetensors", checkpoint.load),
        (run / "model" / "model.safetensors", lambda path: load_run(run)[2].state_dict()),
        (run / "evaluation.json", read_evaluation),
        (model / "config.json", saved),
        (model / "model.safetensors", saved),
        (folder / "examples.npz", examples),
        (folder / "examples.parquet", examples),
        (folder / "state", state),
    ]
    return [(path, read) for path, read in found if path.exists()]


def of_a_comparison(folder: Path) -> list[tuple[Path, Read]]:
    """The files of a finished comparison of a few steps, with what reads them."""
    if not (folder / DATA).exists():
        config = CompareConfig(
            task=tasks.get("mqar", vocab_size=16, pairs=2, length=8),
            model=ModelConfig(d_model=8, num_layers=1),
            layers=("gru",),
            equal="nothing",
            seconds=0.01,
            batch_size=4,
            effort=Effort(questions=8, examples=2, max_length=16),
            out=folder,
        )
        compare(config, quiet=True)

    def again(path: Path) -> Any:
        """What is broken is refused, and then measured again."""
        try:
            return files.read_json(path, with_digest=True)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}") from error

    def data(path: Path) -> Any:
        report(ReportConfig(path), quiet=True)
        return from_json(path.read_text(encoding="utf-8"))

    (costs,) = folder.glob(f"*/{runs.COSTS}")
    return [(costs, again), (folder / budget.FILE, again), (folder / DATA, data)]


def cases(subjects: list[tuple[Path, Read]]) -> Callable[[int], str]:
    """A function from a seed to the outcome of one flip."""
    wholes = [(path, read, path.read_bytes(), plain(read(path))) for path, read in subjects]

    def case(seed: int) -> str:
        path, read, content, before = wholes[seed % len(wholes)]
        bit = random.Random(seed).randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            same = plain(read(path)) == before
        except RamgruError:
            return "refused"
        finally:
            path.write_bytes(content)
        return "harmless" if same else f"!bit {bit} of {path.name} was believed"

    return case


def prepare(folder: Path) -> Callable[[int], str]:
    folder.mkdir(parents=True, exist_ok=True)
    found = subjects(small_run(folder / "run"), folder)
    return cases([*found, *of_a_comparison(folder / "comparison")])
