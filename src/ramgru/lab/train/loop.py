"""The training loop: steps, evaluations and checkpoints until a limit, a rule or a signal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ramgru import pretrained
from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab.tasks.base import Batch, Task
from ramgru.lab.train import checkpoint, configfile, run, snapshots
from ramgru.lab.train.build import build_model, count_parameters
from ramgru.lab.train.config import TrainConfig, source
from ramgru.lab.train.data import Feed, chunks, held_out_seed
from ramgru.lab.train.log import RunLog, first_line, progress_bar
from ramgru.lab.train.measure import measure
from ramgru.lab.train.parallel import make_accelerator
from ramgru.lab.train.rules import (
    Curriculum,
    Interruption,
    StopRule,
    learning_rate,
    write_cost,
)
from ramgru.lab.train.step import Stepper

if TYPE_CHECKING:
    from accelerate import Accelerator


# Called after each evaluation with the step, the held-out metric and the held-out loss; training
# stops if it returns True.
Watch = Callable[[int, float, float], bool]


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    run:    its directory
    step:   number of optimizer steps
    reason: "steps" (the limit), "target", "patience", "interrupted" (by `signal`), or
            "given up" (by `watch`)
    score:  the best held-out metric; None without an evaluation
    """

    run: Path
    step: int
    reason: str
    score: float | None
    signal: int | None = None


def train(config: TrainConfig, *, quiet: bool = False, watch: Watch | None = None) -> Outcome:
    """Train as `config` says and write the run directory.

    The global generators of Python, NumPy and PyTorch are seeded with `config.seed`. On SIGINT and
    SIGTERM the current step is finished and saved. watch: see `Watch`; a run that was given up can
    be resumed. Under torchrun every process calls this function.

    Raises ValueError for options that do not fit together or a directory that is in use,
    RamgruError if a file cannot be written or the loss is no longer finite.
    """
    config = replace(config, task=source(config))
    if config.threads:
        torch.set_num_threads(config.threads)
    with Interruption() as interruption:
        accelerator = make_accelerator(config)
        main = accelerator.is_main_process
        existed = config.out is not None and config.out.exists()
        with _claimed(config, main) as folder:
            config, trainer = replace(config, out=folder), None
            try:
                trainer = Trainer(config, folder, accelerator, quiet=quiet)
                if main and config.resume is not None:
                    # Not earlier: a run must not store options that it has refused.
                    configfile.write_config(folder / run.CONFIG, config)
                try:
                    reason = trainer.train(interruption, watch)
                finally:
                    trainer.close()
            except BaseException:
                if main and config.resume is None and (trainer is None or trainer.step == 0):
                    run.discard(folder, existed=existed)
                raise
    best = trainer.stop.best_score
    score = best if math.isfinite(best) else None
    return Outcome(folder, trainer.step, reason, score, interruption.signal)


@contextmanager
def _claimed(config: TrainConfig, main: bool) -> Iterator[Path]:
    """`run.claimed` on the main process; its directory or its error on every process."""
    from accelerate.utils import broadcast_object_list

    with ExitStack() as held:
        result: list[Path | Exception] = [Path()]
        if main:
            try:
                result = [held.enter_context(run.claimed(config))]
            except (ValueError, RamgruError, OSError) as error:
                result = [error]
        broadcast_object_list(result)
        if isinstance(result[0], Exception):
            raise result[0]
        yield result[0]


