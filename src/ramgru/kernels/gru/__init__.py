"""The recurrence of `torch.nn.GRU`, from what was projected to hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramgru.kernels.fused import Fused
from ramgru.kernels.gru import native, parts
from ramgru.kernels.gru.parts import gru as reference

__all__ = ["gru", "reference"]

_gru = Fused(parts.gru, native.forward, native.backward)


def gru(tensors: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """(projected, initial, weight_hh, bias_hh, reset, lengths) -> states, last: see `reference`."""
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    states, last = _gru(tensors, learns)
    return states, last
