"""The GRU by the native kernel, `native.h` beside this file; weight gradients by torch.mm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramgru.kernels import native

FORWARD = native.arguments(
    "GruForward", "B T H", "projected initial weight bias reset lengths states last r z n hn"
)
BACKWARD = native.arguments(
    "GruBackward",
    "B T H",
    "initial weight reset lengths states r z n hn grad_states grad_last "
    "grad_projected grad_hn before grad_initial",
)


def forward(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
    learns: bool,
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    h, weight = _wide(initial, initial.dtype), _wide(weight_hh, initial.dtype)
    bias = None if bias_hh is None else _wide(bias_hh, initial.dtype)
    narrow = projected.dtype == torch.bfloat16 and h.dtype == torch.float32
    x = projected.contiguous() if narrow else _wide(projected, initial.dtype)
    shape = (*x.shape[:2], h.shape[1])
    states, last = h.new_empty(shape), torch.empty_like(h)
    # In four pieces: small enough for the allocator to hand out again what it has.
    kept = [h.new_empty(shape) for _ in range(4)] if learns else []
    native.call(
        "gru_forward",
        x.dtype,
        FORWARD,
        shape,
        (x, h, weight, bias, _plain(reset), _plain(lengths), states, last, *(kept or 4 * [None])),
    )
    return (states.to(initial.dtype), last.to(initial.dtype)), [states, *kept]


def backward(
    grads: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
    learns: bool,
) -> list[Tensor | None]:
    states = kept[0]
    B, T, H = states.shape
    h, weight = _wide(initial, initial.dtype), _wide(weight_hh, initial.dtype)
    grad_states, grad_last = (None if g is None else _wide(g, initial.dtype) for g in grads)
    _, needs_initial, needs_weight, needs_bias, *_ = needed
    grad_x = states.new_empty(B, T, 3 * H)
    grad_hn = torch.empty_like(states) if needs_weight or needs_bias else None
    before = torch.empty_like(states) if needs_weight else None
    grad_h = torch.empty_like(h) if needs_initial else None
    native.call(
        "gru_backward",
        h.dtype,
        BACKWARD,
        (B, T, H),
        (
            *(h, weight, _plain(reset), _plain(lengths), *kept, grad_states, grad_last),
            *(grad_x, grad_hn, before, grad_h),
        ),
    )
    grad_weight = grad_bias = None
    if grad_hn is not None:
        rz, hn = grad_x.flatten(0, 1)[:, : 2 * H], grad_hn.flatten(0, 1)  # (B T, 2 H), (B T, H)
        if before is not None:
            grad_weight = torch.empty_like(weight)
            torch.mm(rz.T, before.flatten(0, 1), out=grad_weight[: 2 * H])
            torch.mm(hn.T, before.flatten(0, 1), out=grad_weight[2 * H :])
        if needs_bias:
            grad_bias = torch.cat([rz.sum(0), hn.sum(0)])
    return [
        grad_x.to(projected.dtype),
        None if grad_h is None else grad_h.to(initial.dtype),
        None if grad_weight is None else grad_weight.to(weight_hh.dtype),
        None if grad_bias is None or bias_hh is None else grad_bias.to(bias_hh.dtype),
        None,
        None,
    ]


def _wide(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The recurrence is float32 or wider; only what is projected may be stored in bfloat16."""
    return x.to(torch.promote_types(dtype, torch.float32)).contiguous()


def _plain(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()
