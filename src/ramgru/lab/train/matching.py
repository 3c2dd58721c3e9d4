"""How large a layer has to be so that its model has so many parameters or bytes of state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ramgru.lab.spec import joined
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers
from ramgru.sequence import SequenceModel

if TYPE_CHECKING:
    from ramgru.lab.train.build import ModelConfig

FLOAT = 4  # bytes
MOST = 2**26  # a hidden_size, or cells, that nobody means


def sized(
    config: ModelConfig,
    options: dict[str, str],
    task: Task,
    build: Callable[[ModelConfig], SequenceModel],
) -> ModelConfig:
    """The same network, its hidden_size or memory_size chosen by `parameters` or `state_bytes`.

    options: of the layer. build: makes a model of a network whose sizes are all given.
    An own layer that takes no hidden_size stays as it is.
    Raises ValueError where even the smallest is too large.
    """
    wanted = config.parameters or config.state_bytes
    own_size = config.layer != "ramgru" and not layers.peer(config.layer, options).width
    if not wanted or own_size:
        return replace(config, parameters=0, state_bytes=0)
    plain = replace(config, layer=joined(config.layer, options), parameters=0, state_bytes=0)

    def model(size: int) -> SequenceModel:
        with torch.device("meta"):
            return build(_with_size(plain, size))

    if config.parameters:
        size = _nearest(lambda size: count_parameters(model(size)), wanted)
        what = f"parameters must be at least {count_parameters(model(1))}"
    else:
        steps = trained_steps(task)
        least = 1
        if config.name == "ramgru":
            least = 1 << (config.ram.top_k - 1).bit_length()
        size = _largest(
            lambda size: state_bytes(model(size), steps), wanted, least, config.name == "ramgru"
        )
        what = f"state_bytes must be at least {state_bytes(model(least), steps)}"
    if not size:
        raise ValueError(
            f"{what} for layer={config.layer!r} with d_model={config.d_model}, "
            f"num_layers={config.num_layers} on {task.name}, got {wanted}"
        )
    return replace(_with_size(config, size), parameters=0, state_bytes=0)


def count_parameters(model: nn.Module) -> int:
    """Numbers that training adjusts."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def state_bytes(model: SequenceModel, steps: int) -> int:
    """Bytes of recurrent state of one sequence after so many steps."""
    return FLOAT * (model.state_size + steps * model.state_growth)


def trained_steps(task: Task) -> int:
    """Steps of the longest of some sequences that the task is trained on."""
    return int(task.draw(16, seed=0).lengths.max())


def _with_size(config: ModelConfig, size: int) -> ModelConfig:
    if config.name == "ramgru":
        return replace(config, ram=replace(config.ram, memory_size=size))
    return replace(config, hidden_size=size)


def _nearest(count: Callable[[int], int], wanted: int) -> int:
    """The size whose count is nearest; 0 where that of 1 is more already."""
    if count(1) > wanted:
        return 0
    low, high = _around(count, wanted)
    return min((low, high), key=lambda size: abs(count(size) - wanted))


def _largest(count: Callable[[int], int], most: int, least: int, doubled: bool) -> int:
    """The largest size from `least`, or `least` doubled and doubled again, whose count is not above
    `most`; 0 where there is none."""
    if count(least) > most:
        return 0
    if doubled:
        size = least
        while size < MOST and count(2 * size) <= most:
            size *= 2
        return size
    return _around(count, most + 1)[0]


def _around(count: Callable[[int], int], wanted: int) -> tuple[int, int]:
    """Two sizes next to each other: the count of the first is below `wanted`, not the second's."""
    low, high = 1, 2
    while high < MOST and count(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return low, high
