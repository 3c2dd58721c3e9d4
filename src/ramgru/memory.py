"""The random-access memory of one layer: what is written, how much, and how it is read out.

B sequences, T steps, I inputs, H heads, N cells of width D, C = hidden_size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ramgru.kernels.gated_sum import gated_sum
from ramgru.kernels.memory_scan import memory_scan, step_
from ramgru.kernels.projection import Projection
from ramgru.kernels.transforms import is_readable
from ramgru.keys import Address, ProductKeys, factorise
from ramgru.ragged import last_steps
from ramgru.tape import TapeHeads, beside


@dataclass(frozen=True)
class MemoryState:
    """What the cells of one layer hold, of every sequence: plain tensors.

    cells (B, H, P) the numbers of the cells that were ever written, -1 where unused, with
    rows  (B, H, P, D) what they hold; or cells (B, H, 0) and the rows of all cells (B, H, N, D).
    A cell that is not among them holds fresh_left[i // C] + fresh_right[i % C], or zeros.
    position (B, tape heads) float64, where these heads stand, or None without such heads.
    """

    cells: Tensor
    rows: Tensor
    memory_size: int
    fresh_left: Tensor | None = None  # (H, R, D)
    fresh_right: Tensor | None = None  # (H, C, D)
    position: Tensor | None = None

    @property
    def is_dense(self) -> bool:
        return self.rows.shape[2] != self.cells.shape[2]

    @property
    def tape_heads(self) -> int:
        return 0 if self.position is None else self.position.shape[1]

    def fresh_rows(self) -> Tensor:
        """(H, N, D) what cells hold before they are written."""
        if self.fresh_left is None or self.fresh_right is None:
            heads, width = self.rows.shape[1], self.rows.shape[3]
            return self.rows.new_zeros(heads, self.memory_size, width)
        fresh = (self.fresh_left.unsqueeze(2) + self.fresh_right.unsqueeze(1)).flatten(1, 2)
        return fresh[:, : self.memory_size].to(self.rows.dtype)

    def dense(self) -> MemoryState:
        """The same with all N rows."""
        if self.is_dense:
            return self
        B, H, P, D = self.rows.shape
        if self.fresh_left is None:
            rows = self.rows.new_zeros(B * H * self.memory_size, D)
        else:
            rows = self.fresh_rows().repeat(B, 1, 1, 1).flatten(0, 2)
        held = (self.cells >= 0).flatten().nonzero().squeeze(-1)
        table = torch.arange(B * H, device=rows.device).repeat_interleave(P)
        where = (table * self.memory_size + self.cells.flatten())[held]
        rows = rows.index_copy_(0, where, self.rows.flatten(0, 2)[held])
        return replace(
            self,
            cells=self.cells.new_empty(B, H, 0),
            rows=rows.view(B, H, self.memory_size, D),
        )

    def trimmed(self) -> MemoryState:
        """The same without columns that no sequence uses."""
        if self.is_dense or self.cells.shape[-1] == 0:
            return self
        used = int((self.cells >= 0).sum(-1).max()) if self.cells.numel() else 0
        # Contiguous copies: a view would keep the untrimmed tensors alive.
        return replace(
            self,
            cells=self.cells[..., :used].contiguous(),
            rows=self.rows[..., :used, :].contiguous(),
        )

    def row(self, cell: int, batch: int, head: int) -> Tensor:
        """(D,) what one cell holds."""
        if self.is_dense:
            return self.rows[batch, head, cell]
        found = (self.cells[batch, head] == cell).nonzero()
        if len(found):
            return self.rows[batch, head, int(found[0])]
        if self.fresh_left is None or self.fresh_right is None:
            return self.rows.new_zeros(self.rows.shape[-1])
        columns = self.fresh_right.shape[1]
        left, right = self.fresh_left[head, cell // columns], self.fresh_right[head, cell % columns]
        return (left + right).to(self.rows.dtype)

    def map(self, function: Any) -> MemoryState:
        """The same with `function` applied to every tensor of the sequences."""
        position = None if self.position is None else function(self.position)
        return replace(
            self, cells=function(self.cells), rows=function(self.rows), position=position
        )


class Steps(NamedTuple):
    """What a layer computes from its input before any cell is touched."""

    write: Address  # (B, T, H, K)
    read: Address  # (B, T, H, J)
    gate: Tensor  # (B, T, H); of a gate for each cell the write weights hold what it lets pass
    candidate: Tensor  # (B, T, H, D)
    position: Tensor | None  # (B, T, tape heads) where these heads stand at each step


class RandomAccessMemory(nn.Module):
    """Reads and writes N gated cells a head; adds what it read to a layer's output.

    M[i] <- (1 - z a[i]) M[i] + z a[i] c;  y = sum_i r[i] M[i];  out = gate * W_o y   (DESIGN §2)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        num_heads: int,
        head_size: int,
        top_k: int,
        write_rule: str,
        *,
        learn_initial: bool = False,
        candidate_activation: str = "identity",
        gate: str = "scalar",
        gate_range: tuple[float, float] = (0.0, 1.0),
        gate_bias: float = 1.0,
        tape_heads: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **address: Any,
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.memory_size, self.num_heads, self.head_size = memory_size, num_heads, head_size
        self.top_k, self.write_rule = top_k, write_rule
        self.candidate_activation = candidate_activation
        self.gate, self.gate_range, self.gate_bias = gate, gate_range, gate_bias
        keys = num_heads - tape_heads
        self.address = ProductKeys(input_size, keys, memory_size, top_k, **address, **made)
        self.tape = (
            TapeHeads(input_size, tape_heads, memory_size, top_k, **made) if tape_heads else None
        )
        self.candidate = Projection(input_size, num_heads * head_size, **made)
        gates = num_heads * (top_k if gate == "cell" else 1)
        self.update_gate = Projection(input_size, gates, **made)
        self.output_gate = Projection(input_size, hidden_size, **made)
        self.read_out = Projection(num_heads * head_size, hidden_size, bias=False, **made)
        self.fresh_left: nn.Parameter | None
        self.fresh_right: nn.Parameter | None
        if learn_initial:
            rows, columns = factorise(memory_size, 2)
            self.fresh_left = nn.Parameter(torch.empty(num_heads, rows, head_size, **made))
            self.fresh_right = nn.Parameter(torch.empty(num_heads, columns, head_size, **made))
        else:
            self.register_parameter("fresh_left", None)
            self.register_parameter("fresh_right", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.address.reset_parameters()
        if self.tape is not None:
            self.tape.reset_parameters()
        for linear in (self.candidate, self.update_gate, self.output_gate, self.read_out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        nn.init.constant_(self.update_gate.bias, self.gate_bias)
        for factor in (self.fresh_left, self.fresh_right):
            if factor is not None:
                nn.init.normal_(factor, std=0.02)

    def initial_state(self, batch_size: int, dense: bool = False) -> MemoryState:
        """A fresh memory: no cell is stored before it is written, unless all are asked for."""
        weight = self.candidate.weight
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        H, D = self.num_heads, self.head_size
        state = MemoryState(
            torch.empty(batch_size, H, 0, dtype=torch.int64, device=weight.device),
            torch.empty(batch_size, H, 0, D, dtype=wide, device=weight.device),
            self.memory_size,
            self.fresh_left,
            self.fresh_right,
            None if self.tape is None else self.tape.start(batch_size),
        )
        return state.dense() if dense else state

    def steps(
        self,
        x: Tensor,  # (B, T, I)
        context: Tensor,  # (B, window - 1, I)
        position: Tensor | None,  # (B, tape heads)
        lengths: Tensor | None,
        reset: Tensor | None,
        write_index: Tensor | None,  # (B, T, H, K), -1: no access
        read_index: Tensor | None,
    ) -> Steps:
        write = read = positions = None
        if write_index is None or read_index is None:
            write, read = self.address(x, context, reset)
        if self.tape is not None:  # which moves on whoever says where to write and read
            tape, positions = self.tape(x, position, lengths, reset)
            if write is not None and read is not None:
                write, read = beside(write, tape), beside(read, tape)
        if write_index is not None:
            write = Address(write_index, (write_index >= 0).to(x.dtype))
        if read_index is not None:
            weight = (read_index >= 0).to(x.dtype)
            weight = weight / weight.sum(-1, keepdim=True).clamp_min(1)
            read = Address(read_index, weight)
        candidate = self.candidate(x).unflatten(-1, (self.num_heads, self.head_size))
        if self.candidate_activation == "tanh":
            candidate = candidate.tanh()
        assert write is not None
        assert read is not None
        gate = self.openings(self.update_gate(x))
        if self.gate == "cell":
            K = write.index.shape[-1]
            if self.top_k < K:
                raise ValueError(
                    f"write_index: expected at most top_k = {self.top_k} cells a head, each has a "
                    f"gate of its own, got {K}"
                )
            each = gate.unflatten(-1, (self.num_heads, self.top_k))[..., :K]
            write, gate = Address(write.index, write.weight * each), torch.ones_like(each[..., 0])
        return Steps(write, read, gate, candidate, positions)

    def openings(self, logits: Tensor) -> Tensor:
        """What update gates let pass, in [0, 1]; both ends can be reached in a wider gate_range."""
        low, high = self.gate_range
        opening = torch.sigmoid(logits)
        if (low, high) == (0, 1):
            return opening
        return (low + (high - low) * opening).clamp(0, 1)

    def forward(
        self,
        x: Tensor,
        h: Tensor,
        context: Tensor,
        memory: MemoryState | None,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        write_index: Tensor | None = None,
        read_index: Tensor | None = None,
        want_final: bool = True,
    ) -> tuple[Tensor, MemoryState | None, Steps]:
        """x (B, T, I), h (B, T, C) -> h plus what the memory adds to it, the memory after it."""
        position = None if memory is None else memory.position
        s = self.steps(x, context, position, lengths, reset, write_index, read_index)
        if x.shape[0] == 0:
            after = memory if memory is not None else self.initial_state(0)
            return self.add_to(h, x, s.candidate), after, s
        y, after_scan = self.scan(s, memory, lengths, reset, want_final)
        return self.add_to(h, x, y), after_scan, s

    @torch.no_grad()
    def step_(
        self,
        x: Tensor,  # (B, 1, I)
        h: Tensor,  # (B, 1, C)
        context: Tensor,
        memory: MemoryState,
        reset: Tensor | None,  # (B, 1)
        write_index: Tensor | None,
        read_index: Tensor | None,
    ) -> tuple[Tensor, MemoryState]:
        """As `forward` for one step, but the memory given is overwritten: K rows are touched."""
        memory = memory.dense()
        # Cut from the graph that made it, whose backward must not meet what is written here.
        wide = torch.promote_types(torch.promote_types(memory.rows.dtype, x.dtype), torch.float32)
        memory = replace(memory, rows=memory.rows.detach().to(wide).contiguous())
        if reset is not None and bool(reset.any()):
            memory.rows[reset[:, 0]] = memory.fresh_rows()
        s = self.steps(x, context, memory.position, None, reset, write_index, read_index)
        y = step_(
            memory.rows,
            s.write.index[:, 0],
            s.write.weight[:, 0],
            s.gate[:, 0],
            s.candidate[:, 0],
            s.read.index[:, 0],
            s.read.weight[:, 0],
            rule=self.write_rule,
            # Product keys never name a cell twice; the unused places of a tape head may.
            distinct=write_index is None and self.tape is None,
        )
        memory = replace(memory, position=_last(s.position))
        return self.add_to(h, x, y.unsqueeze(1)), memory

    def scan(
        self,
        s: Steps,
        memory: MemoryState | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        want_final: bool,
    ) -> tuple[Tensor, MemoryState | None]:
        """-> what each head reads (B, T, H, D), and the memory after it."""
        given = memory if memory is not None and memory.rows.shape[2] else None
        y, cells, rows = memory_scan(
            s.write.index,
            s.write.weight,
            s.gate,
            s.candidate,
            s.read.index,
            s.read.weight,
            memory_size=self.memory_size,
            rule=self.write_rule,
            initial_cells=None if given is None or given.is_dense else given.cells,
            initial_rows=None if given is None else given.rows,
            fresh_left=self.fresh_left,
            fresh_right=self.fresh_right,
            reset=reset,
            lengths=lengths,
            want_final=want_final,
        )
        if not want_final:
            return y, None
        fresh = (self.fresh_left, self.fresh_right)
        after = MemoryState(cells, rows, self.memory_size, *fresh, _last(s.position))
        # How many cells are in use is data, which is not there to be looked at in these cases.
        return y, after.trimmed() if is_readable(cells) else after

    def add_to(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """h + gate * W_o y: h (B, T, C), x (B, T, I), y (B, T, H, D) -> (B, T, C)"""
        return gated_sum((h, self.output_gate(x), self.read_out(y.flatten(-2).to(x.dtype))))[0]

    def next_context(
        self, x: Tensor, context: Tensor, lengths: Tensor | None, reset: Tensor | None
    ) -> Tensor:
        """(B, window - 1, I) the last inputs, zeros in place of those before a reset."""
        return last_steps(x, context, lengths, reset)


def _last(position: Tensor | None) -> Tensor | None:
    return None if position is None else position[:, -1]
