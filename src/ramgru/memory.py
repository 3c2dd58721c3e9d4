"""The random-access memory of one layer: addresses, gated writes, reads and the read-out.

B sequences, T steps, I inputs, H heads, N cells of width D, C = hidden_size; K cells written and J
read a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ramgru import carried, open_gates
from ramgru.config import ContentHead, Head, Key, Lag, Learned, Memory, Tape, factorise
from ramgru.kernels.address import tag_rows
from ramgru.kernels.key_attention import key_attention
from ramgru.kernels.memory_scan import Tag, memory_scan, step_
from ramgru.kernels.projection import Projection, gated_sum
from ramgru.kernels.transforms import apply, is_readable
from ramgru.keys import Address, Addresses, KeyHeads
from ramgru.lag import LagHeads, ReadAllLags
from ramgru.memory_state import MemoryState
from ramgru.tape import TapeHeads

# The module that finds the addresses of each kind of head: a new kind is a file and a line here.
ADDRESSES: dict[type[Head], Callable[..., nn.Module]] = {
    ContentHead: KeyHeads,
    Lag: LagHeads,
    Tape: TapeHeads,
}

# Initial scale of the read-out, in units of the usual 1/sqrt(fan-in): an untrained memory must not
# disturb the controller. Memories learn as soon with ten times as much.
READ_OUT = 0.04

# How sharply a read tells keys apart by their cosine, and the cosine below which it reads nothing;
# both are trained from here.
MATCH, NULL = 8.0, 0.5


class Steps(NamedTuple):
    """All that a layer computes from its input before any cell is touched."""

    write: Address
    read: Address
    gate: Tensor  # (B, T, H)
    candidate: Tensor  # (B, T, H, D), and behind it the tag
    carried: dict[str, Tensor]  # by kind of head, what it carries to the next call
    tag: Tag | None  # how reads compare their cells' tags
    keys: Addresses | None  # the unit keys of content heads


class RandomAccessMemory(nn.Module):
    """Reads and writes N gated cells a head, and adds the read-out to the controller's output.

        M[i] <- (1 - z a[i]) M[i] + z a[i] c     for each of the K addressed cells, then
        y    =  sum_i r[i] M[i];   out = h + sigmoid(o) * W y

    with update gate z = sigmoid(W_z x), candidate c = W_c x, output gate o = W_o x, and write and
    read weights a and r of the heads' addresses.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory: Memory,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        H, D = len(memory.heads), memory.width_for(hidden_size)
        self.memory, self.num_heads, self.width = memory, H, D
        self.heads: Any = nn.ModuleDict()  # by kind of head
        for kind, module in ADDRESSES.items():
            if heads := memory.of_kind(kind):
                self.heads[kind.name] = module(heads, input_size, memory, **made)
        self.content = memory.of_kind(ContentHead)  # the first heads
        self.log_match: nn.Parameter | None
        self.null: nn.Parameter | None
        for name in ("log_match", "null"):
            needed = self.content and (memory.tag or memory.of_kind(Learned))
            value = nn.Parameter(torch.empty(len(self.content), **made)) if needed else None
            self.register_parameter(name, value)
        self.candidate = Projection(input_size, H * D, **made)
        self.update_gate = Projection(input_size, H, **made)
        self.output_gate = Projection(input_size, hidden_size, **made)
        # With tags, each head also reads how far it found nothing.
        read = H * (D + (memory.tag > 0))
        self.read_out = Projection(read, hidden_size, bias=False, **made)
        self.fresh_left: nn.Parameter | None
        self.fresh_right: nn.Parameter | None
        if memory.learned_start:
            rows, columns = factorise(memory.cells, 2)
            self.fresh_left = nn.Parameter(torch.empty(H, rows, D, **made))
            self.fresh_right = nn.Parameter(torch.empty(H, columns, D, **made))
        else:
            self.register_parameter("fresh_left", None)
            self.register_parameter("fresh_right", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for heads in self.heads.values():
            heads.reset_parameters()
        for linear in (self.candidate, self.update_gate, self.output_gate, self.read_out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        nn.init.constant_(self.update_gate.bias, self.memory.gate_bias)
        with torch.no_grad():
            self.read_out.weight.mul_(READ_OUT)
            if self.memory.tag:  # nothing found says nothing at first
                self.read_out.weight.unflatten(1, (self.num_heads, -1))[..., -1].zero_()
        if self.log_match is not None and self.null is not None:
            nn.init.constant_(self.log_match, math.log(MATCH))
            nn.init.constant_(self.null, NULL)
        for factor in (self.fresh_left, self.fresh_right):
            if factor is not None:
                nn.init.normal_(factor, std=0.02)

    @property
    def row_width(self) -> int:
        """Numbers of a cell: its value and its tag."""
        return self.width + self.memory.tag

    def start(self) -> tuple[Tensor | None, Tensor | None]:
        """The factors of what cells hold before they are written, with tags of zeros. They are
        copies: a stream keeps the start that it began with while weights are trained on."""
        tag = (0, self.memory.tag)
        left, right = self.fresh_left, self.fresh_right
        if left is None or right is None:
            return None, None
        return nn.functional.pad(left, tag).clone(), nn.functional.pad(right, tag).clone()

    def initial_state(self, batch_size: int, dense: bool = False) -> MemoryState:
        """A fresh memory: no cell is stored before it is written, unless `dense`."""
        weight = self.candidate.weight
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        H, D = self.num_heads, self.row_width
        state = MemoryState(
            torch.empty(batch_size, H, 0, dtype=torch.int64, device=weight.device),
            torch.empty(batch_size, H, 0, D, dtype=wide, device=weight.device),
            self.memory.cells,
            {kind: heads.start(batch_size) for kind, heads in self.heads.items()},
            *self.start(),
        )
        return state.dense() if dense else state

    def steps(
        self,
        x: Tensor,  # (B, T, I)
        carried: dict[str, Tensor],
        lengths: Tensor | None,
        reset: Tensor | None,
        write_index: Tensor | None,  # (B, T, H, K), -1: no access
        read_index: Tensor | None,
        carry: bool,
    ) -> Steps:
        writes, reads, after = [], [], {}
        found: Addresses | None = None
        given = write_index is not None and read_index is not None
        if "key" in self.heads:
            keys, before = self.heads["key"], carried["key"]
            if not given:
                found = keys(x, before, reset, unit_keys=self.compares)
                writes.append(found.write)
                reads.append(found.read)
            if carry:
                after["key"] = keys.after(x, before, lengths, reset)
        if "lag" in self.heads:
            write, read, after["lag"] = self.heads["lag"](
                x.shape[1], carried["lag"], lengths, reset
            )
            writes.append(write)
            reads.append(read)
        if "tape" in self.heads:  # positions move on even where addresses are given
            tape = self.heads["tape"]
            write, read, after["tape"] = tape(x, carried["tape"], lengths, reset)
            writes.append(write)
            reads.append(read)
        if write_index is not None:
            write = Address(write_index, (write_index >= 0).to(x.dtype))
        else:
            write = Address.join(writes)
        if read_index is not None:
            weight = (read_index >= 0).to(x.dtype)
            read = Address(read_index, weight / weight.sum(-1, keepdim=True).clamp_min(1))
        else:
            read = Address.join(reads)
        gate = torch.sigmoid(self.update_gate(x))
        # Learned heads are not charged: the gradient of attention tells their gates what is read.
        open_gates.record(self, gate[..., : len(self.memory.of_kind(Key))], lengths)
        if "lag" in self.heads:  # the ring holds candidates as they are
            lag = self.part(Lag)
            parts = gate[..., : lag.start], torch.ones_like(gate[..., lag]), gate[..., lag.stop :]
            gate = torch.cat(parts, dim=-1)
        candidate = self.candidate(x).unflatten(-1, (self.num_heads, self.width))
        if self.memory.tag:
            candidate, tag = self.tagged(candidate, found, read_index is not None)
        else:
            tag = None
        return Steps(write, read, gate, candidate, after, tag, found)

    @property
    def fills_places(self) -> bool:
        """Whether all heads have keys and write the same number of cells."""
        return [*self.heads] == ["key"] and len({*self.heads["key"].writes}) == 1

    @property
    def compares(self) -> bool:
        """Whether unit keys are needed: for tags, or for the keys that learn in this call."""
        learns = torch.is_grad_enabled() and bool(self.memory.of_kind(Learned))
        return self.memory.tag > 0 or learns

    def tagged(
        self, candidate: Tensor, found: Addresses | None, read_given: bool
    ) -> tuple[Tensor, Tag]:
        """Candidates (B, T, H, D) with the tags of their keys, (B, T, H, D + A), and how reads
        compare tags. Heads without keys, and cells that the caller names, are read as they are."""
        H, content = self.num_heads, len(self.content)
        keys = () if found is None else found.key
        queries = () if found is None or read_given else found.query
        rows, query = tag_rows(candidate, keys, queries, self.memory.tag)
        match, null = candidate.new_zeros(H), candidate.new_full((H,), -math.inf)
        if queries:
            scale, logit = self.similarity()
            match = nn.functional.pad(scale, (0, H - content))
            null = torch.cat([logit, null[content:]])
        return rows, Tag(query, match, null)

    def similarity(self) -> tuple[Tensor, Tensor]:
        """-> of each content head, the factor of two keys' cosine, and the logit of nothing."""
        assert self.log_match is not None
        assert self.null is not None
        match = self.log_match.exp()
        return match, match * self.null

    def forward(
        self,
        x: Tensor,  # (B, T, I)
        h: Tensor,  # (B, T, C)
        state: MemoryState,
        carry: bool,  # whether the state at the end is put together
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        write_index: Tensor | None = None,
        read_index: Tensor | None = None,
    ) -> tuple[Tensor, MemoryState | None, Steps]:
        """-> h plus the memory's read-out (B, T, C), the state after it, and the steps."""
        s = self.steps(x, state.carried, lengths, reset, write_index, read_index, carry)
        if x.shape[0] == 0:
            empty = s.candidate[..., : self.width + (self.memory.tag > 0)]
            return self.add_to(h, x, empty), state if carry else None, s
        y, after = self.scan(s, state, lengths, reset, carry)
        if write_index is None and read_index is None and torch.is_grad_enabled():
            y = self.learn_lags(self.learn_keys(y, s, lengths, reset), s, state, reset)
        return self.add_to(h, x, y), after, s

    @torch.no_grad()
    def step_(
        self,
        x: Tensor,  # (B, 1, I)
        h: Tensor,  # (B, 1, C)
        state: MemoryState,
        reset: Tensor | None,  # (B, 1)
        write_index: Tensor | None,
        read_index: Tensor | None,
        undo: list[Callable[[], Any]],
    ) -> tuple[Tensor, MemoryState]:
        """As `forward` for one step, but the rows of the state are overwritten in place.

        undo: gets functions that bring the rows back, the last one first
        """
        state = state.dense()
        # Without their graph, whose backward must not meet the rows that are written here.
        wide = torch.promote_types(torch.promote_types(state.rows.dtype, x.dtype), torch.float32)
        state = replace(state, rows=state.rows.detach().to(wide).contiguous())
        rows = state.rows
        s = self.steps(x, state.carried, None, reset, write_index, read_index, carry=True)
        if reset is not None and bool(reset.any()):
            anew, whole = reset[:, 0], rows[reset[:, 0]]
            undo.append(lambda: rows.index_put_((anew,), whole))
            rows[anew] = state.fresh_rows()
        tag = {} if s.tag is None else s.tag._replace(query=s.tag.query[:, 0])._asdict()
        write, read = s.write.padded(), s.read.padded()
        cell = write.index[:, 0].clamp_min(0).unsqueeze(-1).expand(-1, -1, -1, rows.shape[-1])
        before = rows.gather(2, cell)
        undo.append(lambda: rows.scatter_(2, cell, before))
        y = step_(
            rows,
            write.index[:, 0],
            write.weight[:, 0],
            s.gate[:, 0],
            s.candidate[:, 0],
            read.index[:, 0],
            read.weight[:, 0],
            # Product keys never name a cell twice, but unused places count as cell 0.
            distinct=write_index is None and self.fills_places,
            **tag,
        )
        return self.add_to(h, x, y.unsqueeze(1)), replace(state, carried=s.carried)

    def scan(
        self,
        s: Steps,
        state: MemoryState,
        lengths: Tensor | None,
        reset: Tensor | None,
        carry: bool,
    ) -> tuple[Tensor, MemoryState | None]:
        """-> the reads of each head (B, T, H, D), and the memory after them."""
        write, read = s.write, s.read
        if write.counts is not None or read.counts is not None:
            write, read = write.side_by_side(), read.side_by_side()
        inputs = {
            "write_index": write.index,
            "write_weight": write.weight,
            "gate": s.gate,
            "candidate": s.candidate,
            "read_index": read.index,
            "read_weight": read.weight,
            "memory_size": self.memory.cells,
            "fresh_left": state.fresh_left,
            "fresh_right": state.fresh_right,
            "reset": reset,
            "lengths": lengths,
            **({} if s.tag is None else s.tag._asdict()),
            "write_counts": write.counts,
            "read_counts": read.counts,
        }
        if (taken := carried.scan(inputs, state, s.carried, carry)) is not None:
            return taken
        holds = state.rows.shape[2] > 0
        y, cells, rows = memory_scan(
            **inputs,
            initial_cells=state.cells if holds and not state.is_dense else None,
            initial_rows=state.rows if holds else None,
            want_final=carry,
        )
        if not carry:
            return y, None
        after = replace(state, cells=cells, rows=rows, carried=s.carried)
        # The number of cells in use is data-dependent, so it is unavailable while tracing.
        return y, after.trimmed() if is_readable(cells) else after

    def learn_keys(
        self, y: Tensor, s: Steps, lengths: Tensor | None, reset: Tensor | None
    ) -> Tensor:
        """The reads y (B, T, H, D), through which learned keys get a gradient: that of attention
        over the last steps by the same similarity, since the choice of cells has none."""
        if not self.memory.of_kind(Learned):
            return y
        assert s.keys is not None
        heads = self.part(Learned)
        similarity = self.similarity() if s.tag is None else s.tag[1:]
        match, null = (value[heads] for value in similarity)
        credited: Tensor = key_attention(
            y,
            s.keys.query[-1],
            s.keys.key[-1],
            match,
            s.gate[:, :, heads],
            s.candidate[:, :, heads, : self.width],
            null,
            reset,
            lengths,
            head=heads.start,
        )
        return credited

    def learn_lags(self, y: Tensor, s: Steps, state: MemoryState, reset: Tensor | None) -> Tensor:
        """The reads y (B, T, H, D), through which the lags learn."""
        if "lag" not in self.heads:
            return y
        part, lags = self.part(Lag), self.heads["lag"]
        held, fresh = (
            None if rows is None else rows[..., : self.width]  # without tags
            for rows in state.first_rows(part, lags.ring)
        )
        candidate = s.candidate[:, :, part, : self.width]
        heads = range(part.start, part.stop)
        cell = torch.cat([s.write.cells(head) for head in heads], dim=-1)
        given = (y, lags.shares(), candidate, cell, held, fresh, reset, part.start)
        with_rule: Tensor = apply(ReadAllLags, *given)
        return with_rule

    def part(self, kind: type[Head]) -> slice:
        """The numbers of the heads of one kind, which stand side by side."""
        numbers = [n for n, head in enumerate(self.memory.heads) if isinstance(head, kind)]
        return slice(numbers[0], numbers[-1] + 1)

    def add_to(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """h + sigmoid(o) * W y: h (B, T, C), x (B, T, I), y (B, T, H, D) -> (B, T, C)"""
        return gated_sum(h, self.output_gate(x), self.read_out(y.flatten(-2).to(x.dtype)))

    def step_tensors(self) -> list[tuple[dict[str, Any], str] | None]:
        """Where the native step finds its tensors, in its order; None: the layer has none."""

        def of(owner: nn.Module | None, *names: str) -> list[tuple[dict[str, Any], str] | None]:
            return [None if owner is None else (owner._parameters, name) for name in names]

        heads = dict(self.heads.items())
        return [
            *of(self.candidate, "weight", "bias"),
            *of(self.update_gate, "weight", "bias"),
            *of(self.output_gate, "weight", "bias"),
            *of(self.read_out, "weight"),
            *of(self if self.memory.tag and self.content else None, "log_match", "null"),
            *of(heads.get("key"), "sharpness"),
            *of(heads["tape"].moves if "tape" in heads else None, "weight", "bias"),
        ]
