"""One time step of a whole layer as one native call: the fast path of streams on a CPU.

The layer's general path defines its results. It has no Triton kernel.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramgru.kernels import dispatch, native

OPERATION = dispatch.Operation("layer_step", "layer_step")
STEP = native.arguments(
    "LayerStep",
    "B I C H N D tag controller keyed lags tapes K J window A F U steps ring lag_reads most",
    "weight_ih weight_hh bias_ih bias_hh candidate_weight candidate_bias gate_weight gate_bias "
    "output_weight output_bias read_out_weight log_match null sharpness move_weight move_bias "
    "key_weight taps features codes lag lag_weight offsets skips spans writes reads sizes "
    "input hidden rows context place position "
    "output next_hidden next_context next_place next_position written before",
)

# The fields of each step, before and behind those of `Constants`.
HEAD, TAIL = struct.Struct("3q"), struct.Struct("13Q")

CONTROLLERS = ("mingru", "gru", "diagonal")  # by their numbers in `arguments.h`
# The kinds of heads that carry context, place and position.
CARRIED = ("key", "lag", "tape")


@dataclass(frozen=True)
class Keys:
    """The heads with keys; see `address.product_keys` and `arguments.h`."""

    window: int = 1
    features: int = 0  # a codebook
    writes: Sequence[int] = ()  # of each head, as the next four
    reads: Sequence[int] = ()
    offsets: Sequence[int] = ()
    skips: Sequence[int] = ()
    spans: Sequence[int] = ()
    sizes: Sequence[int] = ()
    tensors: Sequence[Tensor | None] = (None,) * 4  # key_weight, taps, features, codes


class Constants:
    """The arguments that stay the same from step to step, in the layout of the kernel.

    layer: I to tapes, sizes in the order of STEP. weights are contiguous tensors of one dtype, in
    the order of STEP from weight_ih to move_bias, None for an absent one; lags are the lags that
    each lag head reads (lags, J), and their weights. This object keeps all tensors alive.
    """

    def __init__(
        self,
        layer: Sequence[int],
        weights: Sequence[Tensor | None],
        keys: Keys,
        lags: tuple[Tensor, Tensor] | None,
        ring: int,
        dtype: torch.dtype,
    ) -> None:
        # The kernel reads these arrays by their addresses: they must live as long as this object.
        lists = (keys.offsets, keys.skips, keys.spans, keys.writes, keys.reads, keys.sizes)
        self._arrays = [(ctypes.c_int64 * len(values))(*values) for values in lists]
        self._tensors = (*weights, *keys.tensors, *(lags or (None, None)))
        self.dtype = dtype
        self.most = max(0, *keys.writes, int(lags is not None), 2 * (layer[-1] > 0))
        key_weight, taps, *_ = keys.tensors
        fields = (
            *layer,
            *(max(keys.writes, default=0), max(keys.reads, default=0), keys.window),
            0 if key_weight is None else key_weight.shape[0] // len(keys.reads),  # A
            *(keys.features, len(keys.sizes), 0 if taps is None else taps.shape[1]),
            *(ring, 0 if lags is None else lags[0].shape[1], self.most),
            *map(address, self._tensors),
            *map(ctypes.addressof, self._arrays),
        )
        # Packed once: the layout with B and the fields of a step as zeros.
        packed = STEP.pack(0, 0, 0, *fields, *[0] * len(TAIL.unpack(bytes(TAIL.size))))
        self.packed = packed[HEAD.size : -TAIL.size]


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class PreparedStep:
    """`layer_step_` on the same tensors again and again, but for its input and its output.

    This object keeps all other tensors alive, which nobody else may move or resize.
    """

    # The places of the fields that change; all fields have 8 bytes.
    _THREADS, _OUTPUT = 1, 6 - len(TAIL.unpack(bytes(TAIL.size)))
    _INPUT = _OUTPUT - 6

    def __init__(
        self,
        constants: Constants,
        batch: int,
        hidden: Tensor,
        rows: Tensor,
        carried: dict[str, Tensor],
        next_hidden: Tensor,
        next_carried: dict[str, Tensor],
    ) -> None:
        self._constants = constants
        self._tensors = (hidden, rows, carried, next_hidden, next_carried)
        given, made = [carried.get(kind) for kind in CARRIED], [*map(next_carried.get, CARRIED)]
        before, after = map(address, (hidden, rows, *given)), map(address, (next_hidden, *made))
        step = TAIL.pack(0, *before, 0, *after, 0, 0)
        fields = HEAD.pack(STEP.size, 0, batch) + constants.packed + step
        self._fields = (ctypes.c_uint64 * (STEP.size // 8)).from_buffer_copy(fields)
        self._address = ctypes.addressof(self._fields)

    def run(self, input: Tensor, output: Tensor) -> None:
        """Both contiguous, and held by the caller."""
        fields = self._fields
        fields[self._THREADS] = torch.get_num_threads()
        fields[self._INPUT], fields[self._OUTPUT] = input.data_ptr(), output.data_ptr()
        native.run("layer_step", self._constants.dtype, self._address)


def layer_step_(
    constants: Constants,
    batch: int,
    input: Tensor,  # (B, I)
    hidden: Tensor,  # (B, C)
    rows: Tensor,  # (B, H, N, D + tag), overwritten
    carried: dict[str, Tensor],  # by kind of head; see `MemoryState`
    output: Tensor,  # (B, C), written
    next_hidden: Tensor,  # (B, C), written
    next_carried: dict[str, Tensor],  # written
    noted: tuple[Tensor, Tensor] | None = None,  # (B, H, constants.most) cells, and their rows
) -> None:
    """All contiguous; what lag heads carry in int64, tape heads in float64, and all others of one
    dtype, float32 or float64. noted: gets the cells that are written, and their rows before."""
    given, made = [carried.get(kind) for kind in CARRIED], [*map(next_carried.get, CARRIED)]
    # Held while the kernel runs: `.data = …` in another thread frees memory that nobody holds.
    memory = [t.untyped_storage() for t in (input, hidden, rows, *carried.values())]
    step = TAIL.pack(
        input.data_ptr(),
        hidden.data_ptr(),
        rows.data_ptr(),
        *map(address, given),
        output.data_ptr(),
        next_hidden.data_ptr(),
        *map(address, made),
        *map(address, noted or (None, None)),
    )
    head = HEAD.pack(STEP.size, torch.get_num_threads(), batch)
    native.run("layer_step", constants.dtype, head + constants.packed + step)
    del memory
    # A graph that needs the old rows must raise an error.
    torch.autograd.graph.increment_version(rows)
