"""The recurrences as loops over time: the definition that the other paths are tested against.

B sequences, T steps, H units. `gru` is also the portable path, and
`diagonal_gru` the code of the portable operator.
Sources: arXiv 1406.1078 as `torch.nn.GRU` computes it; minGRU, arXiv 2410.01201, §3.1; GRUs with
diagonal recurrent weights, ParaRNN, arXiv 2510.21450.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor) -> Tensor:
    """h[t] = decay[t] h[t-1] + update[t]; see `recurrence.linear_scan`."""
    h, states = initial, []
    for t in range(decay.shape[1]):
        h = decay[:, t] * h + update[:, t]
        states.append(h)
    return torch.stack(states, dim=1) if states else update


def gru(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
    learns: bool = True,
) -> tuple[Tensor, Tensor]:
    """r, z = sigmoid(x + W h + b);  n = tanh(x + r (W h + b));  h <- (1 - z) n + z h"""
    wide = torch.promote_types(initial.dtype, torch.float32)
    weight, bias = weight_hh.to(wide), None if bias_hh is None else bias_hh.to(wide)
    return _gated(
        lambda h: linear(h, weight, bias).to(wide), projected, initial, reset, lengths, wide
    )


def diagonal_gru(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`gru` with a diagonal matrix for each gate: W h is u * h, of one number a unit."""
    wide = torch.promote_types(initial.dtype, torch.float32)
    weight, bias = weight_hh.to(wide), 0 if bias_hh is None else bias_hh.to(wide)
    return _gated(
        lambda h: weight * h.repeat(1, 3) + bias, projected, initial, reset, lengths, wide
    )


def _gated(
    recurrent: Callable[[Tensor], Tensor],  # h (B, H) -> W h + b (B, 3 H)
    projected: Tensor,
    initial: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    wide: torch.dtype,
) -> tuple[Tensor, Tensor]:
    x = projected.to(wide)

    def step(t: int, h: Tensor) -> Tensor:
        (xr, xz, xn), (hr, hz, hn) = x[:, t].chunk(3, dim=-1), recurrent(h).chunk(3, dim=-1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        return (1 - z) * torch.tanh(xn + r * hn) + z * h

    states, last = _walk(step, x.shape[1], initial.to(wide), reset, lengths)
    return states.to(initial.dtype), last.to(initial.dtype)


def mingru(
    projected: Tensor, initial: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """z, n = sigmoid(x), x;  h <- (1 - z) h + z n"""
    z, n = projected.to(initial.dtype).chunk(2, dim=-1)
    z = torch.sigmoid(z)
    return _walk(
        lambda t, h: (1 - z[:, t]) * h + z[:, t] * n[:, t], z.shape[1], initial, reset, lengths
    )


def _walk(
    step: Callable[[int, Tensor], Tensor],
    T: int,
    h: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """-> step(t, h) for all t, with zeros after a sequence's end; h at each sequence's end"""
    states = []
    for t in range(T):
        before = h if reset is None else h.masked_fill(reset[:, t, None], 0)
        after = step(t, before)
        if lengths is None:
            h = after
            states.append(after)
        else:
            counts = t < lengths.unsqueeze(1)
            h = torch.where(counts, after, h)
            states.append(torch.where(counts, after, 0))
    return torch.stack(states, dim=1), h
