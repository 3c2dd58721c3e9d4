"""What drives a layer from step to step: an exact GRU, or a minGRU that is parallel over time.

B sequences, T steps, I inputs, H hidden units. Both take and give a hidden state of (B, H).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels.linear_scan import linear_scan
from ramgru.ragged import padding_mask, pieces

# Rows of the input-to-hidden weights in units of H: r, z, n of the GRU; z, n of the minGRU.
GATES = {"gru": 3, "mingru": 2}


def gru(
    x: Tensor,  # (B, T, I)
    hidden: Tensor,  # (B, H)
    weights: list[Tensor],  # weight_ih, weight_hh and, with bias, bias_ih, bias_hh
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """torch's own GRU, to the last bit -> outputs (B, T, H), hidden state at each end (B, H).

    Resets and lengths cut the batch into pieces, which run as one packed sequence.
    """
    bias = len(weights) == 4
    # `train` only tells cuDNN to keep what backward needs; there is no dropout in here.
    if lengths is None and reset is None:
        y, h = torch.gru(x, hidden.unsqueeze(0), weights, bias, 1, 0.0, True, False, True)
        return y, h.squeeze(0)
    B, T, _ = x.shape
    cut = pieces(B, T, lengths, reset)
    if len(cut.sequence) == 0:
        return x.new_zeros(B, T, hidden.shape[-1]) + 0 * hidden.unsqueeze(1), hidden
    start = hidden[cut.sequence] * cut.carries.unsqueeze(-1).to(hidden.dtype)
    packed = x.flatten(0, 1)[cut.source]
    y, h = torch.gru(
        packed, cut.batch_sizes, start.unsqueeze(0), weights, bias, 1, 0.0, True, False
    )
    outputs = y.new_zeros(B * T, y.shape[-1]).index_copy(0, cut.source, y).view(B, T, -1)
    ends = h.squeeze(0)[cut.last.clamp_min(0)]
    return outputs, torch.where((cut.last >= 0).unsqueeze(-1), ends, hidden)


def mingru(
    x: Tensor,
    hidden: Tensor,
    weights: list[Tensor],  # weight_ih and, with bias, bias_ih
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h[t] = (1 - z[t]) h[t-1] + z[t] n[t], z = sigmoid(W_z x), n = W_n x (arXiv 2410.01201)."""
    z, n = torch.nn.functional.linear(x, *weights).chunk(2, dim=-1)
    z = torch.sigmoid(z)
    keep, update = 1 - z, z * n
    pad = None if lengths is None else padding_mask(lengths, x.shape[1]).unsqueeze(-1)
    if reset is not None:
        keep = keep.masked_fill(reset.unsqueeze(-1), 0)
    if pad is not None:
        keep, update = keep.masked_fill(pad, 1), update.masked_fill(pad, 0)
    if x.shape[0] == 0 or x.shape[1] == 0:
        return update, hidden
    y = linear_scan(keep, update, hidden)
    h = y[:, -1]
    return (y if pad is None else y.masked_fill(pad, 0)), h.to(hidden.dtype)


CONTROLLERS = {"gru": gru, "mingru": mingru}
