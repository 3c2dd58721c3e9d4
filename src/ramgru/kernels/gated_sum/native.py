"""The gated sum by the native kernel: `native.h` beside this file."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ramgru.kernels import native

SIZES = "B T C wide out_b out_t"
FORWARD = native.arguments("GatedSumForward", f"{SIZES} h_b h_t", "gate added h out")
BACKWARD = native.arguments("GatedSumBackward", SIZES, "gate added grad_gate grad_added grad_out")


def forward(h: Tensor, gate: Tensor, added: Tensor) -> tuple[tuple[Tensor], list[Tensor]]:
    g, r = _storage(h, gate, added)
    h = _rows(h.to(_dtype(h, gate, added)))
    out = torch.empty_like(h)  # laid out as h: products may round by where in memory rows lie
    sizes = (*h.shape, int(out.dtype != g.dtype), *out.stride()[:2], *h.stride()[:2])
    native.call("gated_sum_forward", g.dtype, FORWARD, sizes, (g, r), (h, out))
    return (out,), []


def backward(
    grads: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    h: Tensor,
    gate: Tensor,
    added: Tensor,
) -> list[Tensor | None]:
    (grad,) = grads
    assert grad is not None
    if not (needed[1] or needed[2]):
        return [grad.to(h.dtype), None, None]
    g, r = _storage(h, gate, added)
    grad_gate, grad_added = torch.empty_like(g), torch.empty_like(r)
    above = _rows(grad)
    sizes = (*above.shape, int(above.dtype != g.dtype), *above.stride()[:2])
    tensors = (g, r, grad_gate, grad_added)
    native.call("gated_sum_backward", g.dtype, BACKWARD, sizes, tensors, (above,))
    return [grad.to(h.dtype), grad_gate.to(gate.dtype), grad_added.to(added.dtype)]


def _dtype(*tensors: Tensor) -> torch.dtype:
    """Of the sum."""
    return functools.reduce(torch.promote_types, (t.dtype for t in tensors))


def _storage(h: Tensor, gate: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """Gate and added as the kernel reads them: stored like the sum, or both in bfloat16."""
    out = _dtype(h, gate, added)
    narrow = gate.dtype == added.dtype == torch.bfloat16 and out != torch.float64
    storage = torch.bfloat16 if narrow else out
    return gate.to(storage).contiguous(), added.to(storage).contiguous()


def _rows(x: Tensor) -> Tensor:
    """(B, T, C) with the numbers of a step side by side."""
    return x if x.stride(2) == 1 else x.contiguous()
