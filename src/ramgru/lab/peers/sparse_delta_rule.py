"""The delta rule on a few cells a step, many steps at a time.

    u[t] = b[t] (v[t] - sum_k a[t,k] M[i[t,k]]);  M[i[t,k]] += a[t,k] u[t];
    y[t] = sum_k r[t,k] M[j[t,k]]

B sequences, H heads, T steps, K cells a step, D channels, C steps of a chunk, N cells of a memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 16  # more, and comparing the cells of all its steps costs more than the loop


class Touch(NamedTuple):
    """Which cells each step touches, all different, and how much. Both (B, H, T, K)."""

    cell: Tensor
    weight: Tensor


def sparse_delta_rule(
    write: Touch,
    read: Touch,
    value: Tensor,  # (B, H, T, D)
    rate: Tensor,  # (B, H, T)
    memory: Tensor,  # (B, H, N, D)
    reset: Tensor | None = None,  # (B, T) True where a step starts from an empty memory
    donate: bool = False,  # whether the memory may be overwritten, if no gradient needs it
) -> tuple[Tensor, Tensor]:
    """-> y (B, H, T, D), and the memory after the last step.

    The loop works on a table of the rows that are touched at all. Within a chunk, what a step
    corrects depends on the table before it and on the corrections of earlier steps, as far as they
    touched the same cells: u[t] + b[t] sum_{s<t} (a[t] · a[s]) u[s] = b[t] (v[t] - a[t] · M), one
    triangular system.
    """
    B, H, N, D = memory.shape
    T = value.shape[2]
    if value.numel() == 0:
        return value, memory
    memory = memory.to(value.dtype)
    head = torch.arange(B * H, device=value.device).view(B, H, 1, 1) * N
    cells = torch.stack([write.cell + head, read.cell + head])
    touched, row = cells.unique(return_inverse=True)
    table = memory.flatten(0, 2)[touched]
    owner = touched // (H * N)  # the sequence of each row

    outputs = []
    for start in range(0, T, CHUNK):
        chunk = slice(start, start + CHUNK)
        (i, j), a, r = row[..., chunk, :], write.weight[:, :, chunk], read.weight[:, :, chunk]
        found, seen = _gather(table, i, a), _gather(table, j, r)
        between, before = _overlap(i, a, i, a).tril(-1), _overlap(j, r, i, a).tril()
        put = a
        if reset is not None:
            segment = reset[:, chunk].long().cumsum(1)
            first, last = segment == 0, segment == segment[:, -1:]
            same = (segment.unsqueeze(2) == segment.unsqueeze(1)).unsqueeze(1)
            found, seen = (z * first[:, None, :, None] for z in (found, seen))
            between, before = between * same, before * same
            table = table * first[:, -1][owner].unsqueeze(1)
            put = a * last[:, None, :, None]
        b = rate[:, :, chunk].unsqueeze(3)
        u = torch.linalg.solve_triangular(
            b * between, b * (value[:, :, chunk] - found), upper=False, unitriangular=True
        )
        outputs.append(seen + before @ u)
        # Added in one order: the same bits in every run, on every device.
        table = table.index_put((i,), put.unsqueeze(4) * u.unsqueeze(3), accumulate=True)

    if reset is not None:
        memory = memory * ~reset.any(1)[:, None, None, None]
    flat = memory.flatten(0, 2)
    kept_for_backward = table.requires_grad or flat.requires_grad
    put_in = flat.index_copy_ if donate and not kept_for_backward else flat.index_copy
    return torch.cat(outputs, dim=2), put_in(0, touched, table).view(B, H, N, D)


def _gather(table: Tensor, row: Tensor, weight: Tensor) -> Tensor:
    """(rows, D), (B, H, C, K), (B, H, C, K) -> (B, H, C, D), the weighted sum over K."""
    return (weight.unsqueeze(3) @ table[row]).squeeze(3)


def _overlap(row: Tensor, weight: Tensor, other: Tensor, its: Tensor) -> Tensor:
    """(B, H, C, C) the product of step t's weights with those of step s at the same rows."""
    same = row[:, :, :, None, :, None] == other[:, :, None, :, None, :]  # (B, H, t, s, K, K)
    there = torch.where(same, its[:, :, None, :, None, :], 0).sum(5)
    return (weight.unsqueeze(3) * there).sum(4)
