"""`RAMGRU`: a drop-in for `torch.nn.GRU` with a random-access memory in every layer.

B sequences, T steps, I = input_size, C = hidden_size, L = num_layers, D = 2 if bidirectional.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

from ramgru import fast_step, open_gates
from ramgru.arguments import (
    check_carry,
    check_checkpoint_every,
    check_hx,
    check_index,
    check_lengths,
    check_memory,
    check_reset,
    trust,
    unknown_argument,
)
from ramgru.config import Memory
from ramgru.gru import CONTROLLERS, GRU_KERNELS, torch_gru
from ramgru.kernels.dispatch import is_eager
from ramgru.kernels.transforms import is_readable
from ramgru.memory import RandomAccessMemory, Steps
from ramgru.ragged import (
    last_output,
    pack,
    padding_mask,
    reverse,
    reverse_reset,
    side_by_side,
    unpack,
)
from ramgru.state import RAMGRUState
from ramgru.stepping import StepByStep

Hx = Tensor | RAMGRUState | tuple[Any, ...] | None
LONG = 2**17  # steps of a sequence that training does not keep whole


class RAMGRU(StepByStep):
    """A GRU in which every time step can read and write any of thousands of gated cells.

    The arguments up to `dtype` are those of `torch.nn.GRU`, in its order. The others:

        memory      the random-access memory of each layer and direction, see `ramgru.Memory`
        controller  "gru": exactly nn.GRU, with the same parameter names and numbers; "mingru":
                    gates from the input alone, parallel over time (arXiv 2410.01201); "diagonal":
                    nn.GRU with diagonal recurrent weights, weight_hh (3·C,): nearly as fast as
                    "mingru", and able to count and to flip (arXiv 2510.21450)
        carry       the form of the state: "hidden", as nn.GRU, where the memory begins fresh in
                    every call unless a `RAMGRUState` is given; "state", a `RAMGRUState` in every
                    call; "flat", one tensor (L·D, B, S) for frameworks that know no other form,
                    whose S is then what `hidden_size` reports
        checkpoint_every  gradient checkpointing over time: keep for backward only the state at
                    every so many steps, at the cost of a second forward pass. Learned keys then
                    learn from attention over these steps alone, as where a sequence is cut. None:
                    only for sequences of more than 131,072 steps, whose pieces hold 65,536 steps
                    of the whole batch, or 4,096 of each sequence
        gru_kernel  implementation of controller="gru" on a CPU: "native", within rounding of
                    nn.GRU (1e-6) and faster, or "torch", nn.GRU's own code, bit for bit

    forward(input, hx=None) -> output, h_n as in `nn.GRU`: input (T, B, I), (B, T, I) with
    batch_first, or (T, I); output (…, D·C); hx and h_n (D·L, B, C), where h_n is the output of each
    layer at the end of each sequence. A `PackedSequence` gives a `PackedSequence`. A tensor hx is
    the controller's initial hidden vector; a `RAMGRUState` goes on with a stream and gives the next
    one. Options of the call:

        lengths     (B,) int: steps of each sequence; the rest is padding, and its output 0
        reset       bool, shaped as the input without its last dimension: the sequence begins anew
                    before this step, with a fresh state
        write_index, read_index   int64, shaped as the input without its last dimension, and then
                    nothing, (H,) or (H, K): the cells to write and to read instead of those that
                    the heads find; -1 for no access

    Raises what nn.GRU raises for arguments that nn.GRU has, and ValueError, TypeError or IndexError
    that name the argument for the others.

    >>> layer = RAMGRU(8, 16, batch_first=True, memory=Memory(cells=1024, heads="key key:2"))
    >>> output, h_n = layer(torch.randn(2, 5, 8))
    >>> output.shape, h_n.shape, torch.equal(output[:, -1], h_n[-1])
    (torch.Size([2, 5, 16]), torch.Size([1, 2, 16]), True)
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
        memory: Memory = Memory(),  # noqa: B008 - frozen
        controller: str = "gru",
        carry: str = "hidden",
        checkpoint_every: int | None = None,
        gru_kernel: str = "native",
        **unknown: Any,
    ) -> None:
        if "proj_size" in unknown:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if unknown:
            raise TypeError(unknown_argument(next(iter(unknown))))
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
        check_memory(memory)
        check_carry(carry)
        check_checkpoint_every(checkpoint_every, bidirectional)
        if gru_kernel not in GRU_KERNELS:
            raise ValueError(
                f"gru_kernel: expected one of {tuple(GRU_KERNELS)}, got {gru_kernel!r}"
            )
        self.memory, self.carry, self.checkpoint_every = memory, carry, checkpoint_every
        self.gru_kernel = gru_kernel
        self._control = GRU_KERNELS[gru_kernel] if controller == "gru" else CONTROLLERS[controller]
        self._warned = False  # that a tensor hx carries no memory
        self._cached_parts: tuple[Any, list[fast_step.Part]] = (None, [])
        for layer, suffix in self.directions():
            width = self.layer_input_size(layer)
            module = RandomAccessMemory(width, self.output_size, memory, device, dtype)
            self.add_module(f"memory_{suffix}", module)
        self.reset_parameters()

    @classmethod
    def from_gru(cls, gru: nn.GRU, **options: Any) -> RAMGRU:
        """A trained `nn.GRU` with a memory whose read-out is zero: the same outputs, bit for bit.

        Training lets the read-out grow. options: keyword arguments of `RAMGRU`; with
        gru_kernel="native" it is faster, and the same within rounding. A stream takes the native
        step either way.
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
            **{"gru_kernel": "torch", **options, "controller": "gru"},
        )
        layer.load_state_dict(gru.state_dict(), strict=False)
        for memory in layer.memories:
            nn.init.zeros_(memory.read_out.weight)
        return layer.train(gru.training)

    @property
    def memories(self) -> list[RandomAccessMemory]:
        """The memory of each layer and direction, in the order of h_n."""
        return [getattr(self, f"memory_{suffix}") for _, suffix in self.directions()]

    @property
    def hidden_size(self) -> int:
        """C, or with carry="flat" S, the numbers a sequence carries in each layer and direction."""
        return self.flat_size if self.carry == "flat" else self.output_size

    def reset_parameters(self) -> None:
        self.reset_controller()
        for memory in self.memories:
            memory.reset_parameters()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """Every argument that is not at its default."""
        parts = [super().extra_repr()]
        if self.memory != Memory():
            parts.append(f"memory={self.memory!r}")
        defaults = {"controller": "gru", "carry": "hidden", "checkpoint_every": None}
        for name, default in {**defaults, "gru_kernel": "native"}.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

    def _layer_sizes(self) -> list[int]:
        """Of each layer and direction, the numbers that one sequence carries."""
        sizes = []
        for memory in self.memories:
            carried = sum(heads.start(1).numel() for heads in memory.heads.values())
            cells = memory.num_heads * self.memory.cells * memory.row_width
            sizes.append(self.output_size + carried + cells)
        return sizes

    @property
    def state_size(self) -> int:
        """Numbers that one sequence carries from step to step, the rows of all cells included."""
        return sum(self._layer_sizes())

    @property
    def flat_size(self) -> int:
        """S, the width of a flat state: the largest number that a layer carries."""
        return max(self._layer_sizes())

    def initial_state(self, batch_size: int, *, dense: bool = False) -> RAMGRUState:
        """The start of `batch_size` streams; with `dense`, the rows of all cells are allocated."""
        weight = self.memories[0].candidate.weight
        L = self.num_layers * self.num_directions
        hidden = torch.zeros(
            L, batch_size, self.output_size, dtype=weight.dtype, device=weight.device
        )
        return RAMGRUState(hidden, tuple(m.initial_state(batch_size, dense) for m in self.memories))

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Hx = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        write_index: Tensor | None = None,
        read_index: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """See the class. -> output, and h_n, a `RAMGRUState` or a flat state, as `carry` says."""
        if self.training and torch.is_grad_enabled():
            open_gates.begin(self.memories)
        hx = self._taken(hx)
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, reset, write_index, read_index)
        batched = isinstance(input, Tensor) and input.dim() == 3
        # A stream has a batch dimension of its own, also over unbatched input.
        hidden = hx if isinstance(hx, Tensor) or hx is None else hx.hidden if batched else None
        self.check_input(input, hidden, packed=False)

        def batch_first(x: Tensor | None) -> Tensor | None:
            if not isinstance(x, Tensor) or (batched and self.batch_first):
                return x  # an argument that is no tensor is refused by name below
            return x.transpose(0, 1) if batched else x.unsqueeze(0)

        x = cast(Tensor, batch_first(input))
        if not batched and isinstance(hx, Tensor):
            hx = hx.unsqueeze(1)
        y, h_n, state = self._forward(
            x, hx, lengths, batch_first(reset), batch_first(write_index), batch_first(read_index)
        )
        if not batched:
            y = y.squeeze(0)
        elif not self.batch_first:
            y = y.transpose(0, 1)
        return y, self._given(h_n if batched else h_n.squeeze(1), state)

    def _forward_packed(
        self,
        input: PackedSequence,
        hx: Tensor | RAMGRUState | None,
        lengths: Tensor | None,
        *unpackable: Tensor | None,
    ) -> tuple[PackedSequence, Any]:
        for name, value in zip(("reset", "write_index", "read_index"), unpackable, strict=True):
            if value is not None:
                raise ValueError(f"{name}: give padded input and lengths with it, not packed input")
        if lengths is not None:
            raise ValueError("lengths: a PackedSequence has its own, got both")
        self.check_input(input.data, None, packed=True)
        x, lengths = unpack(input)  # in the order that packing sorted
        if hx is not None and input.sorted_indices is not None:
            self.check_hidden(hx.hidden if isinstance(hx, RAMGRUState) else hx, x.shape[0])
            if isinstance(hx, RAMGRUState):
                hx = hx[input.sorted_indices]
            else:
                hx = hx.index_select(1, input.sorted_indices)
        y, h_n, state = self._forward(x, hx, lengths.to(x.device), None, None, None)
        if input.unsorted_indices is not None:
            h_n = h_n.index_select(1, input.unsorted_indices)
            state = None if state is None else state[input.unsorted_indices]
        return pack(y, lengths, input), self._given(h_n, state)

    def _taken(self, hx: Any) -> Tensor | RAMGRUState | None:
        """hx as a `RAMGRUState`, or as the controller's hidden vectors."""
        if hx is None or isinstance(hx, RAMGRUState):
            return hx
        check_hx(hx)
        if not isinstance(hx, Tensor):  # the parts of a state, as its iteration gives them
            return self.initial_state(0).with_parts(hx)
        if self.carry == "flat":
            return self.initial_state(0).from_tensor(hx if hx.dim() == 3 else hx.unsqueeze(1))
        if hx.shape[-1:] != (self.output_size,) and hx.shape[-1:] == (self.flat_size,):
            raise ValueError(
                "hx: got a flat state, which only a layer with carry='flat' takes, "
                f"this one has carry={self.carry!r}"
            )
        if not self._warned and is_readable(hx) and bool((hx.detach() != 0).any()):
            self._warned = True
            warnings.warn(
                "RAMGRU: a tensor hx carries hidden vectors alone, so the memory starts fresh in "
                "this call. To go on with a stream, make the layer with carry='state' and pass "
                "on the state that it returns.",
                stacklevel=5,
            )
        return hx

    def _given(self, h_n: Tensor, state: RAMGRUState | None) -> Any:
        """The second result of a call, in the form that `carry` asks for."""
        if state is None:
            return h_n
        if self.carry != "flat":
            return state
        flat = state.to_tensor()
        return flat if h_n.dim() == 3 else flat.squeeze(1)

    def _forward(
        self,
        x: Tensor,  # (B, T, I)
        hx: Tensor | RAMGRUState | None,
        lengths: Tensor | None,
        reset: Tensor | None,  # (B, T)
        write_index: Tensor | None,  # (B, T), (B, T, H) or (B, T, H, K)
        read_index: Tensor | None,
        record: list[Steps] | None = None,
    ) -> tuple[Tensor, Tensor, RAMGRUState | None]:
        """-> output (B, T, D·C), h_n (D·L, B, C), and the state at the end if it is carried."""
        B, T, _ = x.shape
        if T == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        lengths = check_lengths(lengths, B, T, x.device)
        check_reset(reset, B, T)
        write_index, read_index = (
            check_index(name, index, B, T, len(self.memory.heads), self.memory.cells)
            for name, index in (("write_index", write_index), ("read_index", read_index))
        )
        carries = isinstance(hx, RAMGRUState) or self.carry != "hidden"
        state = hx if isinstance(hx, RAMGRUState) else self.initial_state(B)
        if isinstance(hx, Tensor):
            state = replace(state, hidden=hx)
        self.check_hidden(state.hidden, B)
        if isinstance(hx, RAMGRUState):
            self._check_state(hx)
        every = self._piece(B, T)
        if every >= T or not torch.is_grad_enabled() or record is not None:
            y, h_n, after = self._run(
                x, state, None, carries, lengths, reset, write_index, read_index, record
            )
            return y, h_n, after

        def pieces(value: Tensor | None) -> Sequence[Tensor | None]:
            return [None] * -(-T // every) if value is None else value.split(every, dim=1)

        outputs, h_n = [], state.hidden
        for n, (piece, *given) in enumerate(zip(*map(pieces, (x, reset, write_index, read_index)))):
            left = None if lengths is None else (lengths - n * every).clamp(0, piece.shape[1])
            y, h_n, after = checkpoint(
                self._run, piece, state, h_n, True, left, *given, use_reentrant=False
            )
            outputs.append(y)
            state = cast(RAMGRUState, after)
        return torch.cat(outputs, dim=1), h_n, state if carries else None

    def _piece(self, batch: int, steps: int) -> int:
        """Steps between two states that are kept for backward."""
        if self.checkpoint_every is not None:
            return self.checkpoint_every
        if self.bidirectional or not is_eager() or steps <= LONG:
            return steps
        return max(LONG // 2 // max(batch, 1), LONG // 32)

    def _run(
        self,
        x: Tensor,  # (B, T, I)
        state: RAMGRUState,
        ends: Tensor | None,  # (D·L, B, C) h_n of sequences without a step; None: their hidden
        carries: bool,  # whether the state at the end is put together
        lengths: Tensor | None,
        reset: Tensor | None,
        write_index: Tensor | None,
        read_index: Tensor | None,
        record: list[Steps] | None = None,
    ) -> tuple[Tensor, Tensor, RAMGRUState | None]:
        """The stack of layers, on arguments that were checked."""
        ends = state.hidden if ends is None else ends
        hidden: list[Tensor] = []
        h_n: list[Tensor] = []
        memory: list[Any] = []
        D, all_weights, memories = self.num_directions, self.all_weights, self.memories
        pad = None if lengths is None else padding_mask(lengths, x.shape[1]).unsqueeze(-1)
        if pad is not None:  # padding must not reach a gradient either, as 0 * NaN would
            x = x.masked_fill(pad, 0)
        for layer in range(self.num_layers):
            ways = slice(D * layer, D * (layer + 1))
            # Once, since each product would copy input that has time first.
            rows = x.contiguous() if is_eager() and x.shape[1] > 1 else x
            # The bits of torch's own GRU depend on the layout.
            read = x if self._control is torch_gru else rows
            y, last = self._control(read, state.hidden[ways], all_weights[ways], lengths, reset)
            hidden.append(last)
            outputs = []
            for backward, h in enumerate(y.chunk(D, dim=-1)):
                n = D * layer + backward
                there, r, w, q = rows, reset, write_index, read_index
                if backward:
                    there, h = reverse(rows, lengths), reverse(h, lengths)
                    r = reverse_reset(reset, lengths)
                    w, q = (None if v is None else reverse(v, lengths) for v in (w, q))
                before = state.memory[n]
                out, after, steps = memories[n](there, h, before, carries, lengths, r, w, q)
                if record is not None:
                    record.append(steps)
                h_n.append(last_output(out, lengths, ends[n]))
                outputs.append(reverse(out, lengths) if backward else out)
                memory.append(after)
            x = side_by_side(outputs, like=y)
            if pad is not None:
                x = x.masked_fill(pad, 0)
            if self.dropout and self.training and layer < self.num_layers - 1:
                # Drawn in the order of time, as nn.GRU draws it.
                x = nn.functional.dropout(x.transpose(0, 1).contiguous(), self.dropout)
                x = x.transpose(0, 1)
        if not carries:
            return x, torch.stack(h_n), None
        after = RAMGRUState(torch.cat(hidden), tuple(memory))
        trust(after)
        return x, torch.stack(h_n), after

    def _hooked(self) -> bool:
        """Whether a step must call the module: some hooks compute weights, as prune's do."""
        hooks = self._forward_hooks or self._forward_pre_hooks
        return bool(hooks) and type(self).forward is RAMGRU.forward
