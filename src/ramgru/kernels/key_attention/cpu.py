"""The gradient of attention over a window by the native kernel of `key_attention.h`."""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels import native

BACKWARD = native.arguments(
    "KeyAttentionBackward",
    "B T H A D window grad_b grad_t gate_b gate_t candidate_b candidate_t",
    "query key scale null reset lengths "
    "grad_query grad_key grad_scale grad_gate grad_candidate grad_null grad gate candidate",
)


def key_attention_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    gate: Tensor,
    candidate: Tensor,
    null: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    window: int,
) -> tuple[Tensor, ...]:
    """As the function of the same name in `torch.py`."""
    given = (query, key, scale, gate, candidate, null)
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    u, k, scale, z, c, null = (x.to(wide) for x in given)
    whole = [None if x is None else x.contiguous() for x in (u, k, scale, null, reset, lengths)]
    g, z, c = _steps(grad.to(wide)), _steps(z), _steps(c)
    of_query, of_key, of_scale, of_gate, of_candidate, of_null = found = [
        torch.empty(x.shape, dtype=wide) for x in given
    ]
    strides = [size for x in (g, z, c) for size in x.stride()[:2]]
    native.call(
        "key_attention_backward",
        wide,
        BACKWARD,
        (*query.shape, c.shape[3], window, *strides),
        (*whole, of_query, of_key, of_scale, of_gate, of_candidate, of_null),
        (g, z, c),
    )
    return tuple(x.to(like.dtype) for x, like in zip(found, given, strict=True))


def _steps(x: Tensor) -> Tensor:
    """(B, T, ...), each step contiguous; sequences and steps may be strided."""
    return x if x[:1, :1].is_contiguous() else x.contiguous()
