"""Recurrences over time: the GRU, the GRU with diagonal recurrent weights, the minGRU, and the
gated linear recurrence under the minGRU.

B sequences, T steps, H units.
"""

from __future__ import annotations

from torch import Tensor, is_grad_enabled  # `torch` would name the module beside this file

from ramgru.kernels.fused import Fused
from ramgru.kernels.recurrence import cpu, operator, reference
from ramgru.kernels.recurrence import torch as portable

__all__ = ["GRU", "diagonal_gru", "gru", "linear_scan", "mingru", "reference"]

_gru = Fused(operator.gru, cpu.gru_forward, cpu.gru_backward)
GRU = _gru.operation
_mingru = Fused(
    portable.mingru, cpu.mingru_forward, cpu.mingru_backward, "ramgru.kernels.recurrence.triton"
)
_diagonal_gru = Fused(
    portable.diagonal_gru,
    cpu.diagonal_gru_forward,
    cpu.diagonal_gru_backward,
    "ramgru.kernels.recurrence.triton_diagonal",
)


def gru(
    projected: Tensor,  # (B, T, 3 H): W_ih x + b_ih for r, z, n
    initial: Tensor,  # (B, H), h before the first step
    weight_hh: Tensor,  # (3 H, H)
    bias_hh: Tensor | None,  # (3 H,)
    reset: Tensor | None = None,  # (B, T) True: h is set to zero before the step
    lengths: Tensor | None = None,  # (B,) steps that count
) -> tuple[Tensor, Tensor]:
    """`torch.nn.GRU` -> h (B, T, H), 0 after a sequence's end, and h at its end (B, H)."""
    tensors = (projected, initial, weight_hh, bias_hh, reset, lengths)
    learns = is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    states, last = _gru(tensors, learns)
    return states, last


def diagonal_gru(
    projected: Tensor,  # (B, T, 3 H): W_ih x + b_ih for r, z, n
    initial: Tensor,  # (B, H), h before the first step; its dtype is that of the recurrence
    weight_hh: Tensor,  # (3 H,) one number a unit and gate
    bias_hh: Tensor | None,  # (3 H,)
    reset: Tensor | None = None,  # (B, T) True: h is set to zero before the step
    lengths: Tensor | None = None,  # (B,) steps that count
) -> tuple[Tensor, Tensor]:
    """`gru` with diagonal recurrent weights -> h (B, T, H), 0 after a sequence's end, and h at its
    end (B, H)."""
    states, last = _diagonal_gru((projected, initial, weight_hh, bias_hh, reset, lengths))
    return states, last


def mingru(
    projected: Tensor,  # (B, T, 2 H): gates before their sigmoid, then candidates
    initial: Tensor,  # (B, H), h before the first step; its dtype is that of the recurrence
    reset: Tensor | None = None,  # (B, T) True: h is set to zero before the step
    lengths: Tensor | None = None,  # (B,) steps that count
) -> tuple[Tensor, Tensor]:
    """minGRU -> h (B, T, H), 0 after a sequence's end, and h at its end (B, H)."""
    states, last = _mingru((projected, initial, reset, lengths))
    return states, last


def linear_scan(
    decay: Tensor,  # (B, T, H)
    update: Tensor,  # (B, T, H)
    initial: Tensor,  # (B, H), h before the first step
) -> Tensor:
    """h[t] = decay[t] h[t-1] + update[t], elementwise -> (B, T, H).

    A decay of 0 drops the state before it, also a state that is not finite. float64 is computed in
    float64, everything else in float32. Differentiable to any order, but not in forward mode.
    """
    if decay.dim() != 3 or decay.shape != update.shape:
        raise ValueError(
            "decay, update: expected one shape (B, T, H), "
            f"got {tuple(decay.shape)} and {tuple(update.shape)}"
        )
    if initial.shape != (decay.shape[0], decay.shape[2]):
        raise ValueError(
            f"initial: expected shape {(decay.shape[0], decay.shape[2])}, "
            f"got {tuple(initial.shape)}"
        )
    return portable.linear_scan(decay, update, initial, False)
