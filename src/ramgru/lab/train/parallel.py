"""Device, precision and distribution: one Accelerator, on one process or many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ramgru.lab.train.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def pick_device(name: str) -> torch.device:
    """The device of a name; auto is CUDA if available. Raises ValueError if it is not available."""
    cuda = torch.cuda.is_available()
    if name.split(":")[0] not in ("auto", "cpu", "cuda") or (name.startswith("cuda") and not cuda):
        known = "auto, cpu or cuda" if cuda else "auto or cpu where torch finds no CUDA device"
        raise ValueError(f"device must be {known}, got {name!r}")
    return torch.device(("cuda" if cuda else "cpu") if name == "auto" else name)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision and process group as `config` says; gloo on CPU, NCCL on CUDA.

    Raises ValueError if the device is not available.
    """
    import torch.distributed as dist
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    kind = str(pick_device(config.device))
    if kind == "cpu" and config.precision == "float16":
        raise ValueError("precision must be float32 or bfloat16 on a CPU, got 'float16'")
    # Accelerate keeps the first device and precision for the life of the process, but a second run
    # in the same process (a comparison) may need others.
    AcceleratorState._reset_state(reset_partial_state=not dist.is_initialized())
    if ":" in kind:
        torch.cuda.set_device(kind)
    # Processes may run different numbers of chunks: a broadcast in each forward would hang them.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(
        cpu=kind == "cpu", mixed_precision=PRECISION[config.precision], kwargs_handlers=[ddp]
    )


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded (all processes must call)."""
    whole = getattr(tensor, "full_tensor", None)
    return tensor if whole is None else whole()


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """`tensor`, whole on every process, on the device of `target` and sharded as `target` is."""
    mesh = getattr(target, "device_mesh", None)
    if mesh is None:
        return tensor.to(target.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(target.device), mesh, target.placements)  # type: ignore[attr-defined]
