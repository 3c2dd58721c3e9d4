"""Batches of sequences of unequal length, and of sequences that begin anew in the middle.

B sequences, T steps. `lengths` (B,) counts the steps of each sequence; the rest is padding.
`reset` (B, T) is True where a sequence begins anew before the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def padding_mask(lengths: Tensor, steps: int) -> Tensor:
    """(B, T) True at padding: steps after the end of a sequence."""
    return torch.arange(steps, device=lengths.device) >= lengths.unsqueeze(1)


def last_output(
    y: Tensor,  # (B, T, C)
    lengths: Tensor | None,  # (B,)
    empty: Tensor,  # (B, C) the result for sequences without a step
) -> Tensor:
    """(B, C) the output at the last step of each sequence."""
    if lengths is None:
        return y[:, -1]
    last = (lengths - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, y.shape[2])
    return torch.where((lengths > 0).unsqueeze(1), y.gather(1, last).squeeze(1), empty)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B, T, ...) with every sequence back to front; padding stays at the end."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    source = torch.where(
        steps < lengths.unsqueeze(1), lengths.unsqueeze(1) - 1 - steps, steps
    )  # (B, T)
    return x.gather(1, source.view(*source.shape, *[1] * (x.dim() - 2)).expand_as(x))


def reverse_reset(reset: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """Resets for the reverse direction: a border lies between the same two steps."""
    if reset is None:
        return None
    none = reset.new_zeros(reset.shape[0], 1)
    after = torch.cat([reset, none], dim=1)[:, 1:]  # True where the *next* step begins anew
    if lengths is not None:
        last = torch.arange(reset.shape[1], device=reset.device) >= lengths.unsqueeze(1) - 1
        after = after & ~last
    return reverse(after, lengths)


def last_steps(
    x: Tensor,  # (B, T, C)
    before: Tensor,  # (B, W, C) the W steps before the first
    lengths: Tensor | None,
    reset: Tensor | None,
) -> Tensor:
    """(B, W, C) the last W steps of each sequence, zeros in place of those before a reset."""
    W, T = before.shape[1], x.shape[1]
    if W == 0:
        return before
    every = torch.cat([before, x], dim=1)
    if reset is not None:
        valid = reset if lengths is None else reset & ~padding_mask(lengths, T)
        segment = torch.nn.functional.pad(valid.long().cumsum(1), (W, 0))
        every = every.masked_fill((segment != segment[:, -1:]).unsqueeze(-1), 0)
    if lengths is None:
        return every[:, T:].contiguous()
    place = lengths.unsqueeze(1) + torch.arange(W, device=x.device)
    return every.gather(1, place.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """-> (B, T, C), longest sequence first as packing sorted them, and lengths (B,)"""
    data, sizes, sorted_indices, _ = packed
    if not torch.compiler.is_compiling():
        return pad_packed_sequence(PackedSequence(data, sizes), batch_first=True)
    # torch's own code reads the lengths, which a graph of every length cannot.
    B = int(sizes[0]) if sorted_indices is None else sorted_indices.shape[0]
    sizes = sizes.to(data.device)
    sequence = torch.arange(B, device=data.device).unsqueeze(1)
    held = sequence < sizes  # (B, T)
    source = (sequence + sizes.cumsum(0) - sizes).masked_fill(~held, 0)
    return data[source].masked_fill(~held.unsqueeze(-1), 0), held.sum(1)


def pack(y: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """The inverse of `unpack`: y (B, T, C) in the form of the packed input."""
    data, sizes, *order = like
    if torch.compiler.is_compiling():
        end, place = sizes.to(y.device).cumsum(0), torch.arange(data.shape[0], device=y.device)
        step = torch.searchsorted(end, place, right=True)
        packed = y[place - (end - sizes.to(y.device))[step], step]
    else:
        packed = pack_padded_sequence(y, lengths, batch_first=True).data
    return PackedSequence(packed, sizes, *order)


def side_by_side(outputs: list[Tensor], like: Tensor) -> Tensor:
    """(B, T, C) of each direction -> (B, T, D·C), with the strides of `like`: the rounding of the
    next layer's products may depend on them."""
    if len(outputs) == 1:
        return outputs[0]
    if like.is_contiguous():
        return torch.cat(outputs, dim=-1)
    return torch.cat([y.transpose(0, 1) for y in outputs], dim=-1).transpose(0, 1)


