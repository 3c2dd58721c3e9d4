"""The controllers: an exact GRU, a GRU with diagonal recurrent weights, and a minGRU.

B sequences, T steps, I inputs, H hidden units, D = 2 directions or 1. Both give outputs
(B, T, D·H), the forward half first, and the hidden state at each direction's end (D, B, H).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ramgru.kernels import recurrence
from ramgru.kernels.dispatch import CPU, is_eager
from ramgru.kernels.projection import projection
from ramgru.ragged import in_pieces, reverse, reverse_reset

# Rows of the input-to-hidden weights in units of H: r, z, n of the GRUs; z, n of the minGRU.
GATES = {"gru": 3, "mingru": 2, "diagonal": 3}


def gru(
    x: Tensor,  # (B, T, I)
    hidden: Tensor,  # (D, B, H)
    weights: list[list[Tensor]],  # a direction: weight_ih, weight_hh and, with bias, both biases
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`nn.GRU` within rounding: the native kernel if available, torch's own code otherwise."""
    if recurrence.GRU.choose(x, hidden, *weights[0]).path != CPU or x.shape[0] == 0:
        return torch_gru(x, hidden, weights, lengths, reset)
    if x.shape[1] == 1 and lengths is None and reset is None:
        return torch_gru(
            x, hidden, weights
        )  # for one step, packing weights costs more than it gains
    return _all_ways(_gru, x, hidden, weights, lengths, reset)


def _gru(
    x: Tensor, hidden: Tensor, weights: list[Tensor], lengths: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One direction: x (B, T, I), hidden (B, H) -> (B, T, H), (B, H)"""
    weight_ih, weight_hh, *biases = weights
    bias_ih, bias_hh = biases or (None, None)
    projected = projection(x, weight_ih, bias_ih)
    return recurrence.gru(projected, hidden, weight_hh, bias_hh, reset, lengths)


def torch_gru(
    x: Tensor,
    hidden: Tensor,
    weights: list[list[Tensor]],
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """torch's own GRU, to the last bit: both directions in one call, as `nn.GRU` makes it.

    Resets and lengths cut the batch into pieces, which run as one packed sequence. Traced code runs
    the operator of the native kernel instead, since torch's own is unrolled over time.
    """
    if not is_eager():
        return _all_ways(_gru, x, hidden, weights, lengths, reset)
    D, flat = len(weights), [w for one_way in weights for w in one_way]
    bias = len(weights[0]) == 4
    # `train` only tells cuDNN to keep tensors for backward; there is no dropout here.
    if lengths is None and reset is None:
        return torch.gru(x, hidden, flat, bias, 1, 0.0, True, D == 2, True)

    def run(packed: Tensor, sizes: Tensor, starts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, h = torch.gru(packed, sizes, starts[0], flat, bias, 1, 0.0, True, D == 2)
        return y, [h]

    y, (h,) = in_pieces(run, x, [hidden], lengths, reset)
    return y, h


def mingru(
    x: Tensor,  # (B, T, I)
    hidden: Tensor,  # (D, B, H)
    weights: list[list[Tensor]],  # a direction: weight_ih and, with bias, bias_ih
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h[t] = (1 - z[t]) h[t-1] + z[t] n[t], z = sigmoid(W_z x), n = W_n x (arXiv 2410.01201)."""
    return _all_ways(_mingru, x, hidden, weights, lengths, reset)


def _mingru(
    x: Tensor, hidden: Tensor, weights: list[Tensor], lengths: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, ...]:
    """One direction: x (B, T, I), hidden (B, H) -> (B, T, H), (B, H)"""
    projected = projection(x, *weights)
    if x.shape[0] == 0 or x.shape[1] == 0:
        return projected.new_zeros(*x.shape[:2], hidden.shape[1]), hidden
    return recurrence.mingru(projected, hidden, reset, lengths)


def diagonal(
    x: Tensor,  # (B, T, I)
    hidden: Tensor,  # (D, B, H)
    weights: list[list[Tensor]],  # as `gru`, but weight_hh (3 H,)
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`gru` with one recurrent number a unit and gate (ParaRNN, arXiv 2510.21450)."""
    return _all_ways(_diagonal, x, hidden, weights, lengths, reset)


def _diagonal(
    x: Tensor, hidden: Tensor, weights: list[Tensor], lengths: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, ...]:
    """One direction: x (B, T, I), hidden (B, H) -> (B, T, H), (B, H)"""
    weight_ih, weight_hh, *biases = weights
    bias_ih, bias_hh = biases or (None, None)
    projected = projection(x, weight_ih, bias_ih)
    if x.shape[0] == 0 or x.shape[1] == 0:
        return projected.new_zeros(*x.shape[:2], hidden.shape[1]), hidden
    return recurrence.diagonal_gru(projected, hidden, weight_hh, bias_hh, reset, lengths)


def _all_ways(
    one_way: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    hidden: Tensor,
    weights: list[list[Tensor]],
    lengths: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The forward direction and, if there are weights for it, the reverse one beside it."""
    y, h = one_way(x, hidden[0], weights[0], lengths, reset)
    if len(weights) == 1:
        return y, h.unsqueeze(0)
    there, r = reverse(x, lengths), reverse_reset(reset, lengths)
    back, h_back = one_way(there, hidden[1], weights[1], lengths, r)
    return torch.cat([y, reverse(back, lengths)], dim=-1), torch.stack([h, h_back])


CONTROLLERS = {"gru": gru, "mingru": mingru, "diagonal": diagonal}
GRU_KERNELS = {"native": gru, "torch": torch_gru}
