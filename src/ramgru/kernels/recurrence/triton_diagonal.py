"""The GRU with diagonal recurrent weights on a GPU: one program walks a few units of a sequence.

The steps follow one another, as the equation asks; units and sequences fill the GPU. Backward
computes the gates again from the projected input and the states, and sums the gradients of the
weights over time in blocks; the sum over sequences is torch's. There are no atomics.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu

MaybeTensor = Tensor | None

TILE = 32  # units of a program: one a lane
BLOCK = 64  # steps of a partial sum


def forward(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """It keeps the states for backward."""
    given = _contiguous(projected, initial, weight_hh, bias_hh, reset, lengths)
    x, h = given[:2]
    (B, T, _), H = x.shape, h.shape[1]
    states, last = h.new_empty(B, T, H), torch.empty_like(h)
    with gpu.on_device_of(x):
        walk[_grid(B, H)](*given, states, last, T, H, **_options(bias_hh, reset, lengths))
    return (states, last), [states]


def backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *tensors: Any
) -> list[MaybeTensor]:
    _, _, _, bias_hh, reset, lengths = tensors
    given, (states,) = _contiguous(*tensors), kept
    x, h = given[:2]
    B, T, H = states.shape
    above, after = grads
    above = torch.zeros_like(states) if above is None else above.contiguous()
    after = torch.zeros_like(h) if after is None else after.contiguous()
    grad_x, grad_h = torch.empty_like(x), torch.empty_like(h)
    grad_weight, grad_bias = (h.new_empty(B, 3 * H, dtype=torch.float32) for _ in range(2))
    with gpu.on_device_of(x):
        walk_backward[_grid(B, H)](
            *given, states, above, after, grad_x, grad_h, grad_weight, grad_bias, T, H,
            **_options(bias_hh, reset, lengths), BLOCK=BLOCK,
        )  # fmt: skip
    found = (grad_x, grad_h, grad_weight.sum(0), grad_bias.sum(0))
    wanted = [None if t is None else g.to(t.dtype) for g, t in zip(found, tensors[:4], strict=True)]
    return [*wanted, None, None]


def _contiguous(x: Tensor, *others: MaybeTensor) -> list[Tensor]:
    """What is absent is not read; x takes its place."""
    x = x.contiguous()
    return [x, *(x if t is None else t.contiguous() for t in others)]


def _grid(B: int, H: int) -> tuple[int]:
    return (B * triton.cdiv(H, TILE),)


def _options(bias: MaybeTensor, reset: MaybeTensor, lengths: MaybeTensor) -> dict[str, Any]:
    return {
        "HAS_BIAS": bias is not None,
        "HAS_RESET": reset is not None,
        "HAS_LENGTHS": lengths is not None,
        "TILE": TILE,
        "num_warps": 1,
    }


@triton.jit
def place(T, H, lengths, HAS_LENGTHS: tl.constexpr, TILE: tl.constexpr):
    """A program's sequence, its length, its units, and which of them exist."""
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(H, TILE)
    b = program // tiles
    unit = program % tiles * TILE + tl.arange(0, TILE)
    stop = tl.load(lengths + b).to(tl.int64) if HAS_LENGTHS else T
    return b, stop, unit, unit < H


@triton.jit
def three(row, H, there):
    """The numbers of r, z and n in a row (3 H,), for some units."""
    r = tl.load(row, mask=there, other=0.0).to(tl.float32)
    z = tl.load(row + H, mask=there, other=0.0).to(tl.float32)
    n = tl.load(row + 2 * H, mask=there, other=0.0).to(tl.float32)
    return r, z, n


