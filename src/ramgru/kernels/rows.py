"""Deterministic gathers and scatters of table rows: weighted sums of rows, and sums into rows."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_sum(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """table (N, D), index and weight (..., K) -> sum_k weight[k] table[index[k]], (..., D).

    `embedding_bag` gathers and sums in one pass, without a (..., K, D) intermediate.
    """
    K, D = index.shape[-1], table.shape[-1]
    if index.numel() == 0:
        return table.new_zeros(*index.shape[:-1], D)
    out = torch.nn.functional.embedding_bag(
        index.reshape(-1, K), table, per_sample_weights=weight.reshape(-1, K), mode="sum"
    )
    return out.view(*index.shape[:-1], D)


def add_rows_(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """table[index[e]] += rows[e], in the order of e; table (N, D), index (E,), rows (E, D)."""
    if table.device.type == "cpu":
        return table.index_add_(0, index, rows)
    return table.index_put_((index,), rows, accumulate=True)  # index_add_ is not deterministic


def fresh_table(left: Tensor, right: Tensor, number: int) -> Tensor:
    """The start of cells from its factors (G, R, D) and (G, C, D): (G, number, D), in which cell i
    is left[i // C] + right[i % C]."""
    return (left.unsqueeze(2) + right.unsqueeze(1)).flatten(1, 2)[:, :number]


def at_last(start: Tensor, values: Tensor, none: int) -> Tensor:
    """values (B, T) at the last step so far at which start (B, T) is True; `none` before the first.

    In place of a running maximum, which ONNX does not have.
    """
    T = start.shape[1]
    segment = start.long().cumsum(1)
    place = torch.where(start, segment, T + 1)  # one more column for all other steps
    table = values.new_full((start.shape[0], T + 2), none).scatter(1, place, values)
    return table.gather(1, segment)
