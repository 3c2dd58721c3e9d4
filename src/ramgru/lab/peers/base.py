"""What several peers share: their states, a short causal convolution, padding, and a chunked scan.

B sequences, T steps, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ramgru.kernels.address import short_convolution
from ramgru.ragged import last_steps, padding_mask

WIDTH = 4  # taps of the convolution: a step and the three before it
SomeState = TypeVar("SomeState", bound="PeerState")


@dataclass(frozen=True)
class PeerState:
    """Named tensors that a batch of sequences carries from step to step."""

    @property
    def tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def detach(self: SomeState) -> SomeState:
        """The same values without their graph."""
        return type(self)(*(x.detach() for x in self.tensors))


@dataclass(frozen=True)
class MemoryState(PeerState):
    """memory (B, heads, ...), of the peer's own shape; context (B, WIDTH - 1, channels), the last
    inputs of the convolution."""

    memory: Tensor
    context: Tensor


class ShortConvolution(nn.Module):
    """y[t] = sum_o taps[o] x[t - o], with WIDTH taps a channel (the shift of H3, arXiv 2212.14052).

    forward(x (B, T, C), context (B, WIDTH - 1, C) the steps before, lengths (B,), reset (B, T))
    -> y (B, T, C), the next context. Windows end at a reset; padding never enters the context.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.empty(WIDTH, channels))
        bound = WIDTH**-0.5  # that of nn.Conv1d
        nn.init.uniform_(self.taps, -bound, bound)
        with torch.no_grad():
            self.taps[0] += 1  # start close to the identity

    @property
    def state_size(self) -> int:
        return self.taps[1:].numel()

    def initial_state(self, batch_size: int) -> Tensor:
        return self.taps.new_zeros(batch_size, *self.taps[1:].shape)

    def forward(
        self, x: Tensor, context: Tensor, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = x.to(self.taps.dtype)  # autocast lowers its precision
        y = short_convolution(x, context, self.taps, reset)
        return y, last_steps(x, context, lengths, reset)


class Ragged(NamedTuple):
    """Unequal lengths in a batch: padding (B, T), lengths (B,), reset (B, T); None if there are
    none."""

    padding: Tensor | None
    lengths: Tensor | None
    reset: Tensor | None


class Mixer(nn.Module):
    """A peer behind a short convolution: `mix` computes it, `forward` handles padding.

    Options that all have: hidden_size, the width of all heads together (None: d_model), rounded up
    to a multiple of `heads`.

    forward(x (B, T, C), state, lengths (B,), reset (B, T)) -> y (B, T, C), the next state. A state
    of None starts fresh. y is zero at the padding.
    """

    convolution: ShortConvolution
    memory_shape: tuple[int, ...]  # of one sequence

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return math.prod(self.memory_shape) + self.convolution.state_size

    def initial_state(self, batch_size: int) -> Any:
        context = self.convolution.initial_state(batch_size)
        return MemoryState(context.new_zeros(batch_size, *self.memory_shape), context)

    def mix(self, x: Tensor, state: Any, ragged: Ragged) -> tuple[Tensor, Any]:
        """`forward` of a batch whose padding is zero in x and False in reset."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        state = self.initial_state(x.shape[0]) if state is None else state
        if lengths is None:
            return self.mix(x, state, Ragged(None, None, reset))
        padding = padding_mask(lengths, x.shape[1])
        x = x.masked_fill(padding.unsqueeze(-1), 0)
        reset = None if reset is None else reset & ~padding
        y, state = self.mix(x, state, Ragged(padding, lengths, reset))
        return y.masked_fill(padding.unsqueeze(-1), 0), state


def at_least_one(**sizes: int) -> None:
    """Raises ValueError for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")


def cut(x: Tensor, steps: int, fill: float = 0) -> Tensor:
    """x (B, T, ...) -> its N chunks of `steps` steps, (B, N, steps, ...), padded with `fill`."""
    chunks = max(1, -(-x.shape[1] // steps))
    missing = chunks * steps - x.shape[1]
    if missing:
        x = pad(x, (0, 0) * (x.dim() - 2) + (0, missing), value=fill)
    return x.unflatten(1, (chunks, steps))


def carry(added: Tensor, kept: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The scan over chunks, memory <- kept[n] memory + added[n].

    added (B, N, ...), kept (B, N, ...) broadcast to added, memory (B, ...) before the first chunk
    -> the memory before each chunk (B, N, ...), and after the last
    """
    before = []
    for new, share in zip(added.unbind(1), kept.unbind(1)):
        before.append(memory)
        memory = torch.addcmul(new, share, memory)
    return torch.stack(before, dim=1), memory
