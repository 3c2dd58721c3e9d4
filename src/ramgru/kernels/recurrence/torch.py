"""The recurrences in vectorised torch: `linear_scan` as an operator, and minGRU made of it.

`torch.ops.ramgru.linear_scan` is one node of a traced graph, of any length. Its backward is the
same scan from the end to the start, so derivatives of every order run through the one operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.recurrence import cpu
from ramgru.kernels.transforms import call, fold

OPERATION = dispatch.Operation("linear_scan", "linear_scan", "ramgru.kernels.recurrence.triton")


@torch.library.custom_op("ramgru::linear_scan", mutates_args=())
def linear_scan_op(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    if OPERATION.choose(decay, update, initial, in_operator=True).path == dispatch.TRITON:
        from ramgru.kernels.recurrence import triton

        return triton.linear_scan(decay, update, initial, reverse)
    wide = torch.float64 if update.dtype == torch.float64 else torch.float32
    a, u, h = decay.to(wide), update.to(wide), initial.to(wide)
    if OPERATION.choose(a, u, h, in_operator=True).path == dispatch.CPU:
        return cpu.linear_scan(a, u, h, reverse).to(update.dtype)
    a = a.transpose(0, 1).contiguous()  # (T, B, H): each step in one piece
    states = u.transpose(0, 1).contiguous()
    if states.data_ptr() == update.data_ptr():
        states = states.clone()
    cut = a == 0
    any_cut = bool(cut.any())
    for t in reversed(range(a.shape[0])) if reverse else range(a.shape[0]):
        if any_cut:  # a decay of 0 also drops a state that is not finite
            h = h.masked_fill(cut[t], 0)
        h = torch.addcmul(states[t], a[t], h, out=states[t])
    return states.transpose(0, 1).to(update.dtype).contiguous()


@linear_scan_op.register_fake
def _(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    return torch.empty_like(update, memory_format=torch.contiguous_format)


class _Scan(torch.autograd.Function):
    """The operator for torch.func's transforms, which need an autograd.Function."""

    @staticmethod
    def forward(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
        return torch.ops.ramgru.linear_scan(decay, update, initial, reverse)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        decay, _, initial, ctx.reverse = inputs
        ctx.save_for_backward(decay, initial, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        decay, initial, states = ctx.saved_tensors
        if decay.shape[1] == 0:
            return torch.zeros_like(decay), grad, torch.zeros_like(initial), None
        zero = torch.zeros_like(initial)
        first = initial.to(states.dtype).unsqueeze(1)
        if ctx.reverse:
            following = torch.cat([zero.unsqueeze(1), decay[:, :-1]], dim=1)
            before = torch.cat([states[:, 1:], first], dim=1)
        else:
            following = torch.cat([decay[:, 1:], zero.unsqueeze(1)], dim=1)
            before = torch.cat([first, states[:, :-1]], dim=1)
        grad_update = linear_scan(following, grad, zero, not ctx.reverse)
        end = -1 if ctx.reverse else 0
        grad_initial = (grad_update[:, end] * decay[:, end]).to(initial.dtype)
        return (grad_update * before).to(decay.dtype), grad_update, grad_initial, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        a, u, h = (fold(x, dim, size) for x, dim in zip(args[:3], in_dims[:3], strict=True))
        return linear_scan(a, u, h, args[3]).unflatten(0, (size, -1)), 0


linear_scan_op.register_autograd(_Scan.backward, setup_context=_Scan.setup_context)
linear_scan_op.register_vmap(_Scan.vmap)


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """The operator, or its Function under torch.func; reverse: from the last step to the first."""
    return call(_Scan, torch.ops.ramgru.linear_scan, (decay, update, initial, reverse))


def mingru(
    projected: Tensor, initial: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `reference.mingru`, by one linear scan."""
    # The state, and so the recurrence, keeps its own dtype under autocast.
    z, n = projected.to(initial.dtype).chunk(2, dim=-1)
    z = torch.sigmoid(z)
    keep, update = 1 - z, z * n
    if reset is not None:
        keep = keep.masked_fill(reset.unsqueeze(-1), 0)
    pad = None
    if lengths is not None:
        pad = (torch.arange(z.shape[1], device=z.device) >= lengths.unsqueeze(1)).unsqueeze(-1)
        keep, update = keep.masked_fill(pad, 1), update.masked_fill(pad, 0)
    h = linear_scan(keep, update, initial, False)
    return (h if pad is None else h.masked_fill(pad, 0)), h[:, -1].to(initial.dtype)