@triton.jit
def recurrent(weight, bias, unit, H, there, HAS_BIAS: tl.constexpr):
    """The recurrent weights and biases of r, z, n."""
    ur, uz, un = three(weight + unit, H, there)
    if HAS_BIAS:
        cr, cz, cn = three(bias + unit, H, there)
    else:
        cr, cz, cn = ur * 0, ur * 0, ur * 0
    return ur, uz, un, cr, cz, cn


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def walk(
    projected, initial, weight, bias, reset, lengths,
    states,  # (B, T, H)
    last,  # (B, H)
    T, H,
    HAS_BIAS: tl.constexpr, HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b, stop, unit, there = place(T, H, lengths, HAS_LENGTHS, TILE)
    ur, uz, un, cr, cz, cn = recurrent(weight, bias, unit, H, there, HAS_BIAS)
    h = tl.load(initial + b * H + unit, mask=there, other=0.0).to(tl.float32)
    row = projected + b * T * 3 * H + unit
    out = states + b * T * H + unit
    xr, xz, xn = three(row, H, there)
    t = 0
    while t < T:
        # The next step loads while this one is computed.
        row += 3 * H
        next_r, next_z, next_n = three(row, H, there & (t + 1 < T))
        before = h
        if HAS_RESET:
            before = tl.where(tl.load(reset + b * T + t) != 0, 0.0, h)
        r, z = tl.sigmoid(xr + (ur * before + cr)), tl.sigmoid(xz + (uz * before + cz))
        after = (1 - z) * tanh(xn + r * (un * before + cn)) + z * before
        h = tl.where(t < stop, after, h)
        tl.store(out, tl.where(t < stop, h, 0.0).to(states.dtype.element_ty), mask=there)
        out += H
        xr, xz, xn = next_r, next_z, next_n
        t += 1
    tl.store(last + b * H + unit, h.to(last.dtype.element_ty), mask=there)


@triton.jit
def walk_backward(
    projected, initial, weight, bias, reset, lengths, states, above, grad_last,
    grad_projected,  # (B, T, 3 H)
    grad_initial,  # (B, H)
    grad_weight,  # (B, 3 H) each sequence's part
    grad_bias,  # (B, 3 H)
    T, H,
    HAS_BIAS: tl.constexpr, HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr, TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    b, stop, unit, there = place(T, H, lengths, HAS_LENGTHS, TILE)
    ur, uz, un, cr, cz, cn = recurrent(weight, bias, unit, H, there, HAS_BIAS)
    g = tl.load(grad_last + b * H + unit, mask=there, other=0.0).to(tl.float32)
    start = tl.load(initial + b * H + unit, mask=there, other=0.0).to(tl.float32)
    element = grad_projected.dtype.element_ty
    zero = tl.zeros((TILE,), tl.float32)
    wr, wz, wn, br, bz, bn = zero, zero, zero, zero, zero, zero
    t = T - 1
    while t >= 0:
        pr, pz, pn, qr, qz, qn = zero, zero, zero, zero, zero, zero
        for _i in range(BLOCK):
            real = there & (t >= 0)
            at = b * T + t
            xr, xz, xn = three(projected + at * 3 * H + unit, H, real)
            earlier = tl.load(states + (at - 1) * H + unit, mask=there & (t > 0), other=0.0)
            h = tl.where(t == 0, start, earlier.to(tl.float32))
            got = tl.load(above + at * H + unit, mask=real, other=0.0).to(tl.float32)
            cut = t < 0
            if HAS_RESET:
                cut = tl.load(reset + at, mask=t >= 0, other=0) != 0
                h = tl.where(cut, 0.0, h)
            hn = un * h + cn
            r, z = tl.sigmoid(xr + (ur * h + cr)), tl.sigmoid(xz + (uz * h + cz))
            n = tanh(xn + r * hn)
            counts = (t >= 0) & (t < stop)
            d = tl.where(counts, g + got, 0.0)
            dn = d * (1 - z) * (1 - n * n)
            dz = d * (h - n) * z * (1 - z)
            dhn = dn * r
            dr = dhn * hn * (1 - r)
            out = grad_projected + at * 3 * H + unit
            tl.store(out, dr.to(element), mask=real)
            tl.store(out + H, dz.to(element), mask=real)
            tl.store(out + 2 * H, dn.to(element), mask=real)
            passed = d * z + dr * ur + dz * uz + dhn * un
            g = tl.where(counts, tl.where(cut, 0.0, passed), g)
            pr, pz, pn = pr + dr * h, pz + dz * h, pn + dhn * h
            qr, qz, qn = qr + dr, qz + dz, qn + dhn
            t -= 1
        wr, wz, wn = wr + pr, wz + pz, wn + pn
        br, bz, bn = br + qr, bz + qz, bn + qn
    tl.store(grad_initial + b * H + unit, g.to(grad_initial.dtype.element_ty), mask=there)
    at = b * 3 * H + unit
    tl.store(grad_weight + at, wr, mask=there)
    tl.store(grad_weight + at + H, wz, mask=there)
    tl.store(grad_weight + at + 2 * H, wn, mask=there)
    tl.store(grad_bias + at, br, mask=there)
    tl.store(grad_bias + at + H, bz, mask=there)
    tl.store(grad_bias + at + 2 * H, bn, mask=there)
