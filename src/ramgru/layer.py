"""`RAMGRU`: a drop-in for `torch.nn.GRU` with a random-access memory in every layer.

B sequences, T steps, I = input_size, C = hidden_size, L = num_layers, D = 2 if bidirectional.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from ramgru import stream as streaming
from ramgru.arguments import (
    check_checkpoint_every,
    check_index,
    check_lengths,
    check_memory_options,
    check_reset,
    check_state,
)
from ramgru.contract import RecurrentContract
from ramgru.gru import CONTROLLERS, GRU_KERNELS
from ramgru.memory import RandomAccessMemory, Steps
from ramgru.ragged import padding_mask, reverse, reverse_reset
from ramgru.state import RAMGRUState


class RAMGRU(RecurrentContract):
    """A GRU whose every time step can read and write any of `memory_size` gated cells.

    Arguments up to `dtype` are those of `torch.nn.GRU`, in its order. The others:

        controller       "gru": exactly nn.GRU, same parameter names, same numbers; "mingru": gates
                         from the input alone, parallel over time
        gru_kernel       what runs controller="gru" on the CPU: "native" agrees with nn.GRU within
                         rounding (1e-6) and is faster; "torch" is nn.GRU's own code, bit for bit
        memory_size      N, cells a head; rounded up (with a warning) where it has no two factors
                         of about equal size. Time and memory do not grow with it.
        num_heads        memories side by side, each with its own addresses
        head_size        width of a cell; hidden_size / num_heads, rounded up, where not given
        top_k            K, cells that one step writes and reads in each head
        write_rule       "gru": M[i] <- (1 - g) M[i] + g c, cell by cell; "delta": the K cells share
                         one error-correcting write
        parts            U, codebooks of an address: a head scores U · N^(1/U) codes; where not
                         given, as few as keep every codebook at 64 codes or less
        address_size     width of a code
        offsets          head h writes what is here at the key of offsets[h] steps before; offsets,
                         skips and spans are repeated over the heads
        skips, spans     the key of head h at a step is the input skips[h] steps before and those
                         before that, spans[h] in all: spans=(1, 2, 3) makes heads whose keys are
                         single inputs, pairs and triples
        window           steps that addresses may look at; as many as they need where not given
        learn_address    train the hash from keys to cells, which is random otherwise
        learn_context    train what of its window a key is made of, starting there
        learn_initial    learn what fresh cells hold, with about 2 √N rows a head
        candidate_activation  "identity" or "tanh"
        gate             "scalar": an update gate a head; "cell": one for each of the K cells
        gate_range       (low, high): gates are low + (high - low) sigmoid(…), cut to [0, 1]; from
                         (-0.1, 1.1) they can reach 0 and 1, and a cell at 0 is not touched
        tape_heads       as many of num_heads do not look for a key but stand somewhere and move
                         (`ramgru.tape`): they copy and turn round what was read in order
        gate_bias        start of the update gate's bias: sigmoid(1) = 0.73 of a cell is written
        checkpoint_every  keep for backward only the state at every so many steps and compute the
                         steps between again: a third more time, and memory for so many steps only

    forward(input, hx=None) -> output, h_n as `nn.GRU`: input (T, B, I), (B, T, I) with batch_first,
    or (T, I); output (…, D·C); hx and h_n (D·L, B, C). A `PackedSequence` gives a
    `PackedSequence`. If hx is a `RAMGRUState`, so is what comes back: the stream goes on from it.
    A tensor carries the hidden state alone; the memory then begins fresh in every call.

        lengths      (B,) int: steps that count in each sequence; output behind them is 0
        reset        bool, shaped as the input without its last dimension: the sequence begins anew
                     before this step, with hidden state, window and memory fresh
        write_index, read_index   int64, shaped as the input without its last dimension, and then
                     nothing, (H,) or (H, K): the cells to write and read in place of the computed
                     ones, true random access; -1 is no access

    >>> layer = RAMGRU(8, 16, memory_size=1024, batch_first=True)
    >>> output, h_n = layer(torch.randn(2, 5, 8))
    >>> output.shape, h_n.shape
    (torch.Size([2, 5, 16]), torch.Size([1, 2, 16]))

    Source: DESIGN §2; torch.nn.GRU for the controller; minGRU is arXiv 2410.01201.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        controller: str = "gru",
        gru_kernel: str = "native",
        memory_size: int = 4096,
        num_heads: int = 4,
        head_size: int | None = None,
        top_k: int = 4,
        write_rule: str = "gru",
        parts: int | None = None,
        address_size: int = 16,
        offsets: tuple[int, ...] = (1,),
        skips: tuple[int, ...] = (0,),
        spans: tuple[int, ...] = (1,),
        window: int | None = None,
        learn_address: bool = False,
        learn_context: bool = False,
        learn_initial: bool = False,
        candidate_activation: str = "identity",
        gate: str = "scalar",
        gate_range: tuple[float, float] = (0.0, 1.0),
        gate_bias: float = 1.0,
        tape_heads: int = 0,
        checkpoint_every: int | None = None,
        **unknown: Any,
    ) -> None:
        if "proj_size" in unknown:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if unknown:
            raise TypeError(f"RAMGRU has no argument {next(iter(unknown))!r}")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            controller,
            device,
            dtype,
        )
        self.memory_size, self.parts, self.window = check_memory_options(
            memory_size=memory_size,
            num_heads=num_heads,
            head_size=head_size,
            top_k=top_k,
            write_rule=write_rule,
            parts=parts,
            address_size=address_size,
            offsets=offsets,
            skips=skips,
            spans=spans,
            window=window,
            candidate_activation=candidate_activation,
            learn_address=learn_address,
            learn_context=learn_context,
            learn_initial=learn_initial,
            gate=gate,
            gate_range=gate_range,
            gate_bias=gate_bias,
            tape_heads=tape_heads,
        )
        check_checkpoint_every(checkpoint_every, bidirectional)
        self.checkpoint_every = checkpoint_every
        if gru_kernel not in GRU_KERNELS:
            raise ValueError(
                f"gru_kernel: expected one of {tuple(GRU_KERNELS)}, got {gru_kernel!r}"
            )
        self.gru_kernel = gru_kernel
        self._control = GRU_KERNELS[gru_kernel] if controller == "gru" else CONTROLLERS[controller]
        self.num_heads, self.top_k, self.tape_heads = num_heads, top_k, tape_heads
        self.head_size = head_size or math.ceil(hidden_size / num_heads)
        self.write_rule = write_rule
        for layer, suffix in self.directions():
            memory = RandomAccessMemory(
                self.layer_input_size(layer),
                hidden_size,
                self.memory_size,
                num_heads,
                self.head_size,
                top_k,
                write_rule,
                learn_initial=learn_initial,
                candidate_activation=candidate_activation,
                gate=gate,
                gate_range=gate_range,
                gate_bias=gate_bias,
                tape_heads=tape_heads,
                parts=self.parts,
                width=address_size,
                window=self.window,
                offsets=offsets,
                skips=skips,
                spans=spans,
                learn_address=learn_address,
                learn_context=learn_context,
                device=device,
                dtype=dtype,
            )
            self.add_module(f"memory_{suffix}", memory)
        self.reset_parameters()

    @classmethod
    def from_gru(cls, gru: nn.GRU, **memory_options: Any) -> RAMGRU:
        """A trained `nn.GRU` with a memory that says nothing yet: the same outputs, bit for bit.

        Train it on, and the memory's read-out grows from zero. With gru_kernel="native" it is
        faster, and the same within rounding.
        """
        if not isinstance(gru, nn.GRU):
            raise TypeError(f"gru: expected a torch.nn.GRU, got {type(gru).__name__}")
        weight: Tensor = gru.all_weights[0][0]
        layer = cls(
            gru.input_size,
            gru.hidden_size,
            gru.num_layers,
            gru.bias,
            gru.batch_first,
            gru.dropout,
            gru.bidirectional,
            weight.device,
            weight.dtype,
            controller="gru",
            **{"gru_kernel": "torch", **memory_options},
        )
        layer.load_state_dict(gru.state_dict(), strict=False)
        layer.zero_read_out_()
        return layer.train(gru.training)

    def zero_read_out_(self) -> RAMGRU:
        """Let the memory add exactly zero to the output, until training changes that."""
        for memory in self.memories:
            nn.init.zeros_(memory.read_out.weight)
        return self

    @property
    def memories(self) -> list[RandomAccessMemory]:
        """One for each layer and direction, in the order of h_n."""
        return [getattr(self, f"memory_{suffix}") for _, suffix in self.directions()]

    def reset_parameters(self) -> None:
        self.reset_controller()
        for memory in self.memories:
            memory.reset_parameters()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        options = ("controller", "memory_size", "num_heads", "head_size", "top_k", "write_rule")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in options)
        return f"{super().extra_repr()}, {shown}"

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step, with the rows of all cells."""
        L = self.num_layers * self.num_directions
        context = sum(
            (self.window - 1) * self.layer_input_size(layer) for layer, _ in self.directions()
        )
        cells = L * self.num_heads * self.memory_size * self.head_size
        return L * (self.hidden_size + self.tape_heads) + context + cells

    def initial_state(self, batch_size: int, *, dense: bool = False) -> RAMGRUState:
        """The start of `batch_size` streams; with `dense`, the rows of all cells are laid out."""
        weight = self.memories[0].candidate.weight
        L = self.num_layers * self.num_directions
        made: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
        return RAMGRUState(
            torch.zeros(L, batch_size, self.hidden_size, **made),
            tuple(
                torch.zeros(batch_size, self.window - 1, self.layer_input_size(layer), **made)
                for layer, _ in self.directions()
            ),
            tuple(memory.initial_state(batch_size, dense) for memory in self.memories),
        )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | RAMGRUState | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        write_index: Tensor | None = None,
        read_index: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """See the class. -> output, and h_n or a `RAMGRUState`: the kind of state that came in."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, reset, write_index, read_index)
        hidden = hx.hidden if isinstance(hx, RAMGRUState) else hx
        batched = input.dim() == 3
        if not batched and isinstance(hx, RAMGRUState):
            hidden = None  # a stream has a batch dimension of its own
        self.check_input(input, hidden, packed=False)

        def batch_first(x: Tensor | None) -> Tensor | None:
            if not isinstance(x, Tensor) or (batched and self.batch_first):
                return x  # what is no tensor is refused by name below
            return x.transpose(0, 1) if batched else x.unsqueeze(0)

        x = batch_first(input)
        assert x is not None
        if not batched and isinstance(hx, Tensor):
            hx = hx.unsqueeze(1)
        every = self.checkpoint_every
        whole = every is None or x.shape[1] <= every or not torch.is_grad_enabled()
        y, after = (self._run if whole else self._run_in_pieces)(
            x,
            hx,
            lengths,
            batch_first(reset),
            batch_first(write_index),
            batch_first(read_index),
        )
        if not batched:
            y = y.squeeze(0)
        elif not self.batch_first:
            y = y.transpose(0, 1)
        if isinstance(after, Tensor) and not batched:
            after = after.squeeze(1)
        return y, after

    def _forward_packed(
        self,
        input: PackedSequence,
        hx: Tensor | RAMGRUState | None,
        lengths: Tensor | None,
        *unpackable: Tensor | None,
    ) -> tuple[PackedSequence, Tensor | RAMGRUState]:
        for name, value in zip(("reset", "write_index", "read_index"), unpackable, strict=True):
            if value is not None:
                raise ValueError(f"{name}: give padded input and lengths with it, not packed input")
        if lengths is not None:
            raise ValueError("lengths: a PackedSequence has its own, got both")
        self.check_input(input.data, None, packed=True)
        bare = PackedSequence(input.data, input.batch_sizes)  # in the order that packing sorted
        x, lengths = pad_packed_sequence(bare, batch_first=True)
        if hx is not None and input.sorted_indices is not None:
            self.check_hidden(hx.hidden if isinstance(hx, RAMGRUState) else hx, x.shape[0])
            if isinstance(hx, RAMGRUState):
                hx = hx[input.sorted_indices]
            else:
                hx = hx.index_select(1, input.sorted_indices)
        y, after = self._run(x, hx, lengths.to(x.device), None, None, None)
        packed = pack_padded_sequence(y, lengths, batch_first=True)
        if input.unsorted_indices is not None:
            if isinstance(after, RAMGRUState):
                after = after[input.unsorted_indices]
            else:
                after = after.index_select(1, input.unsorted_indices)
        output = PackedSequence(
            packed.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices
        )
        return output, after

    def _run_in_pieces(
        self,
        x: Tensor,
        hx: Tensor | RAMGRUState | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        write_index: Tensor | None,
        read_index: Tensor | None,
    ) -> tuple[Tensor, Tensor | RAMGRUState]:
        """As `_run`, but backward finds only the state at every `checkpoint_every` steps."""
        B, T, _ = x.shape
        every = self.checkpoint_every
        assert every is not None
        lengths = check_lengths(lengths, B, T, x.device)
        state = hx if isinstance(hx, RAMGRUState) else self.initial_state(B)
        if isinstance(hx, Tensor):
            state = replace(state, hidden=hx)

        def pieces(value: Tensor | None) -> Sequence[Tensor | None]:
            return [None] * -(-T // every) if value is None else value.split(every, dim=1)

        outputs = []
        for n, (part, *given) in enumerate(zip(*map(pieces, (x, reset, write_index, read_index)))):
            left = None if lengths is None else (lengths - n * every).clamp(0, part.shape[1])
            y, state = checkpoint(self._run, part, state, left, *given, use_reentrant=False)
            outputs.append(y)
        after = state if isinstance(hx, RAMGRUState) else state.hidden
        return torch.cat(outputs, dim=1), after

    def step(
        self,
        input: Tensor,
        state: RAMGRUState | None = None,
        *,
        donate: bool = False,
        reset: Tensor | None = None,
        write_index: Tensor | None = None,
        read_index: Tensor | None = None,
    ) -> tuple[Tensor, RAMGRUState]:
        """One time step of a stream: input (B, I) -> output (B, C), the next state.

        The same numbers as `forward` over the whole sequence. With `donate` the state given is
        used up: its cells are overwritten in place, K rows a step, also those that a slice of a
        state shares with the whole; and no gradient is recorded.
        reset (B,) bool; write_index and read_index (B,), (B, H) or (B, H, K).
        """
        if self.bidirectional:
            raise ValueError("step: a bidirectional layer needs the end of the sequence first")
        if input.dim() != 2:
            raise ValueError(
                f"input: expected shape (B, {self.input_size}), got {tuple(input.shape)}"
            )
        state = self.initial_state(input.shape[0]) if state is None else state
        if not isinstance(state, RAMGRUState):
            raise TypeError(f"state: expected a RAMGRUState or None, got {type(state).__name__}")
        self.check_input(input, None, packed=True)

        def one(x: Tensor | None) -> Tensor | None:
            return x.unsqueeze(1) if isinstance(x, Tensor) else x

        if donate and reset is None and write_index is None and read_index is None:
            taken = streaming.step_(self, input, state)
            if taken is not None:
                return taken
        with torch.set_grad_enabled(torch.is_grad_enabled() and not donate):
            y, after = self._run(
                input.unsqueeze(1),
                state,
                None,
                one(reset),
                one(write_index),
                one(read_index),
                donate=donate,
            )
        assert isinstance(after, RAMGRUState)
        return y.squeeze(1), after

    def _run(
        self,
        x: Tensor,  # (B, T, I)
        hx: Tensor | RAMGRUState | None,
        lengths: Tensor | None,
        reset: Tensor | None,  # (B, T)
        write_index: Tensor | None,  # (B, T), (B, T, H) or (B, T, H, K)
        read_index: Tensor | None,
        *,
        donate: bool = False,
        record: list[Steps] | None = None,
    ) -> tuple[Tensor, Tensor | RAMGRUState]:
        B, T, _ = x.shape
        if T == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        lengths = check_lengths(lengths, B, T, x.device)
        check_reset(reset, B, T)
        write_index, read_index = (
            check_index(name, index, B, T, self.num_heads, self.memory_size)
            for name, index in (("write_index", write_index), ("read_index", read_index))
        )
        carries = isinstance(hx, RAMGRUState)
        if isinstance(hx, RAMGRUState):
            state, memories = hx, hx.memory
        else:
            # A stream that nobody carries on needs no memory at its start, nor at its end.
            state, memories = self.initial_state(B), None
            if hx is not None:
                state = RAMGRUState(hx, state.context, state.memory)
        self.check_hidden(state.hidden, B)
        if carries:
            cells = (self.memory_size, self.num_heads, self.head_size, self.tape_heads)
            sizes = (*cells, self.window - 1)
            check_state(state, [(*sizes, self.layer_input_size(n)) for n, _ in self.directions()])
        hidden: list[Tensor] = []
        context: list[Tensor] = []
        memory: list[Any] = []
        D, all_weights = self.num_directions, self.all_weights
        pad = None if lengths is None else padding_mask(lengths, T).unsqueeze(-1)  # (B, T, 1)
        if pad is not None:  # what lies there must not reach a gradient either, as 0 * NaN would
            x = x.masked_fill(pad, 0)
        for layer in range(self.num_layers):
            ways = slice(D * layer, D * (layer + 1))
            y, last = self._control(x, state.hidden[ways], all_weights[ways], lengths, reset)
            hidden.append(last)
            outputs = []
            for backward, h in enumerate(y.chunk(D, dim=-1)):
                n = D * layer + backward
                there, r, w, q = x, reset, write_index, read_index
                if backward:
                    there, h = reverse(x, lengths), reverse(h, lengths)
                    r = reverse_reset(reset, lengths)
                    w, q = (None if v is None else reverse(v, lengths) for v in (w, q))
                unit = self.memories[n]
                before = None if memories is None else memories[n]
                if donate and before is not None:
                    out, after = unit.step_(there, h, state.context[n], before, r, w, q)
                else:
                    out, after, steps = unit(
                        there, h, state.context[n], before, lengths, r, w, q, carries
                    )
                    if record is not None:
                        record.append(steps)
                outputs.append(reverse(out, lengths) if backward else out)
                memory.append(after)
                if carries:
                    context.append(unit.next_context(there, state.context[n], lengths, r))
            x = _side_by_side(outputs, like=y)
            if pad is not None:
                x = x.masked_fill(pad, 0)
            if self.dropout and self.training and layer < self.num_layers - 1:
                # Drawn in order of time, as nn.GRU draws it.
                x = nn.functional.dropout(x.transpose(0, 1).contiguous(), self.dropout)
                x = x.transpose(0, 1)
        h_n = torch.cat(hidden)
        if not carries:
            return x, h_n
        return x, RAMGRUState(h_n, tuple(context), tuple(memory))


def _side_by_side(outputs: list[Tensor], like: Tensor) -> Tensor:
    """(B, T, C) of each direction -> (B, T, D·C), in memory as `like`: products may round by it."""
    if len(outputs) == 1:
        return outputs[0]
    if like.is_contiguous():
        return torch.cat(outputs, dim=-1)
    return torch.cat([y.transpose(0, 1) for y in outputs], dim=-1).transpose(0, 1)
