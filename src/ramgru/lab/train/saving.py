"""What of a running Trainer goes into its checkpoint, and how it comes out again.

Together it is all that the next step depends on: the same bits follow as without the interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ramgru.errors import CheckpointError
from ramgru.lab.train import checkpoint, configfile, randomness, run
from ramgru.lab.train.carry import flatten, unflatten
from ramgru.lab.train.config import TrainConfig

if TYPE_CHECKING:
    from ramgru.lab.train.loop import Trainer

Saved = tuple[dict[str, Tensor], dict[str, Any]]

# What a checkpoint was made with and a continued run must keep; the rest may change.
FIXED = ("task", "model", "optimizer", "batch_size", "tbptt", "curriculum", "seed")


def save(trainer: Trainer) -> None:
    """Write the checkpoint; all processes must call, the main one writes."""
    from accelerate.utils import gather_object

    stepper, accelerator = trainer.stepper, trainer.accelerator
    trainer.check_finite(float(stepper.totals[0]))
    random, numbers = randomness.capture()
    own = {f"random/{name}": value for name, value in random.items()}
    own["totals"] = stepper.totals.cpu()
    if stepper.state is not None:
        own.update({name: value.cpu() for name, value in flatten(stepper.state).items()})
    every = gather_object([(own, numbers)]) if trainer.world > 1 else [(own, numbers)]
    tensors = stepper.state_dict()
    for rank, (values, _) in enumerate(every):
        tensors.update({f"process/{rank}/{name}": value for name, value in values.items()})
    if not trainer.main:
        return
    facts = {
        "step": trainer.step,
        "seconds": trainer.elapsed(),
        "curriculum": trainer.curriculum.state_dict(),
        "stop": trainer.stop.state_dict(),
        "random": [numbers for _, numbers in every],
        "streaming": stepper.state is not None,
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
        "digest": getattr(trainer.config.task, "digest", None),
        "config": configfile.to_dict(trainer.config),
    }
    checkpoint.save(trainer.folder / run.CHECKPOINT, tensors, facts)


def finish(trainer: Trainer) -> None:
    """The last checkpoint, then the trained model; all processes must call."""
    save(trainer)
    weights = checkpoint.part(trainer.stepper.state_dict(), "model/")
    if trainer.main:
        run.save_model(trainer.config, trainer.folder, weights)


def find(folder: Path, config: TrainConfig) -> Saved | None:
    """The checkpoint that a run goes on from; None where it begins.

    Raises ValueError where an option was changed that the checkpoint was made with.
    """
    path = folder / run.CHECKPOINT
    if config.resume is None or not path.exists():
        return None
    tensors, facts = checkpoint.load(path)
    now, then = configfile.to_dict(config), facts.get("config", {})
    for name in FIXED:
        for place, new, old in differences(now[name], then.get(name), name):
            option = place.replace("task.options.", "task.")  # as it is typed
            raise ValueError(f"{option} must stay what it was when a run goes on, {old}, got {new}")
    if facts.get("digest") != getattr(config.task, "digest", None):
        raise ValueError(
            f"{getattr(config.task, 'path', 'the data')} is not the file that the run began with: "
            "its content has changed"
        )
    return tensors, facts


def differences(new: Any, old: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, new, old) of each value that differs in two trees of JSON values."""
    if isinstance(new, dict) and isinstance(old, dict):
        for name in sorted(new.keys() | old.keys()):
            yield from differences(new.get(name), old.get(name), f"{path}.{name}")
    elif new != old:
        yield path, new, old


def fill(model: nn.Module, saved: Saved, folder: Path) -> None:
    """Put the checkpoint's weights into a model that is still whole on every process."""
    run.fill(model, checkpoint.part(saved[0], "model/"), folder / run.CHECKPOINT)


def restore(trainer: Trainer, saved: Saved) -> None:
    """Put all but the weights back where `save` found it."""
    try:
        _restore(trainer, *saved)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        path = trainer.folder / run.CHECKPOINT
        raise CheckpointError(f"{path} is broken: {error!r} while reading it") from error


def _restore(trainer: Trainer, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    stepper, scaler = trainer.stepper, trainer.accelerator.scaler
    trainer.step, trainer.seconds = int(facts["step"]), float(facts["seconds"])
    trainer.curriculum.load_state_dict(facts["curriculum"])
    trainer.stop.load_state_dict(facts["stop"])
    stepper.load_optimizer(checkpoint.part(tensors, "optimizer/"))
    if scaler and facts["scaler"]:
        scaler.load_state_dict(facts["scaler"])
    if trainer.world != len(facts["random"]):
        return  # on another number of processes the data and the dropout differ from here on
    own = checkpoint.part(tensors, f"process/{trainer.rank}/")
    randomness.restore(checkpoint.part(own, "random/"), facts["random"][trainer.rank])
    stepper.totals = own["totals"].to(trainer.accelerator.device)
    if facts["streaming"]:
        fresh = stepper.model.initial_state(trainer.config.batch_size // trainer.world)
        stepper.state = unflatten(fresh, own, trainer.accelerator.device)
