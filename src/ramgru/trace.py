"""Looking inside a layer: the cells that each step touched, and the origin of each read.

B sequences, T steps, H heads, K cells written and J read a step, D width of a cell, of which the
last A numbers are its tag if reads are tagged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels.memory_scan import Tag, memory_scan
from ramgru.kernels.memory_scan.tag import weigh
from ramgru.layer import RAMGRU
from ramgru.memory import RandomAccessMemory, Steps
from ramgru.ragged import padding_mask, reverse_reset
from ramgru.state import Cell, RAMGRUState


@dataclass(frozen=True)
class LayerTrace:
    """The recording of one layer and direction, step by step, from a fresh memory on.

    Padding neither writes nor reads: its gates and read weights are 0.
    """

    write_index: Tensor  # (B, T, H, K)
    write_weight: Tensor  # (B, T, H, K) address weight a
    gate: Tensor  # (B, T, H) update gate z
    candidate: Tensor  # (B, T, H, D)
    read_index: Tensor  # (B, T, H, J)
    read_weight: Tensor  # (B, T, H, J) the exact weights, those by the tags included
    memory_size: int
    reset: Tensor | None  # (B, T)
    fresh_left: Tensor | None  # the factors of a learned start, or None: cells begin as zeros
    fresh_right: Tensor | None
    tag_width: int = 0  # A; 0: reads are not tagged
    null_share: Tensor | None = None  # (B, T, H) the share of a tagged read that found no cell

    def map(self, function: Callable[[Tensor], Tensor]) -> LayerTrace:
        """The same with `function` applied to every tensor."""
        return self._map(function, [option.name for option in fields(self)])

    def of_sequences(self, index: slice | Tensor) -> LayerTrace:
        """The chosen sequences alone, in tensors of their own."""
        names = [option.name for option in fields(self) if not option.name.startswith("fresh")]
        return self._map(lambda x: x[index].clone(), names)

    def _map(self, function: Callable[[Tensor], Tensor], names: list[str]) -> LayerTrace:
        values = {name: getattr(self, name) for name in names}
        tensors: dict[str, Any]
        tensors = {name: function(v) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    @property
    def value(self) -> Tensor:
        """(B, T, H, D - A) the part of each candidate that reads return."""
        return self.candidate[..., : self.candidate.shape[-1] - self.tag_width]

    @property
    def write_gate(self) -> Tensor:
        """(B, T, H, K) how far each step opens each cell that it addresses: z times a."""
        return self.gate.unsqueeze(-1) * self.write_weight

    def provenance(self, head: int = 0) -> Tensor:
        """(B, T, S = T): the exact weight of the write at step s in the read at step t.

        sum_i r_t[i] g_s[i] prod_{s < u <= t} (1 - g_u[i])

        If cells begin as zeros, the read at t is the sum over s of this weight times the `value`
        at s.
        """
        index, gate = self.write_index[:, :, head], self.write_gate[:, :, head]
        read, weight = self.read_index[:, :, head], self.read_weight[:, :, head]
        B, T, K = index.shape
        segment = index.new_zeros(B, T) if self.reset is None else self.reset.long().cumsum(1)
        # Of every write so far, the share of its candidate that its cell still holds.
        share = gate.new_zeros(B, T, K)
        result = gate.new_zeros(B, T, T)
        for t in range(T):
            same = segment[:, t, None] == segment  # (B, S)
            share = share * same.unsqueeze(-1)
            for k in range(K):
                hit = index[:, : t + 1] == index[:, t, k, None, None]
                share[:, : t + 1] *= torch.where(hit, 1 - gate[:, t, k, None, None], 1.0)
                share[:, t, k] = gate[:, t, k]
            found = (index[:, : t + 1, :, None] == read[:, t, None, None, :]).to(weight.dtype)
            found = (found * weight[:, t, None, None, :]).sum(-1)  # (B, S, K)
            result[:, t, : t + 1] = (found * share[:, : t + 1]).sum(-1)
        return result

    def occupancy(self) -> Tensor:
        """(H, N) int64: the number of writes to each cell, over all sequences."""
        H = self.write_index.shape[2]
        counts = torch.zeros(H, self.memory_size, dtype=torch.int64, device=self.gate.device)
        written = (self.write_gate > 0).transpose(0, 2).flatten(1).long()
        index = self.write_index.transpose(0, 2).flatten(1).clamp_min(0)
        return counts.scatter_add_(1, index, written)

    def cell(self, index: int, head: int = 0, batch: int = 0) -> Cell:
        """One cell: its gate and activation at each step, and its state at the end."""
        for name, value, size in (
            ("index", index, self.memory_size),
            ("head", head, self.write_index.shape[2]),
            ("batch", batch, self.write_index.shape[0]),
        ):
            if not 0 <= value < size:
                raise IndexError(f"{name}: expected a number in [0, {size}), got {value}")
        one, mine = slice(batch, batch + 1), slice(head, head + 1)
        T = self.gate.shape[1]
        # Reading this cell alone, in full, at every step, gives its history.
        history, _, _ = memory_scan(
            self.write_index[one, :, mine],
            self.write_weight[one, :, mine],
            self.gate[one, :, mine],
            self.candidate[one, :, mine],
            torch.full((1, T, 1, 1), index, device=self.gate.device),
            self.gate.new_ones(1, T, 1, 1),
            memory_size=self.memory_size,
            fresh_left=None if self.fresh_left is None else self.fresh_left[mine],
            fresh_right=None if self.fresh_right is None else self.fresh_right[mine],
            reset=None if self.reset is None else self.reset[one],
            want_final=False,
        )
        states = history[0, :, 0]  # (T, D)
        written = self.write_index[batch, :, head] == index  # (T, K)
        opened = torch.where(written, self.write_gate[batch, :, head], 0.0)
        read = self.read_index[batch, :, head] == index
        weight = torch.where(read, self.read_weight[batch, :, head], 0.0).sum(-1)
        gate = 1 - (1 - opened).prod(-1)  # one address after the other, where a step has several
        values = states[:, : states.shape[1] - self.tag_width]
        return Cell(states[-1], gate, weight.unsqueeze(-1) * values)


def trace(
    layer: RAMGRU,
    input: Tensor,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    write_index: Tensor | None = None,
    read_index: Tensor | None = None,
) -> tuple[Tensor, RAMGRUState]:
    """Run `layer` over fresh sequences and record it -> output, and a state with the recording.

    input (B, T, I), or (T, B, I) if the layer is not batch_first, and the other arguments alike.
    The state's `trace` has one `LayerTrace` a layer and direction; `state.cell(i)` uses it. The
    trace of a reverse direction runs, as that direction does, from the end to the start.
    """
    if not isinstance(layer, RAMGRU):
        raise TypeError(f"layer: expected a RAMGRU, got {type(layer).__name__}")
    if input.dim() != 3:
        raise ValueError(f"input: expected 3 dimensions, got shape {tuple(input.shape)}")

    def batch_first(x: Tensor | None) -> Tensor | None:
        return x if x is None or layer.batch_first else x.transpose(0, 1)

    lengths = None if lengths is None else torch.as_tensor(lengths, device=input.device)
    x, reset = batch_first(input), batch_first(reset)
    assert x is not None
    record: list[Steps] = []
    with torch.no_grad():
        y, _, state = layer._forward(
            x,
            layer.initial_state(x.shape[0]),
            lengths,
            reset,
            batch_first(write_index),
            batch_first(read_index),
            record,
        )
    assert state is not None
    traces = []
    for n, (memory, steps) in enumerate(zip(layer.memories, record)):
        backward = layer.bidirectional and n % 2 == 1
        there = reverse_reset(reset, lengths) if backward else reset
        traces.append(_layer_trace(memory, steps, lengths, there))
    return (y if layer.batch_first else y.transpose(0, 1)), replace(state, trace=tuple(traces))


def _layer_trace(
    memory: RandomAccessMemory, s: Steps, lengths: Tensor | None, reset: Tensor | None
) -> LayerTrace:
    s = s._replace(write=s.write.padded(), read=s.read.padded())
    gate, weight, share = s.gate, s.read.weight, None
    if s.tag is not None:
        weight, share = _weights_by_tags(memory, s, s.tag, lengths, reset)
    if lengths is not None:
        pad = padding_mask(lengths, gate.shape[1])
        gate = gate.masked_fill(pad.unsqueeze(-1), 0)
        weight = weight.masked_fill(pad[..., None, None], 0)
        share = None if share is None else share.masked_fill(pad.unsqueeze(-1), 0)
        reset = None if reset is None else reset & ~pad
    left, right = (None if f is None else f.detach() for f in memory.start())
    return LayerTrace(
        s.write.index,
        s.write.weight,
        gate,
        s.candidate,
        s.read.index,
        weight,
        memory.memory.cells,
        reset,
        left,
        right,
        0 if s.tag is None else s.tag.query.shape[-1],
        share,
    )


def _weights_by_tags(
    memory: RandomAccessMemory, s: Steps, tag: Tag, lengths: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """-> the weights of each read (B, T, H, J) and its null share (B, T, H)"""
    mine = slice(s.candidate.shape[-1] - tag.query.shape[-1], None)
    left, right = (None if f is None else f[..., mine] for f in memory.start())
    tags = [
        memory_scan(  # the tag of each cell alone
            s.write.index,
            s.write.weight,
            s.gate,
            s.candidate[..., mine],
            index,
            torch.ones_like(index, dtype=s.gate.dtype),
            memory_size=memory.memory.cells,
            fresh_left=left,
            fresh_right=right,
            reset=reset,
            lengths=lengths,
            want_final=False,
        )[0]
        for index in s.read.index.split(1, dim=-1)
    ]
    seen = weigh(torch.stack(tags, dim=-2), s.read.weight, tag, s.read.index >= 0)
    return seen.weight, seen.share


# As `RAMGRUState`, which carries it.
torch.serialization.add_safe_globals([LayerTrace])
