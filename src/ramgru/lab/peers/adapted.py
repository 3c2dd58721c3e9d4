"""Your own layer as a peer: with the interface of torch.nn.GRU, or a function of sequences."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Carried:
    """The state of an `Adapted` layer: tensors, in tuples, lists or dicts, or None."""

    value: Any = None

    def detach(self) -> Carried:
        """The same values without their graph."""
        return Carried(_detached(self.value))


class Adapted(nn.Module):
    """A layer forward(x (B, T, C), state=None) -> (y (B, T, C), state), or -> y alone.

    `lengths` (B,) and `reset` (B, T) are passed on if the layer's forward takes them. Otherwise the
    layer reads padding like any other steps, which leaves the earlier outputs as they are but not
    the final state; and a reset is an error.
    """

    def __init__(self, layer: nn.Module, d_model: int) -> None:
        super().__init__()
        self.layer, self.d_model = layer, d_model
        self.takes = inspect.signature(layer.forward).parameters

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries, without those that each step adds; measured."""
        return self._carried(1) - self.state_growth

    @property
    def state_growth(self) -> int:
        """Floats that each step adds to the state of a sequence; measured."""
        return self._carried(2) - self._carried(1)

    @torch.no_grad()
    def _carried(self, steps: int) -> int:
        like = next(self.parameters(), torch.empty(0))
        x = torch.zeros(1, steps, self.d_model, dtype=like.dtype, device=like.device)
        return _floats(self.forward(x)[1].value)

    def initial_state(self, batch_size: int) -> Carried:
        return Carried()

    def forward(
        self,
        x: Tensor,
        state: Carried | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Carried]:
        if reset is not None and "reset" not in self.takes:
            raise ValueError(
                f"reset: expected None, since the forward of {type(self.layer).__name__} does not "
                "take it, got a tensor"
            )
        ragged = {"lengths": lengths, "reset": reset}
        ragged = {name: value for name, value in ragged.items() if name in self.takes}
        before = [] if state is None or state.value is None else [state.value]
        given = self.layer(x, *before, **ragged)
        y, after = given if isinstance(given, tuple) else (given, None)
        if y.shape != x.shape:
            raise ValueError(
                f"{type(self.layer).__name__}: expected an output (B, T, d_model) as its input, "
                f"{tuple(x.shape)}, got {tuple(y.shape)}"
            )
        return y, Carried(after)


def _detached(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return type(value)(*(_detached(entry) for entry in value))
    if isinstance(value, tuple | list):
        return type(value)(_detached(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _detached(entry) for key, entry in value.items()}
    return value.detach() if hasattr(value, "detach") else value


def _floats(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(_floats(entry) for entry in value)
    if isinstance(value, dict):
        return _floats(list(value.values()))
    return value.numel() if isinstance(value, Tensor) and value.is_floating_point() else 0