class Trainer:
    """One run on one process. With several processes, process 0 writes the files and prints."""

    def __init__(
        self, config: TrainConfig, folder: Path, accelerator: Accelerator, *, quiet: bool
    ) -> None:
        self.config, self.folder, self.accelerator = config, folder, accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.main = accelerator.is_main_process
        self.quiet = quiet or not self.main
        if config.batch_size % self.world:
            raise ValueError(
                f"batch_size must be divisible by the number of processes, {self.world}, "
                f"got {config.batch_size}"
            )
        self.path = folder / run.CHECKPOINT
        saved = None
        if config.resume is not None and self.path.exists():
            saved = checkpoint.load(self.path)
            checkpoint.check_resumable(config, saved[1], self.path)
        if saved is not None:  # before the weights are sharded
            weights = checkpoint.part(saved[0], "model/")
            model = run.sized(config, pretrained.shapes_of(weights), self.path)
            model.load_state_dict(weights)
        else:
            checkpoint.seed_generators(config.seed)
            model = build_model(config.model, config.task)
        parameters = count_parameters(model)
        self.stepper = Stepper(accelerator, model, config)
        # Dropout differs between processes, weights do not.
        checkpoint.seed_generators(config.seed + self.rank)
        stages = config.task.curriculum() if config.curriculum else (config.task,)
        self.curriculum = Curriculum(stages, config.curriculum_target, config.total_steps // 2)
        self.stop = StopRule(config.target, config.patience)
        self.moments = snapshots.moments(config.total_steps, config.snapshots)
        self.metric = config.task.metric
        self.step, self.seconds, self.start = 0, 0.0, time.monotonic()
        self.measured: tuple[int, float, float] | None = None
        if saved is not None:
            try:
                self._restore(*saved)
            except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
                raise CheckpointError(f"{self.path} is broken: {error!r}") from error
        self.feed = Feed(config, self.rank, self.world)
        self.log: RunLog | None = None
        if self.main:
            self.log = RunLog(folder, step=self.step, tensorboard=config.tensorboard)
        if not self.quiet:
            device = str(accelerator.device)
            line = first_line(config, folder, device, self.world, parameters, self.step)
            print(line, flush=True)
        self.bar = progress_bar(steps=config.total_steps, done=self.step, quiet=self.quiet)

    def train(self, interruption: Interruption, watch: Watch | None = None) -> str:
        """Train to the end; returns the reason why training ended. watch: on the main process."""
        if self.main and self._reason() is None:
            run.remove_results(self.folder)
        while (reason := self._reason()) is None:
            self._one_step()
            if self._any_process(interruption.signal is not None):
                self._save()
                return "interrupted"
            if watch is not None and self._any_process(self._given_up(watch)):
                self._save()
                return "given up"
        tensors = self._save()
        if self.main:
            run.save_model(self.config, self.folder, checkpoint.part(tensors, "model/"))
        self._write("end", reason=reason, seconds=self._elapsed())
        return reason

    def close(self) -> None:
        self.feed.close()
        if not self.bar.disable:
            self.bar.stop()
        if self.log is not None:
            self.log.close()

    def _reason(self) -> str | None:
        if self.stop.reason is not None:
            return self.stop.reason
        return "steps" if self.step >= self.config.total_steps else None

    def _any_process(self, flag: bool) -> bool:
        """Whether `flag` is True on any process: signals reach processes at different steps."""
        if self.world == 1:
            return flag
        flags = torch.tensor(int(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, "sum"))

    def _given_up(self, watch: Watch) -> bool:
        measured, self.measured = self.measured, None
        return measured is not None and self.main and watch(*measured)

    def _one_step(self) -> None:
        config, task = self.config, self.curriculum.task
        lr, cost = learning_rate(config, self.step), write_cost(config, self.step)
        batch = self.feed.batch(task, self.step)
        self.stepper.step(batch, lr, cost, continues=self.feed.continues(task, self.step))
        self.step += 1
        if self.step in self.moments:
            weights = checkpoint.part(self.stepper.state_dict(), "model/")
            if self.main:
                snapshots.save(self.folder, self.step, weights)
        self.bar.update(self.bar.task_ids[0], completed=self.step)
        if self.step % config.log_every == 0:
            loss, score, _ = self.stepper.drain()
            self._check_finite(loss)
            values = {"loss": loss, "lr": lr, "seconds": self._elapsed(), self.metric: score}
            self._write("step", **values)
            self.bar.update(self.bar.task_ids[0], loss=f"loss {loss:.4f}")
        epoch_ends = self.step % config.steps_per_epoch == 0 or self.step == config.total_steps
        further = config.evaluate_every and self.step % config.evaluate_every == 0
        if epoch_ends or further:
            self._evaluate(epoch_ends)
        every = config.save_every
        if self.step % every == 0 if every else epoch_ends or further:
            self._save()

    def _evaluate(self, epoch_ends: bool) -> None:
        epoch = math.ceil(self.step / self.config.steps_per_epoch)
        loss, score = self._measure(self.config.task)
        values: dict[str, Any] = {"epoch": epoch, "loss": loss, self.metric: score}
        last = self.curriculum.last
        self.stop.update(score, loss, patient=not last)
        if not last:
            values["stage"] = self.curriculum.stage
            _, stage_score = self._measure(self.curriculum.task)
            values[f"stage {self.metric}"] = stage_score
            self.curriculum.update(self.step, stage_score)
        self.measured = (self.step, score, loss)
        self._write("evaluate", seconds=self._elapsed(), **values)
        if epoch_ends and not self.quiet:
            print(f"epoch {epoch} · loss {loss:.4f} · {self.metric} {score:.3f}", flush=True)

    def _measure(self, task: Task) -> tuple[float, float]:
        """Held-out loss and metric, the same on every process."""
        tally = measure(
            self.stepper.unwrapped,
            self._held_out(task),
            device=self.accelerator.device,
            chunk=self.config.tbptt,
            autocast=self.accelerator.autocast,
        )
        sums = torch.tensor(
            [tally.loss, tally.count, tally.right, tally.whole],
            dtype=torch.float64,
            device=self.accelerator.device,
        )
        loss, count, right, whole = self.accelerator.reduce(sums, "sum").tolist()
        self._check_finite(loss)
        return loss / max(1, count), right / (whole or 1)

    def _held_out(self, task: Task) -> Iterator[Batch]:
        rows = min(self.config.batch_size, self.config.evaluate_examples)
        needed = math.ceil(self.config.evaluate_examples / rows)
        # Every process takes the same number: sharded models synchronise in each forward call.
        for index in range(self.rank, math.ceil(needed / self.world) * self.world, self.world):
            yield task.held_out().draw(rows, held_out_seed(self.config.seed, index))

    def _elapsed(self) -> float:
        return round(self.seconds + time.monotonic() - self.start, 3)

    def _write(self, event: str, **values: Any) -> None:
        if self.log is not None:
            self.log.write(event, step=self.step, **values)

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise RamgruError(
                f"the loss became {loss} at or shortly before step {self.step}; the checkpoint in "
                f"{self.folder} is from before: try a lower lr than {self.config.lr} or a "
                "smaller clip"
            )

    def _save(self) -> dict[str, Tensor]:
        """Write the checkpoint, which holds everything that the next step depends on.

        All processes must call; the main process writes. Returns the tensors.
        """
        from accelerate.utils import gather_object

        stepper, scaler = self.stepper, self.accelerator.scaler
        self._check_finite(float(stepper.totals[0]))
        generators, numbers = checkpoint.generator_states()
        own = {f"random/{name}": value for name, value in generators.items()}
        own["totals"] = stepper.totals.cpu()
        if stepper.state is not None:
            state = checkpoint.flatten(stepper.state)
            own.update({name: value.cpu() for name, value in state.items()})
        every = gather_object([(own, numbers)]) if self.world > 1 else [(own, numbers)]
        tensors = stepper.state_dict()
        for rank, (values, _) in enumerate(every):
            tensors.update({f"process/{rank}/{name}": value for name, value in values.items()})
        facts = {
            "step": self.step,
            "seconds": self._elapsed(),
            "curriculum": self.curriculum.state_dict(),
            "stop": self.stop.state_dict(),
            "random": [numbers for _, numbers in every],
            "streaming": stepper.state is not None,
            "scaler": scaler.state_dict() if scaler else None,
            "digest": getattr(self.config.task, "digest", None),
            "config": configfile.to_dict(self.config),
        }
        if self.main:
            checkpoint.save(self.path, tensors, facts)
        return tensors

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Restore everything that `_save` stored except the weights."""
        stepper, scaler = self.stepper, self.accelerator.scaler
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self.curriculum.load_state_dict(facts["curriculum"])
        self.stop.load_state_dict(facts["stop"])
        stepper.load_optimizer(checkpoint.part(tensors, "optimizer/"))
        if scaler and facts["scaler"]:
            scaler.load_state_dict(facts["scaler"])
        if self.world != len(facts["random"]):
            return  # with another number of processes, data and dropout differ from here on
        own = checkpoint.part(tensors, f"process/{self.rank}/")
        if facts["streaming"]:
            # The nesting of the state is that after one step: a fresh state may have less.
            batch = self.config.task.draw(self.config.batch_size // self.world, seed=0)
            piece = next(chunks(batch, 1, self.accelerator.device))
            with torch.no_grad():
                _, template = stepper.model.hidden(piece.inputs)
            stepper.state = checkpoint.unflatten(template, own, self.accelerator.device)
        stepper.totals = own["totals"].to(self.accelerator.device)
        numbers = facts["random"][self.rank]
        checkpoint.restore_generators(checkpoint.part(own, "random/"), numbers)
