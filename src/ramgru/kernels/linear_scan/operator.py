"""`torch.ops.ramgru.linear_scan`: its backward is the same scan from the end to the start.

So derivatives of every order run through the one operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import gpu, native
from ramgru.kernels.linear_scan import native as native_scan
from ramgru.kernels.transforms import call, fold


@torch.library.custom_op("ramgru::linear_scan", mutates_args=())
def linear_scan_op(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    if gpu.takes(decay, update, initial):
        from ramgru.kernels.linear_scan import triton_scan

        return triton_scan.scan(decay, update, initial, reverse)
    wide = torch.float64 if update.dtype == torch.float64 else torch.float32
    a, u, h = decay.to(wide), update.to(wide), initial.to(wide)
    if native.takes(a, u, h):
        return native_scan.scan(a, u, h, reverse).to(update.dtype)
    a = a.transpose(0, 1).contiguous()  # (T, B, H): each step in one piece
    states = u.transpose(0, 1).contiguous()
    if states.data_ptr() == update.data_ptr():
        states = states.clone()
    cut = a == 0
    any_cut = bool(cut.any())
    for t in reversed(range(a.shape[0])) if reverse else range(a.shape[0]):
        if any_cut:  # what is cut off stays behind, also if it is not finite
            h = h.masked_fill(cut[t], 0)
        h = torch.addcmul(states[t], a[t], h, out=states[t])
    return states.transpose(0, 1).to(update.dtype).contiguous()


@linear_scan_op.register_fake
def _(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    return torch.empty_like(update, memory_format=torch.contiguous_format)


class _Scan(torch.autograd.Function):
    """The operator for torch.func's transforms, which look for a Function, not for an operator."""

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
        grad_update = scan(following, grad, zero, not ctx.reverse)
        end = -1 if ctx.reverse else 0
        grad_initial = (grad_update[:, end] * decay[:, end]).to(initial.dtype)
        return (grad_update * before).to(decay.dtype), grad_update, grad_initial, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        a, u, h = (fold(x, dim, size) for x, dim in zip(args[:3], in_dims[:3], strict=True))
        return scan(a, u, h, args[3]).unflatten(0, (size, -1)), 0


def scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """The operator, by the way that the transforms which are active ask for."""
    return call(_Scan, torch.ops.ramgru.linear_scan, (decay, update, initial, reverse))


linear_scan_op.register_autograd(_Scan.backward, setup_context=_Scan.setup_context)
linear_scan_op.register_vmap(_Scan.vmap)
