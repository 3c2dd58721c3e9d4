"""Everything that one training run depends on, as one dataclass.

Equal configurations give equal bits, on one machine with one setting of `threads`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ramgru.lab import tasks
from ramgru.lab.tasks.base import Task
from ramgru.lab.train.build import ModelConfig


def _default_task() -> Task:
    return tasks.get("mqar")


@dataclass(frozen=True)
class TrainConfig:
    """One training run: a task, a model, and how the one learns the other."""

    task: Task = field(default_factory=_default_task)
    """What is learnt, with its sizes."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    data: Path | None = None
    """Train on a file written by `ramgru generate` instead of drawing on the fly."""
    text: Path | None = None
    """Train on your own text file: the next character or byte is to be foretold."""

    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or Adam with decoupled weight decay."""
    lr: float = 3e-3
    """Learning rate at its highest."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the two running means of Adam."""
    weight_decay: float = 0.01
    """Weight decay of matrices; vectors (biases, norms) are not decayed."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """Course of the learning rate after the warm-up; the last two end at zero."""
    warmup: int = 50
    """Steps in which the learning rate rises from zero."""
    clip: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it; 0: never."""

    write_cost: float = 0.3
    """Nats a ramgru layer's open update gates cost an answer, so that they learn not to write what
    nobody asks for; only its gradient counts, the loss that is told is without it; 0: nothing."""

    batch_size: int = 64
    """Sequences a step, over all processes together."""
    steps: int = 500
    """Optimizer steps at most."""
    epochs: int = 0
    """Epochs at most, instead of `steps`; 0: as `steps` says."""
    steps_per_epoch: int = 100
    """Steps that make an epoch; each ends with an evaluation and a line."""
    evaluate_every: int = 0
    """Steps between further evaluations; 0: at the end of each epoch only."""
    evaluate_examples: int = 256
    """Held-out sequences of one evaluation; training never draws them."""
    target: float | None = None
    """Stop when the held-out metric is at least this; None: never."""
    patience: int = 0
    """Stop after this many evaluations without a better metric or a lower loss; 0: never."""
    curriculum: bool = True
    """Begin with the easier sizes of the task, where it has any."""
    curriculum_target: float = 0.95
    """Held-out metric at which the curriculum goes on to the next size; it also goes on when the
    easier sizes have had half of the steps in equal parts."""
    tbptt: int = 0
    """Truncated backpropagation through time: cut sequences in chunks of this many steps. The
    state is carried from chunk to chunk, gradients are not; those of all chunks of a batch are
    added up for one optimizer step. A text is then read in rows that run on, and the state is
    carried from batch to batch too. 0: whole sequences."""

    seed: int = 0
    """Seed of the weights, the data and the dropout."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu, or cuda."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Mixed precision of forward and backward; weights stay float32; float16 needs CUDA."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: every process has the whole model, or a shard of it."""
    prefetch: bool = True
    """Draw the next batch in the background."""

    out: Path | None = None
    """Run directory; None: the next free of runs/TASK-LAYER, runs/TASK-LAYER-2, …"""
    resume: Path | None = None
    """Go on with this run from its latest checkpoint, with its own options for all that are not
    given; without RUN: the one of --out, or the newest."""
    log_every: int = 10
    """Steps between lines of log.jsonl."""
    save_every: int = 0
    """Steps between checkpoints; 0: at each evaluation."""
    tensorboard: bool = False
    """Also write the log for TensorBoard."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", tasks.get(self.task))
        for name in ("batch_size", "steps", "steps_per_epoch", "evaluate_examples", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            *("weight_decay", "warmup", "clip", "epochs", "evaluate_every", "patience"),
            *("tbptt", "seed", "threads", "save_every", "write_cost"),
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2**63, got {self.seed}")
        for name in ("lr", "weight_decay", "write_cost", "clip", "target", "curriculum_target"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")
        if self.data is not None and self.text is not None:
            raise ValueError(f"give data or text, not both, got {self.data} and {self.text}")
        if self.parallel == "fsdp" and self.tbptt:
            raise ValueError(f"tbptt must be 0 with parallel='fsdp', got {self.tbptt}")
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu or cuda, got {self.device!r}")

    @property
    def total_steps(self) -> int:
        """Optimizer steps at most, from `epochs` where given, else from `steps`."""
        return self.epochs * self.steps_per_epoch if self.epochs else self.steps
