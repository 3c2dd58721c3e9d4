"""The recurrences in torch: the operators `linear_scan` and `diagonal_gru`, and minGRU.

Each operator, `torch.ops.ramgru.NAME`, is one node of a traced graph, of any length. The backward
of both is a linear scan from the end to the start, so derivatives of every order run through it.
minGRU is elementwise code around one linear scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.recurrence import cpu, reference
from ramgru.kernels.transforms import call, fold, one_by_one

MaybeTensor = Tensor | None

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
    pad = padding(z, lengths)
    if pad is not None:
        keep, update = keep.masked_fill(pad, 1), update.masked_fill(pad, 0)
    h = linear_scan(keep, update, initial, False)
    return (h if pad is None else h.masked_fill(pad, 0)), h[:, -1].to(initial.dtype)


def padding(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """x (B, T, ...) -> (B, T, 1) whether a step is padding"""
    if lengths is None:
        return None
    return (torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)).unsqueeze(-1)


@torch.library.custom_op("ramgru::diagonal_gru", mutates_args=())
def diagonal_gru_op(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[Tensor, Tensor]:
    args = (projected, initial, weight_hh, bias_hh, reset, lengths)
    path = dispatch.choose(*args, triton=True, in_operator=True).path
    if path == dispatch.TRITON:
        from ramgru.kernels.recurrence import triton_diagonal

        return triton_diagonal.forward(*args)[0]
    if path == dispatch.CPU:
        return cpu.diagonal_gru_forward(*args)[0]
    return reference.diagonal_gru(*args)


@diagonal_gru_op.register_fake
def uninitialised(projected: Tensor, initial: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    """Of the shapes that a recurrence returns."""
    states = initial.new_empty(*projected.shape[:2], initial.shape[1])
    return states, torch.empty_like(initial, memory_format=torch.contiguous_format)


def mapped(
    operator: Any, run: Callable[..., tuple[Tensor, ...]], info: Any, in_dims: Any, args: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The vmap rule of a gated recurrence: more sequences, or where weights differ too, one call
    after the other."""
    size = info.batch_size
    if in_dims[2] is not None or in_dims[3] is not None:
        return one_by_one(operator, size, in_dims, args)
    x, h, reset, lengths = (fold(args[i], in_dims[i], size) for i in (0, 1, 4, 5))
    states, last = run(x, h, args[2], args[3], reset, lengths)
    return (states.unflatten(0, (size, -1)), last.unflatten(0, (size, -1))), (0, 0)


class _DiagonalGru(torch.autograd.Function):
    """The operator for torch.func's transforms, which need an autograd.Function."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        states, last = torch.ops.ramgru.diagonal_gru(*args)
        return states, last

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[0])

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor, grad_last: Tensor) -> tuple[Any, ...]:
        """The states are known, so the gates of all steps are computed at once. The gradient of a
        state is that of its output, and the next state's times dh[t+1] / dh[t]: a linear scan."""
        projected, initial, weight_hh, bias_hh, reset, lengths, states = ctx.saved_tensors
        wide = torch.promote_types(initial.dtype, torch.float32)
        xr, xz, xn = projected.to(wide).chunk(3, dim=-1)  # (B, T, H), as all below
        before = torch.cat([initial.unsqueeze(1), states[:, :-1]], dim=1).to(wide)
        if reset is not None:
            before = before.masked_fill(reset.unsqueeze(-1), 0)
        weight, bias = weight_hh.to(wide), 0 if bias_hh is None else bias_hh.to(wide)
        ur, uz, un = weight.chunk(3)
        hr, hz, hn = (weight * before.repeat(1, 1, 3) + bias).chunk(3, dim=-1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * hn)
        # The derivatives of h with respect to n, hn, r and z, the gates before their activations.
        to_n = (1 - z) * (1 - n * n)
        to_hn, to_r, to_z = to_n * r, to_n * hn * r * (1 - r), (before - n) * z * (1 - z)
        along = z + to_r * ur + to_z * uz + to_hn * un  # dh[t] / dh[t-1]
        if reset is not None:
            along = along.masked_fill(reset.unsqueeze(-1), 0)
        above, pad = grad_states.to(wide), padding(along, lengths)
        if pad is not None:
            along = along.masked_fill(pad, 1)
            above, to_n, to_hn, to_r, to_z = (
                v.masked_fill(pad, 0) for v in (above, to_n, to_hn, to_r, to_z)
            )
        following = torch.cat([along[:, 1:], torch.ones_like(along[:, :1])], dim=1)
        g = linear_scan(following, above, grad_last.to(wide), True)
        found = [torch.cat([g * to_r, g * to_z, g * to_n], dim=-1), along[:, 0] * g[:, 0]]
        recurrent = torch.cat([g * to_r, g * to_z, g * to_hn], dim=-1)
        found += [(recurrent * before.repeat(1, 1, 3)).sum((0, 1)), recurrent.sum((0, 1))]
        given = (projected, initial, weight_hh, bias_hh)
        grads = [None if t is None else v.to(t.dtype) for v, t in zip(found, given, strict=True)]
        return *grads, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return mapped(torch.ops.ramgru.diagonal_gru, diagonal_gru, info, in_dims, args)


diagonal_gru_op.register_autograd(_DiagonalGru.backward, setup_context=_DiagonalGru.setup_context)
diagonal_gru_op.register_vmap(_DiagonalGru.vmap)


def diagonal_gru(*args: Any) -> tuple[Tensor, ...]:
    """As `reference.diagonal_gru`: the operator, or its Function under torch.func."""
    found: tuple[Tensor, ...] = call(_DiagonalGru, torch.ops.ramgru.diagonal_gru, args)
    return found
