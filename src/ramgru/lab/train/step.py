"""One optimizer step: forward and backward over the chunks of a batch, clipping, Adam(W).

Chunks are truncated backpropagation through time: the state is carried, the gradient is not. The
gradients of all chunks are added up because many tasks ask questions in the last chunk only.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ramgru.lab.tasks.base import Batch
from ramgru.lab.train import parallel
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.data import Chunk, chunks, count_answers
from ramgru.lab.train.measure import Objective, rights
from ramgru.sequence import SequenceModel, State, detach
from ramgru.state import RAMGRUState

if TYPE_CHECKING:
    from accelerate import Accelerator


class Stepper:
    """A model and its optimizer, on one process or as one of many.

    totals: (3,) float64, sums of this process since the last `drain`: loss, right answers, answers
    state:  the recurrent state after the last batch, where the next one goes on with it
    """

    def __init__(self, accelerator: Accelerator, model: SequenceModel, config: TrainConfig) -> None:
        self.accelerator, self.model, self.config = accelerator, model, config
        self.unwrapped: nn.Module = Objective(model)  # evaluation synchronises no gradients
        self.sharded = config.parallel == "fsdp" and accelerator.num_processes > 1
        if self.sharded:
            from torch.distributed.fsdp import fully_shard

            # One unit: the blocks' initial states are made before the blocks run and may be
            # trained, so their parameters must be unsharded by then.
            fully_shard(self.unwrapped)
            # No `prepare` of the module: DDP would average the gradients a second time.
            self.objective = self.unwrapped.to(accelerator.device)
            self.optimizer = accelerator.prepare_optimizer(make_optimizer(model, config))
        else:
            self.objective, self.optimizer = accelerator.prepare(
                self.unwrapped, make_optimizer(model, config)
            )
        self.totals = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        self.state: Any = None

    def step(
        self, batch: Batch, lr: float, write_cost: float = 0.0, *, continues: bool | None = None
    ) -> None:
        """Train on this process's share of a batch, with this weight of the auxiliary loss.

        continues: True if the batch goes on with the state of the last one, or with its cells
            alone (`TrainConfig.crowd`); False if it starts anew; None: nor does the next one
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.gradient(batch, write_cost, continues=continues)
        if self.config.clip:
            self.accelerator.clip_grad_norm_(self.objective.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def gradient(
        self, batch: Batch, write_cost: float = 0.0, *, continues: bool | None = None
    ) -> None:
        """Add the gradient of the mean loss over all answers of all processes' shares."""
        # Shares may hold different numbers of answers, so the mean is over the global count. DDP
        # and FSDP average over processes, hence the factor num_processes.
        count = torch.tensor(count_answers(batch.labels), device=self.accelerator.device)
        count = self.accelerator.reduce(count, "sum").clamp(min=1)
        scale = self.accelerator.num_processes / count
        price = None
        if write_cost:
            steps = torch.tensor(int(batch.lengths.sum()), device=self.accelerator.device)
            price = write_cost * count / self.accelerator.reduce(steps, "sum")
        state = self.state if continues else None
        if state is not None and self.config.crowd:
            state = crowded(self.model.layers, state)
        pieces = list(chunks(batch, self.config.tbptt, self.accelerator.device))
        for i, piece in enumerate(pieces):
            last = i == len(pieces) - 1
            carry = continues is not None or not last
            state = detach(self._backward(piece, state, scale, price, last=last, carry=carry))
        self.state = None if continues is None else state

    def _backward(
        self,
        piece: Chunk,
        state: Any,
        scale: Tensor,
        price: Tensor | None,
        *,
        last: bool,
        carry: bool,
    ) -> Any:
        # Processes may have different numbers of chunks; they synchronise in their last one.
        synchronise = last or self.sharded
        context = nullcontext() if synchronise else self.accelerator.no_sync(self.objective)
        forward_only = not piece.where.numel() and not synchronise  # only the state is needed
        with context, torch.set_grad_enabled(not forward_only):
            with self.accelerator.autocast():
                loss, predicted, state = self.objective(
                    piece.inputs, piece.where, piece.answers, piece.lengths, state, carry, price
                )
            if not forward_only:
                self.accelerator.backward(loss * scale)
        right, count = rights(predicted, piece.answers)
        self.totals += torch.stack([loss.detach().double(), right, count])
        return state

    def drain(self) -> tuple[float, float, int]:
        """Mean loss, share of right answers and number of answers since the last call, over all
        processes (all must call)."""
        loss, right, count = self.accelerator.reduce(self.totals, "sum").tolist()
        self.totals = torch.zeros_like(self.totals)
        return loss / max(1, count), right / max(1, count), int(count)

    def state_dict(self) -> dict[str, Tensor]:
        """Unsharded weights and optimizer state by name (all processes must call)."""
        tensors = {
            f"model/{name}": parallel.gathered(value)
            for name, value in self.model.state_dict().items()
        }
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = parallel.gathered(value)
        return tensors

    def load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """tensors: the entries of `state_dict` under `optimizer/`, named without that prefix."""
        parameters = dict(self.model.named_parameters())
        for path, value in tensors.items():
            name, _, key = path.rpartition("/")
            parameter = parameters[name]
            # Adam keeps its step count on the CPU, as a scalar.
            placed = value if key == "step" else parallel.like(value, parameter)
            self.optimizer.state[parameter][key] = placed


def crowded(layers: Sequence[Any], state: State) -> State:
    """A fresh state of each layer, None, or with the cells of its memory in `state`."""
    return [
        layer.initial_state(entry.batch_size).with_cells_of(entry)
        if isinstance(entry, RAMGRUState)
        else None
        for layer, entry in zip(layers, state, strict=True)
    ]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam or AdamW with weight decay for matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind([g for g in groups if g["params"]], lr=config.lr, betas=config.betas)
