"""The memory's recurrence as a loop over its equations: the oracle of every faster path.

One cell at a time, in a dictionary of the touched cells. Slow, and differentiable to any order.
B sequences, T steps, H heads, K writes and J reads a step, width D, P initial cells. If reads are
tagged, the last A numbers of a row are its tag.
"""

from __future__ import annotations

import torch
from torch import Tensor


def memory_scan(
    write_index: Tensor,  # (B, T, H, K)
    write_weight: Tensor,  # (B, T, H, K)
    gate: Tensor,  # (B, T, H)
    candidate: Tensor,  # (B, T, H, D)
    read_index: Tensor,  # (B, T, H, J)
    read_weight: Tensor,  # (B, T, H, J)
    *,
    memory_size: int,
    initial_cells: Tensor | None = None,  # (B, H, P), -1 if unused
    initial_rows: Tensor | None = None,  # (B, H, P, D), or (B, H, N, D) without initial_cells
    fresh_left: Tensor | None = None,  # (H, R, D)
    fresh_right: Tensor | None = None,  # (H, C, D)
    reset: Tensor | None = None,  # (B, T)
    lengths: Tensor | None = None,  # (B,)
    query: Tensor | None = None,  # (B, T, H, A)
    match: Tensor | None = None,  # (H,)
    null: Tensor | None = None,  # (H,)
) -> tuple[Tensor, Tensor]:
    """-> outputs (B, T, H, D) and all N rows of the final memory (B, H, N, D)

    With tags: outputs (B, T, H, D - A + 1), the value and the null share.
    """
    B, T, H, K = write_index.shape
    D = candidate.shape[-1]
    width = D if query is None else D - query.shape[-1] + 1
    zero = candidate.new_zeros(D)

    def fresh(h: int, cell: int) -> Tensor:
        if fresh_left is None or fresh_right is None:
            return zero
        columns = fresh_right.shape[1]
        return fresh_left[h, cell // columns] + fresh_right[h, cell % columns]

    def read(b: int, t: int, h: int, memory: dict[int, Tensor]) -> Tensor:
        y = candidate.new_zeros(width)
        weights, values = [], []
        for j, i in enumerate(int(i) for i in read_index[b, t, h]):
            if i < 0:  # no access
                continue
            row, r = memory[i] if i in memory else fresh(h, i), read_weight[b, t, h, j]
            if query is None or match is None:
                y = y + r * row
            else:
                value, tag = row[: width - 1], row[width - 1 :]
                weights.append(r * (match[h] * cosine(query[b, t, h], tag)).exp())
                values.append(value)
        if null is not None:
            weights.append(null[h].exp())
            values.append(zero[: width - 1])
            total = torch.stack(weights).sum()
            if total > 0:
                w = torch.stack(weights) / total
                y = torch.cat([w @ torch.stack(values), w[-1:]])
        return y

    outputs, final = [], []
    for b in range(B):
        length = T if lengths is None else int(lengths[b])
        for h in range(H):
            memory: dict[int, Tensor] = {}
            if initial_rows is not None:
                cells = range(memory_size) if initial_cells is None else initial_cells[b, h]
                memory = {int(i): initial_rows[b, h, p] for p, i in enumerate(cells) if i >= 0}
            y = [candidate.new_zeros(width)] * T
            for t in range(length):
                if reset is not None and reset[b, t]:
                    memory = {}
                where = [int(i) for i in write_index[b, t, h]]
                a, z, c = write_weight[b, t, h], gate[b, t, h], candidate[b, t, h]
                for k, i in enumerate(where):  # one address after the other
                    if i < 0:  # no access
                        continue
                    g = z * a[k]
                    old = memory[i] if i in memory else fresh(h, i)
                    memory[i] = (1 - g) * old + g * c
                y[t] = read(b, t, h, memory)
            outputs.append(torch.stack(y) if y else candidate.new_zeros(0, width))
            rows = [memory[i] if i in memory else fresh(h, i) for i in range(memory_size)]
            final.append(torch.stack(rows))
    if not outputs:
        return candidate.new_zeros(B, T, H, width), candidate.new_zeros(B, H, memory_size, D)
    return (
        torch.stack(outputs).view(B, H, T, width).transpose(1, 2),
        torch.stack(final).view(B, H, memory_size, D),
    )


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """0 if a or b is the zero vector"""
    if min(a.norm(), b.norm()) <= 1e-12:
        return a.new_zeros(())
    return a @ b / (a.norm() * b.norm())