class Pieces(NamedTuple):
    """The stretches between resets, packed like a `torch.nn.utils.rnn.PackedSequence`."""

    source: Tensor  # (steps,) where each packed step lies in the flattened (B·T) steps
    batch_sizes: Tensor  # int64 on the CPU, as torch's packed kernels want it
    sequence: Tensor  # (pieces,) the sequence that each piece belongs to, longest piece first
    opens: Tensor  # (pieces,) whether the initial state enters it
    closes: Tensor  # (pieces,) whether it is its sequence's last: where a reverse direction starts
    first: Tensor  # (B,) each sequence's first piece, -1 for an empty sequence
    last: Tensor  # (B,) each sequence's last piece, -1 for an empty sequence


def pieces(batch: int, steps: int, lengths: Tensor | None, reset: Tensor | None) -> Pieces:
    """Cut a batch at its resets and ends, so that a single packed call runs all pieces."""
    some = lengths if lengths is not None else reset
    assert some is not None
    device = some.device
    step = torch.arange(steps, device=device).expand(batch, steps)
    valid = torch.ones_like(step, dtype=torch.bool) if lengths is None else step < lengths[:, None]
    anew = torch.zeros_like(valid) if reset is None else reset
    start = valid & (anew | (step == 0))
    number = start.flatten().cumsum(0) - 1  # the piece of each valid step
    first = start.flatten().nonzero().squeeze(-1)  # (pieces,) flattened place of its first step
    where = valid.flatten().nonzero().squeeze(-1)
    piece = number[where]
    size = torch.bincount(piece, minlength=len(first))
    longest_first = size.argsort(descending=True, stable=True)
    rank = torch.empty_like(longest_first)
    rank[longest_first] = torch.arange(len(first), device=device)
    inside = where - first[piece]
    packed = (inside * max(len(first), 1) + rank[piece]).argsort()
    sequence = torch.div(first, steps, rounding_mode="floor") if steps else first
    at_start = first % max(steps, 1) == 0
    opens = at_start & ~anew.flatten()[first]
    closes = torch.ones_like(opens)
    closes[:-1] = sequence[1:] != sequence[:-1]
    none = torch.full((batch,), -1, device=device)
    return Pieces(
        where[packed],
        torch.bincount(inside, minlength=1)[: int(size.max()) if len(first) else 0].cpu(),
        sequence[longest_first],
        opens[longest_first],
        closes[longest_first],
        none.index_copy(0, sequence[at_start], rank[at_start]),
        none.index_copy(0, sequence[closes], rank[closes]),
    )


def in_pieces(
    # (packed steps, their batch sizes, states) -> packed outputs, states: one of torch's kernels
    run: Callable[[Tensor, Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]],
    x: Tensor,  # (B, T, I)
    states: list[Tensor],  # each (D, B, H): D = 2 directions or 1
    lengths: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """A packed recurrent kernel over the stretches between resets: (B, T, D·H), states at the end.

    Resets and lengths, one of them at least, cut the batch into pieces, which run as one packed
    sequence.
    """
    B, T, _ = x.shape
    D, width = len(states[0]), len(states[0]) * states[0].shape[-1]
    cut = pieces(B, T, lengths, reset)
    if len(cut.sequence) == 0:
        return x.new_zeros(B, T, width) + 0 * states[0][0].sum(), states
    if reset is None and torch.equal(cut.sequence, torch.arange(B, device=x.device)):
        starts = states  # not copied: products may round by where in memory their rows lie
    else:
        carries = torch.stack([cut.opens, cut.closes])[:D].unsqueeze(-1)  # (D, pieces, 1)
        starts = [torch.where(carries, state[:, cut.sequence], 0) for state in states]
    y, ends = run(x.flatten(0, 1)[cut.source], cut.batch_sizes, starts)
    outputs = y.new_zeros(B * T, y.shape[-1]).index_copy(0, cut.source, y).view(B, T, -1)
    last, some = (cut.last, cut.first)[:D], (cut.last >= 0).unsqueeze(-1)

    def at_end(end: Tensor, state: Tensor) -> Tensor:
        found = torch.stack([end[d][piece.clamp_min(0)] for d, piece in enumerate(last)])
        return torch.where(some, found, state)

    return outputs, [at_end(end, state) for end, state in zip(ends, states)]
