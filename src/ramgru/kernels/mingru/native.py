"""minGRU by the native kernel: `native.h` beside this file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramgru.kernels import native

FORWARD = native.arguments("MingruForward", "B T H", "projected initial reset lengths states last")
BACKWARD = native.arguments(
    "MingruBackward",
    "B T H",
    "projected initial reset lengths states grad_states grad_last grad_projected grad_initial",
)


def forward(
    projected: Tensor, initial: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    B, T, _ = projected.shape
    x, h, r, n = _contiguous(projected, initial, reset, lengths)
    states = h.new_empty(B, T, h.shape[1])
    last = torch.empty_like(h)
    native.call("mingru_forward", x.dtype, FORWARD, (B, T, h.shape[1]), (x, h, r, n, states, last))
    return (states.to(initial.dtype), last.to(initial.dtype)), [states]


def backward(
    grads: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    projected: Tensor,
    initial: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> list[Tensor | None]:
    B, T, _ = projected.shape
    x, h, r, n = _contiguous(projected, initial, reset, lengths)
    (states,) = kept
    grad_states = torch.zeros_like(states) if grads[0] is None else grads[0].to(h.dtype)
    grad_last = None if grads[1] is None else grads[1].to(h.dtype).contiguous()
    grad_x, grad_h = torch.empty_like(x), torch.empty_like(h)
    native.call(
        "mingru_backward",
        x.dtype,
        BACKWARD,
        (B, T, h.shape[1]),
        (x, h, r, n, states, grad_states.contiguous(), grad_last, grad_x, grad_h),
    )
    return [grad_x.to(projected.dtype), grad_h.to(initial.dtype), None, None]


def _contiguous(
    projected: Tensor, initial: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The recurrence is float32 or wider; only what is projected may be stored in bfloat16."""
    wide = torch.float64 if initial.dtype == torch.float64 else torch.float32
    if not (projected.dtype == torch.bfloat16 and wide == torch.float32):
        projected = projected.to(wide)
    return (
        projected.contiguous(),
        initial.to(wide).contiguous(),
        None if reset is None else reset.contiguous(),
        None if lengths is None else lengths.contiguous(),
    )
