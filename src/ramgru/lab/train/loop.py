"""The training loop: steps, evaluations, checkpoints, until a limit, a rule or a signal ends it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ramgru.errors import RamgruError
from ramgru.lab.tasks.base import Batch, Task
from ramgru.lab.train import randomness, run, saving
from ramgru.lab.train.build import build_model
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.console import Reporter, epoch_line
from ramgru.lab.train.curriculum import Curriculum
from ramgru.lab.train.data import Feed, held_out_seed
from ramgru.lab.train.log import RunLog
from ramgru.lab.train.measure import measure
from ramgru.lab.train.schedule import learning_rate
from ramgru.lab.train.signals import Interruption
from ramgru.lab.train.step import Stepper
from ramgru.lab.train.stop import StopRule

if TYPE_CHECKING:
    from accelerate import Accelerator


# Called after each evaluation with the step, the held-out metric and loss; True gives the run up.
Watch = Callable[[int, float, float], bool]


class Trainer:
    """One run on one process; where there are several, process 0 writes and speaks."""

    def __init__(
        self, config: TrainConfig, folder: Path, accelerator: Accelerator, *, quiet: bool
    ) -> None:
        self.config, self.folder, self.accelerator = config, folder, accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        if config.batch_size % self.world:
            raise ValueError(
                f"batch_size must be divisible by the number of processes, {self.world}, "
                f"got {config.batch_size}"
            )
        randomness.seed_all(config.seed)
        model = build_model(config.model, config.task)
        saved = saving.find(folder, config)
        if saved is not None:
            saving.fill(model, saved, folder)
        self.stepper = Stepper(accelerator, model, config)
        # Dropout differs between processes, weights do not.
        randomness.seed_all(config.seed + self.rank)
        stages = config.task.curriculum() if config.curriculum else (config.task,)
        self.curriculum = Curriculum(stages, config.curriculum_target, config.total_steps // 2)
        self.stop = StopRule(config.target, config.patience)
        self.metric = config.task.metric
        self.step, self.seconds, self.start = 0, 0.0, time.monotonic()
        self.measured: tuple[int, float, float] | None = None
        if saved is not None:
            saving.restore(self, saved)
        rows = config.batch_size // self.world
        self.feed = Feed(
            rows=rows,
            seed=config.seed,
            rank=self.rank,
            world=self.world,
            stream=config.tbptt > 0,
            prefetch=config.prefetch,
        )
        self.main = accelerator.is_main_process
        self.log: RunLog | None = None
        if self.main:
            self.log = RunLog(folder, step=self.step, tensorboard=config.tensorboard)
        self.reporter = Reporter(
            steps=config.total_steps, done=self.step, quiet=quiet or not self.main
        )

    def train(self, wish: Interruption, watch: Watch | None = None) -> str:
        """Run to the end; the reason why it ended there. watch: on the main process."""
        if self.main and self._reason() is None:
            run.outdate(self.folder)
        while (reason := self._reason()) is None:
            self._one_step()
            if self._agree(wish.signal is not None):
                saving.save(self)
                return "interrupted"
            if watch is not None and self._agree(self._given_up(watch)):
                saving.save(self)
                return "given up"
        saving.finish(self)
        self.write("end", reason=reason, seconds=self.elapsed())
        return reason

    def _given_up(self, watch: Watch) -> bool:
        measured, self.measured = self.measured, None
        return measured is not None and self.main and watch(*measured)

    def close(self) -> None:
        self.feed.close()
        self.reporter.close()
        if self.log is not None:
            self.log.close()

    def _reason(self) -> str | None:
        if self.stop.reason is not None:
            return self.stop.reason
        return "steps" if self.step >= self.config.total_steps else None

    def _one_step(self) -> None:
        config, task = self.config, self.curriculum.task
        lr = learning_rate(
            self.step,
            config.total_steps,
            lr=config.lr,
            warmup=config.warmup,
            schedule=config.schedule,
        )
        batch = self.feed.batch(task, self.step)
        self.stepper.step(batch, lr, continues=self.feed.continues(task, self.step))
        self.step += 1
        self.reporter.advance(self.step)
        if self.step % config.log_every == 0:
            self._log_step(lr)
        epoch_ends = self.step % config.steps_per_epoch == 0 or self.step == config.total_steps
        further = config.evaluate_every and self.step % config.evaluate_every == 0
        if epoch_ends or further:
            self._evaluate(epoch_ends)
        every = config.save_every
        if self.step % every == 0 if every else epoch_ends or further:
            saving.save(self)

    def _log_step(self, lr: float) -> None:
        loss, score, _ = self.stepper.drain()
        self.check_finite(loss)
        self.write("step", loss=loss, lr=lr, seconds=self.elapsed(), **{self.metric: score})
        self.reporter.loss(loss)

    def _evaluate(self, epoch_ends: bool) -> None:
        epoch = math.ceil(self.step / self.config.steps_per_epoch)
        loss, score = self._measure(self.config.task)
        values: dict[str, Any] = {"epoch": epoch, "loss": loss, self.metric: score}
        last = self.curriculum.last
        self.stop.update(score, loss, patient=not last)
        if not last:
            values["stage"] = self.curriculum.stage
            _, values[f"stage {self.metric}"] = stage = self._measure(self.curriculum.task)
            self.curriculum.update(self.step, stage[1])
        self.measured = (self.step, score, loss)
        self.write("evaluate", seconds=self.elapsed(), **values)
        if epoch_ends:
            self.reporter.line(epoch_line(epoch, loss, self.metric, score))

    def _measure(self, task: Task) -> tuple[float, float]:
        """Held-out loss and score, the same on every process."""
        tally = measure(
            self.stepper.plain,
            self._held_out(task),
            device=self.accelerator.device,
            chunk=self.config.tbptt,
            autocast=self.accelerator.autocast,
        )
        sums = torch.tensor(
            [tally.loss, tally.right, tally.count],
            dtype=torch.float64,
            device=self.accelerator.device,
        )
        loss, right, count = self.accelerator.reduce(sums, "sum").tolist()
        self.check_finite(loss)
        return loss / max(1, count), right / max(1, count)

    def _held_out(self, task: Task) -> Iterator[Batch]:
        rows = min(self.config.batch_size, self.config.evaluate_examples)
        needed = math.ceil(self.config.evaluate_examples / rows)
        # Every process takes equally many: sharded models meet in each forward call.
        for index in range(self.rank, math.ceil(needed / self.world) * self.world, self.world):
            yield task.held_out().draw(rows, held_out_seed(self.config.seed, index))

    def elapsed(self) -> float:
        return round(self.seconds + time.monotonic() - self.start, 3)

    def write(self, event: str, **values: Any) -> None:
        if self.log is not None:
            self.log.write(event, step=self.step, **values)

    def _agree(self, wish: bool) -> bool:
        """Whether any process was told to stop; signals reach processes at different steps."""
        if self.world == 1:
            return wish
        flag = torch.tensor(int(wish), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum"))

    def check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise RamgruError(
                f"the loss became {loss} at or shortly before step {self.step}; the checkpoint in "
                f"{self.folder} is from before: try a lower lr than {self.config.lr} or a "
                "smaller clip"
            )
