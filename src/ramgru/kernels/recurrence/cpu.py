"""The recurrences by the native kernels of `gru.h`, `diagonal.h` and `scan.h`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.native import contiguous

MaybeTensor = Tensor | None

SCAN = native.arguments("LinearScan", "B T H reverse", "decay update initial states")
MINGRU_FORWARD = native.arguments(
    "MingruForward", "B T H", "projected initial reset lengths states last"
)
MINGRU_BACKWARD = native.arguments(
    "MingruBackward",
    "B T H",
    "projected initial reset lengths states grad_states grad_last grad_projected grad_initial",
)
GRU_FORWARD = native.arguments(
    "GruForward", "B T H", "projected initial weight bias reset lengths states last r z n hn"
)
GRU_BACKWARD = native.arguments(
    "GruBackward",
    "B T H",
    "initial weight reset lengths states r z n hn grad_states grad_last "
    "grad_projected grad_hn before grad_initial",
)
DIAGONAL_FORWARD = native.arguments(
    "DiagonalGruForward", "B T H", "projected initial weight bias reset lengths states last"
)
DIAGONAL_BACKWARD = native.arguments(
    "DiagonalGruBackward",
    "B T H",
    "projected initial weight bias reset lengths states grad_states grad_last "
    "grad_projected grad_initial grad_weight grad_bias",
)


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """All float32 or all float64; with `reverse`, from the last step to the first."""
    a, u, h = (x.resolve_neg().contiguous() for x in (decay, update, initial))
    states = torch.empty_like(u)
    native.call("linear_scan", u.dtype, SCAN, (*u.shape, int(reverse)), (a, u, h, states))
    return states


def mingru_forward(
    projected: Tensor, initial: Tensor, reset: MaybeTensor, lengths: MaybeTensor
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    x, h = _projected(projected, initial), _wide(initial, initial)
    shape = (*x.shape[:2], h.shape[1])
    states, last = h.new_empty(shape), torch.empty_like(h)
    tensors = (x, h, contiguous(reset), contiguous(lengths), states, last)
    native.call("mingru_forward", x.dtype, MINGRU_FORWARD, shape, tensors)
    return (states.to(initial.dtype), last.to(initial.dtype)), [states]


def mingru_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    projected, initial, reset, lengths = given
    x, h = _projected(projected, initial), _wide(initial, initial)
    (states,) = kept
    grad_states = torch.zeros_like(states) if grads[0] is None else _wide(grads[0], h)
    grad_last = None if grads[1] is None else _wide(grads[1], h)
    grad_x, grad_h = torch.empty_like(x), torch.empty_like(h)
    native.call(
        "mingru_backward",
        x.dtype,
        MINGRU_BACKWARD,
        states.shape,
        (
            *(x, h, contiguous(reset), contiguous(lengths), states, grad_states, grad_last),
            *(grad_x, grad_h),
        ),
    )
    return [grad_x.to(projected.dtype), grad_h.to(initial.dtype), None, None]


def gru_forward(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
    learns: bool,
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    x, h, weight = (
        _projected(projected, initial),
        _wide(initial, initial),
        _wide(weight_hh, initial),
    )
    bias = None if bias_hh is None else _wide(bias_hh, initial)
    shape = (*x.shape[:2], h.shape[1])
    states, last = h.new_empty(shape), torch.empty_like(h)
    # In four pieces: small enough for the allocator to reuse freed memory.
    kept = [h.new_empty(shape) for _ in range(4)] if learns else []
    tensors = (x, h, weight, bias, contiguous(reset), contiguous(lengths), states, last)
    native.call("gru_forward", x.dtype, GRU_FORWARD, shape, (*tensors, *(kept or 4 * [None])))
    return (states.to(initial.dtype), last.to(initial.dtype)), [states, *kept]


def gru_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    """The gradients of the weights are products by torch.mm."""
    projected, initial, weight_hh, bias_hh, reset, lengths, _ = given
    states = kept[0]
    B, T, H = states.shape
    h, weight = _wide(initial, initial), _wide(weight_hh, initial)
    grad_states, grad_last = (None if g is None else _wide(g, initial) for g in grads)
    _, needs_initial, needs_weight, needs_bias, *_ = needed
    grad_x = states.new_empty(B, T, 3 * H)
    grad_hn = torch.empty_like(states) if needs_weight or needs_bias else None
    before = torch.empty_like(states) if needs_weight else None
    grad_h = torch.empty_like(h) if needs_initial else None
    native.call(
        "gru_backward",
        h.dtype,
        GRU_BACKWARD,
        (B, T, H),
        (
            *(h, weight, contiguous(reset), contiguous(lengths), *kept, grad_states, grad_last),
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
        None if grad_bias is None else grad_bias.to(bias_hh.dtype),
        None,
        None,
    ]


def diagonal_gru_forward(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    given = _diagonal(projected, initial, weight_hh, bias_hh, reset, lengths)
    x, h = given[:2]
    states, last = h.new_empty(*x.shape[:2], h.shape[1]), torch.empty_like(h)
    tensors = (*given, states, last)
    native.call("diagonal_gru_forward", x.dtype, DIAGONAL_FORWARD, tuple(states.shape), tensors)
    return (states.to(initial.dtype), last.to(initial.dtype)), [states]


def diagonal_gru_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *tensors: Any
) -> list[MaybeTensor]:
    given = _diagonal(*tensors)
    (x, h), (states,) = given[:2], kept
    grad_states, grad_last = (None if g is None else _wide(g, h) for g in grads)
    grad_x, grad_h = torch.empty_like(x), torch.empty_like(h)
    # (B, 3 H) each sequence's part, so that the sums do not depend on the threads
    grad_weight, grad_bias = (h.new_empty(len(h), 3 * h.shape[1]) for _ in range(2))
    native.call(
        "diagonal_gru_backward",
        x.dtype,
        DIAGONAL_BACKWARD,
        tuple(states.shape),
        (*given, states, grad_states, grad_last, grad_x, grad_h, grad_weight, grad_bias),
    )
    found = (grad_x, grad_h, grad_weight.sum(0), grad_bias.sum(0))
    wanted = [None if t is None else g.to(t.dtype) for g, t in zip(found, tensors[:4], strict=True)]
    return [*wanted, None, None]


def _diagonal(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[Any, ...]:
    """The same tensors as the kernels take them."""
    return (
        _projected(projected, initial),
        _wide(initial, initial),
        _wide(weight_hh, initial),
        None if bias_hh is None else _wide(bias_hh, initial),
        contiguous(reset),
        contiguous(lengths),
    )


def _wide(x: Tensor, like: Tensor) -> Tensor:
    """The recurrence is float32 or wider."""
    return x.to(torch.promote_types(like.dtype, torch.float32)).contiguous()


def _projected(x: Tensor, initial: Tensor) -> Tensor:
    """The projected input alone may be stored in bfloat16."""
    narrow = x.dtype == torch.bfloat16 and initial.dtype != torch.float64
    return x.contiguous() if narrow else _wide(x, initial)
