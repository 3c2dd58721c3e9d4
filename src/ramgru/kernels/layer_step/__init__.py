"""One time step of a whole layer as one native call: what a stream runs at every step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ramgru.kernels import native

SIZES = "B I C H N D K window U A gru delta squash"
TENSORS = (
    "input hidden context rows weight_ih weight_hh bias_ih bias_hh candidate_weight "
    "candidate_bias gate_weight gate_bias output_weight output_bias read_out_weight query_weight "
    "query_bias sharpness"
)
STEP = native.arguments(
    "LayerStep", SIZES, f"{TENSORS} offsets sizes codes output next_hidden next_context"
)


class Shape(NamedTuple):
    """What does not change from step to step; K, N, U and A as in `ProductKeys`."""

    top_k: int
    window: int
    width: int
    gru: bool
    delta: bool
    tanh: bool
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


def layer_step_(
    shape: Shape,
    weights: Sequence[Tensor | None],  # from weight_ih to sharpness, in the order of TENSORS
    codes: Sequence[Tensor],
    input: Tensor,  # (B, I)
    hidden: Tensor,  # (B, C)
    context: Tensor,  # (B, window - 1, I)
    rows: Tensor,  # (B, H, N, D), overwritten
    output: Tensor,  # (B, C), written
    next_hidden: Tensor,  # (B, C), written
    next_context: Tensor,  # (B, window - 1, I), written
) -> None:
    """All contiguous and of one dtype, float32 or float64."""
    B, H, N, D = rows.shape
    U = len(codes)
    offsets, sizes = (ctypes.c_int64 * H)(*shape.offsets), (ctypes.c_int64 * U)(*shape.sizes)
    books = (ctypes.c_void_p * U)(*[c.data_ptr() for c in codes])
    native.run(
        "layer_step",
        input.dtype,
        STEP,
        B,
        input.shape[1],
        hidden.shape[1],
        H,
        N,
        D,
        shape.top_k,
        shape.window,
        U,
        shape.width,
        shape.gru,
        shape.delta,
        shape.tanh,
        input.data_ptr(),
        hidden.data_ptr(),
        context.data_ptr(),
        rows.data_ptr(),
        *[0 if w is None else w.data_ptr() for w in weights],
        ctypes.addressof(offsets),
        ctypes.addressof(sizes),
        ctypes.addressof(books),
        output.data_ptr(),
        next_hidden.data_ptr(),
        next_context.data_ptr(),
    )
    torch.autograd.graph.increment_version(rows)
