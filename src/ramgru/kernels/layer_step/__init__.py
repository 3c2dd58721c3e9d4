"""One time step of a whole layer as one native call: the fast path of streams on a CPU.

The layer's general path defines its results. It has no Triton kernel.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch, native

OPERATION = dispatch.Operation("layer_step", "layer_step")
STEP = native.arguments(
    "LayerStep",
    "B I C H N D K J window A F U steps controller",
    "weight_ih weight_hh bias_ih bias_hh candidate_weight candidate_bias gate_weight gate_bias "
    "output_weight output_bias read_out_weight sharpness key_weight taps features codes "
    "offsets skips spans sizes "
    "input hidden context rows output next_hidden next_context",
)


CONTROLLERS = ("mingru", "gru", "diagonal")  # by their numbers in `layer_step.h`


class Constants:
    """The arguments that stay the same from step to step, in the layout of the kernel.

    I inputs, C hidden units, H heads, N cells of width D, of which a head writes K and reads J.
    window, offsets, skips, spans and sizes describe the keys as in `address.product_keys` and in
    `layer_step.h`; A numbers a key, F features a codebook, steps the number of taps. weights are
    the addresses of contiguous tensors of one dtype, in the order of STEP from weight_ih to
    sharpness, 0 for an absent tensor. keys are the tensors key_weight, taps, features and codes,
    which this object keeps alive.
    """

    def __init__(
        self,
        I: int,  # noqa: E741
        C: int,
        H: int,
        N: int,
        D: int,
        K: int,
        J: int,
        window: int,
        F: int,
        controller: str,
        offsets: Sequence[int],
        skips: Sequence[int],
        spans: Sequence[int],
        sizes: Sequence[int],
        weights: Sequence[int],
        keys: Sequence[Tensor | None],
        dtype: torch.dtype,
    ) -> None:
        U, (key_weight, taps, *_) = len(sizes), keys
        assert key_weight is not None
        # The kernel reads these arrays by their addresses: they must live as long as this object.
        self._arrays: tuple[ctypes.Array[Any], ...] = (
            (ctypes.c_int64 * H)(*offsets),
            (ctypes.c_int64 * H)(*skips),
            (ctypes.c_int64 * H)(*spans),
            (ctypes.c_int64 * U)(*sizes),
        )
        self._keys, self.dtype = keys, dtype
        A, steps = key_weight.shape[0] // H, 0 if taps is None else taps.shape[1]
        self.fields = (
            *(I, C, H, N, D, K, J, window, A, F, U, steps, CONTROLLERS.index(controller)),
            *weights,
            *[0 if t is None else t.data_ptr() for t in keys],
            *[ctypes.addressof(array) for array in self._arrays],
        )


def layer_step_(
    constants: Constants,
    batch: int,
    input: Tensor,  # (B, I)
    hidden: Tensor,  # (B, C)
    context: Tensor,  # (B, window - 1, I)
    rows: Tensor,  # (B, H, N, D), overwritten
    output: Tensor,  # (B, C), written
    next_hidden: Tensor,  # (B, C), written
    next_context: Tensor,  # (B, window - 1, I), written
) -> None:
    """All contiguous and of one dtype, float32 or float64."""
    native.run(
        "layer_step",
        constants.dtype,
        STEP,
        batch,
        *constants.fields,
        input.data_ptr(),
        hidden.data_ptr(),
        context.data_ptr(),
        rows.data_ptr(),
        output.data_ptr(),
        next_hidden.data_ptr(),
        next_context.data_ptr(),
    )
    torch.autograd.graph.increment_version(
        rows
    )  # a graph that needs the old rows must raise an error
