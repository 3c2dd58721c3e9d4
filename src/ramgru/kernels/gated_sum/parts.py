"""h + sigmoid(g) r in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def gated_sum(h: Tensor, gate: Tensor, added: Tensor) -> tuple[Tensor]:
    """Three tensors of one shape; `gate` before its sigmoid -> their sum, of the widest dtype."""
    return (h + torch.sigmoid(gate) * added,)
