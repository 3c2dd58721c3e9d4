"""The configuration of one training run.

Equal configurations give equal bits on one machine with one setting of `threads`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ramgru.lab import tasks
from ramgru.lab.tasks import sources
from ramgru.lab.tasks.base import Task
from ramgru.lab.train.build import ModelConfig


@dataclass(frozen=True)
class TrainConfig:
    """One training run: the task, the model and the hyperparameters."""

    task: Task = field(default_factory=lambda: tasks.get("mqar"))
    """The task to learn, with its sizes."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    data: Path | None = None
    """Train on your own numbers: a table (.csv, .tsv, .npy) with --task.target COLUMN, token ids
    (.npy, .jsonl), or a file written by `ramgru generate`. "-": standard input."""
    text: Path | None = None
    """Train on your own text: predict the next character or byte of a text file, or of each line of
    a .jsonl file. "-": standard input."""

    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or Adam with decoupled weight decay."""
    lr: float = 3e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of Adam's two running averages."""
    weight_decay: float = 0.01
    """Weight decay of matrices; vectors (biases, norms) are not decayed."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """Learning-rate schedule after the warm-up; cosine and linear decay to zero."""
    warmup: int = 50
    """Steps over which the learning rate rises linearly from zero."""
    clip: float = 1.0
    """Maximum norm of the gradient; 0: no clipping."""

    write_cost: float = 0.3
    """Weight of the auxiliary loss on open update gates at the end of the training, in nats per
    answer; it rises from zero. Only ramgru layers are charged; peers are not. The printed loss
    excludes the charge. 0: no charge."""

    batch_size: int = 64
    """Sequences in a batch, over all processes."""
    steps: int = 500
    """Maximum number of optimizer steps."""
    epochs: int = 0
    """Maximum number of epochs, instead of `steps`; 0: use `steps`."""
    steps_per_epoch: int = 100
    """Steps of an epoch; each epoch ends with an evaluation and prints one line."""
    evaluate_every: int = 0
    """Steps between further evaluations; 0: evaluate at the end of each epoch only."""
    evaluate_examples: int = 256
    """Held-out sequences per evaluation; training never draws them."""
    target: float | None = None
    """Stop when the held-out metric reaches this value; None: never."""
    patience: int = 0
    """Stop after this many evaluations without a better metric or a lower loss; 0: never."""
    curriculum: bool = True
    """Start with easier sizes of the task, if the task defines any."""
    curriculum_target: float = 0.95
    """Held-out metric at which the curriculum moves to the next size. The easier sizes share half
    of the steps equally; the curriculum also moves on when a size has used up its share."""
    tbptt: int = 0
    """Truncated backpropagation through time: cut sequences into chunks of this many steps. The
    state is carried from chunk to chunk, gradients are not. The gradients of all chunks of a batch
    are added up for one optimizer step. A text is then read as continuous rows, and the state is
    also carried from batch to batch. 0: whole sequences."""
    crowd: int = 0
    """Let this many batches share a memory: each begins with the cells that the batches before it
    have left, as a stream does that has long been running, and is fresh otherwise. A model then
    learns what to ignore in a memory that is fuller than one sequence makes it. Only ramgru layers;
    peers begin fresh. 0 and 1: a fresh memory for each batch."""

    seed: int = 0
    """Seed of the weights, the data and the dropout."""
    threads: int = 0
    """CPU threads of PyTorch; 0: PyTorch's own choice."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, or cuda."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Mixed precision of forward and backward; weights stay float32; float16 needs CUDA."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun, each process holds the whole model (ddp) or a shard of it (fsdp)."""
    prefetch: bool = True
    """Draw the next batch in a background thread."""

    out: Path | None = None
    """Run directory; None: the next free one of runs/TASK-LAYER, runs/TASK-LAYER-2, …"""
    resume: Path | None = None
    """Continue this run from its latest checkpoint. Options that are not given are the run's own.
    Without RUN: the run of --out, or the newest one."""
    log_every: int = 10
    """Steps between lines of log.jsonl."""
    save_every: int = 0
    """Steps between checkpoints; 0: save at each evaluation."""
    snapshots: int = 4
    """Times at which the weights are kept as well, for `ramgru inspect` to show how the memory came
    to be: after 1/2, 1/4, 1/8, … of the steps."""
    tensorboard: bool = False
    """Write the log for TensorBoard, too."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", tasks.get(self.task))
        for name in ("batch_size", "steps", "steps_per_epoch", "evaluate_examples", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            *("weight_decay", "warmup", "clip", "epochs", "evaluate_every", "patience"),
            *("tbptt", "crowd", "seed", "threads", "save_every", "snapshots", "write_cost"),
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
        for name in ("tbptt", "crowd"):
            if self.parallel == "fsdp" and getattr(self, name):
                raise ValueError(
                    f"{name} must be 0 with parallel='fsdp', got {getattr(self, name)}"
                )
        if self.crowd and self.tbptt:
            raise ValueError(f"crowd must be 0 with tbptt={self.tbptt}, got {self.crowd}")
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu or cuda, got {self.device!r}")

    @property
    def total_steps(self) -> int:
        """Maximum number of optimizer steps, from `epochs` if given, else from `steps`."""
        return self.epochs * self.steps_per_epoch if self.epochs else self.steps


def source(config: TrainConfig, **options: Any) -> Task:
    """The task that `config` trains on: its `data` file, its `text` file, or its `task`.

    options: further options of the task that reads the file
    """
    path = config.data or config.text
    if path is None:
        return config.task
    name = sources.reader(path, text=config.data is None)
    if config.task.name == name and Path(config.task.options()["path"]) == path.resolve():
        return config.task  # which may have options of its own
    return tasks.get(name, path=str(path.resolve()), **options)
