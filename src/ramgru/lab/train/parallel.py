"""Where and in which precision a run computes: one Accelerator, on one process or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ramgru.lab.train.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def pick_device(name: str) -> torch.device:
    """auto: CUDA where there is one. Raises ValueError for a device that is not there."""
    cuda = torch.cuda.is_available()
    if name.split(":")[0] not in ("auto", "cpu", "cuda") or (name.startswith("cuda") and not cuda):
        known = "auto, cpu or cuda" if cuda else "auto or cpu where torch finds no CUDA device"
        raise ValueError(f"device must be {known}, got {name!r}")
    return torch.device(("cuda" if cuda else "cpu") if name == "auto" else name)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision and process group as `config` says; gloo on CPU, NCCL on CUDA.

    Raises ValueError where the device is not there.
    """
    import torch.distributed as dist
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    kind = str(pick_device(config.device))
    if kind == "cpu" and config.precision == "float16":
        raise ValueError("precision must be float32 or bfloat16 on a CPU, got 'float16'")
    # Accelerate remembers the first device and precision for the life of the process; a second
    # run in one process (a comparison) may want others.
    AcceleratorState._reset_state(reset_partial_state=not dist.is_initialized())
    if ":" in kind:
        torch.cuda.set_device(kind)
    # Processes may run different numbers of chunks: a broadcast in each forward would hang them.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(
        cpu=kind == "cpu", mixed_precision=PRECISION[config.precision], kwargs_handlers=[ddp]
    )


def wrap(
    accelerator: Accelerator, objective: nn.Module, optimizer: Any, *, shard: bool
) -> tuple[nn.Module, Any]:
    """The pair, ready for training: as it is (one process), under DDP, or sharded already."""
    if shard:
        # FSDP2 works in place; a second wrapper would average what it has averaged.
        return objective.to(accelerator.device), accelerator.prepare_optimizer(optimizer)
    return accelerator.prepare(objective, optimizer)


def shard_objective(objective: nn.Module) -> None:
    """FSDP2 (`fully_shard`), the whole as one unit: the blocks' initial states are made before the
    blocks run, and may be learnt, so their parameters must be whole by then."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(objective)


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; every process must take part."""
    whole = getattr(tensor, "full_tensor", None)
    return tensor if whole is None else whole()


def like(tensor: Tensor, shape: Tensor) -> Tensor:
    """`tensor`, whole on every process, laid out as `shape` is: on its device, in its shards."""
    mesh = getattr(shape, "device_mesh", None)
    if mesh is None:
        return tensor.to(shape.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(shape.device), mesh, shape.placements)  # type: ignore[attr-defined]
