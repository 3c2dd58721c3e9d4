"""Checks of the arguments that `nn.GRU` does not have: what came, and what was expected."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from ramgru.kernels.memory_scan import WRITE_RULES
from ramgru.kernels.transforms import is_readable
from ramgru.keys import default_parts, factorise
from ramgru.state import RAMGRUState

# Cells are sorted by their number times the number of resets before them, in 64 bits.
MOST_CELLS = 2**40


def check_memory_options(
    *,
    memory_size: int,
    num_heads: int,
    head_size: int | None,
    top_k: int,
    write_rule: str,
    parts: int | None,
    address_size: int,
    offsets: tuple[int, ...],
    skips: tuple[int, ...],
    spans: tuple[int, ...],
    window: int | None,
    candidate_activation: str,
    learn_address: bool,
    learn_context: bool,
    learn_initial: bool,
    gate: str,
    gate_range: tuple[float, float],
    gate_bias: float,
    tape_heads: int,
) -> tuple[int, int, int]:
    """-> the number of cells, rounded up to what its codebooks can name, and of codebooks, and the
    window."""
    numbers = {
        "memory_size": memory_size,
        "num_heads": num_heads,
        "head_size": head_size,
        "top_k": top_k,
        "parts": parts,
        "address_size": address_size,
        "window": window,
        "tape_heads": tape_heads,
    }
    for name, value in numbers.items():
        if value is None and name in ("head_size", "parts", "window"):
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
        # Unit codes of one number would all tie.
        least = {"address_size": 2, "tape_heads": 0}.get(name, 1)
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    if memory_size > MOST_CELLS:
        raise ValueError(f"memory_size: expected at most {MOST_CELLS}, got {memory_size}")
    if tape_heads >= num_heads:
        raise ValueError(
            f"tape_heads: expected 0 or more, and fewer than num_heads = {num_heads}, "
            f"got {tape_heads}"
        )
    if tape_heads and min(top_k, memory_size) < 2:
        raise ValueError(
            "tape_heads: expected top_k and memory_size of at least 2, the cells that a head "
            f"stands between, got {top_k} and {memory_size}"
        )
    flags = {
        "learn_address": learn_address,
        "learn_context": learn_context,
        "learn_initial": learn_initial,
    }
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name}: expected a bool, got {type(flag).__name__}")
    if not isinstance(gate_bias, (int, float)):
        raise TypeError(f"gate_bias: expected a number, got {type(gate_bias).__name__}")
    if not math.isfinite(gate_bias):
        raise ValueError(f"gate_bias: expected a finite number, got {gate_bias}")
    if gate not in ("scalar", "cell"):
        raise ValueError(f"gate: expected 'scalar' or 'cell', got {gate!r}")
    if not isinstance(gate_range, (tuple, list)) or len(gate_range) != 2:
        raise TypeError(f"gate_range: expected two numbers, got {type(gate_range).__name__}")
    low, high = gate_range
    if not low < high or not -math.inf < low < 1 or not 0 < high < math.inf:
        raise ValueError(
            f"gate_range: expected low < high that leave a part of [0, 1], got {gate_range}"
        )
    if top_k > memory_size:
        raise ValueError(f"top_k: expected at most memory_size = {memory_size}, got {top_k}")
    if write_rule not in WRITE_RULES:
        raise ValueError(f"write_rule: expected one of {WRITE_RULES}, got {write_rule!r}")
    if candidate_activation not in ("identity", "tanh"):
        raise ValueError(
            f"candidate_activation: expected 'identity' or 'tanh', got {candidate_activation!r}"
        )
    for name, steps, least in (("offsets", offsets, 0), ("skips", skips, 0), ("spans", spans, 1)):
        if not isinstance(steps, (tuple, list)):
            raise TypeError(f"{name}: expected a tuple of int, got {type(steps).__name__}")
        if not steps or not all(isinstance(n, int) and n >= least for n in steps):
            raise ValueError(f"{name}: expected numbers of steps, at least {least}, got {steps}")
    heads = range(num_heads - tape_heads)  # that look for a key
    keys = [(skips[h % len(skips)], spans[h % len(spans)]) for h in heads]
    farthest = max(map(sum, keys)) + max(offsets[h % len(offsets)] for h in heads)
    if window is not None and window < farthest:
        raise ValueError(
            f"window: expected at least {farthest}, what offsets, skips and spans reach, "
            f"got {window}"
        )
    parts = parts or default_parts(memory_size)
    sizes = factorise(memory_size, parts)
    cells = math.prod(sizes)
    if cells != memory_size:
        shown = " x ".join(map(str, sizes))
        warnings.warn(
            f"memory_size={memory_size} is rounded up to {cells} = {shown} cells, "
            f"so that codebooks of {shown} can name them all",
            stacklevel=3,
        )
    return cells, parts, window or max(4, farthest)


def check_state(state: RAMGRUState, expected: list[tuple[int, ...]]) -> None:
    """Whether a state is of this layer: of each memory its cells, heads, width, window, input."""
    found = [
        (m.memory_size, m.rows.shape[1], m.rows.shape[3], m.tape_heads, *c.shape[1:])
        for m, c in zip(state.memory, state.context, strict=True)
    ]
    if found != expected:
        raise ValueError(
            "state: expected one of this layer, with (memory_size, num_heads, head_size, "
            f"tape_heads, window - 1, input size) of {expected}, got {found}"
        )


def check_checkpoint_every(steps: int | None, bidirectional: bool) -> None:
    if steps is None:
        return
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise TypeError(f"checkpoint_every: expected an int or None, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"checkpoint_every: expected at least 1 step, got {steps}")
    if bidirectional:
        raise ValueError("checkpoint_every: expected one direction, got bidirectional=True")


def check_lengths(
    lengths: Tensor | None, batch: int, steps: int, device: torch.device
) -> Tensor | None:
    """-> lengths as int64 on the device of the input."""
    if lengths is None:
        return None
    lengths = torch.as_tensor(lengths)
    if lengths.dtype == torch.bool or lengths.is_floating_point():
        raise TypeError(f"lengths: expected integers, got {lengths.dtype}")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"lengths: expected shape ({batch},), got {tuple(lengths.shape)}")
    if is_readable(lengths) and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > steps:
            raise ValueError(
                f"lengths: expected numbers in [0, {steps}], the steps of the input, "
                f"got {low if low < 0 else high}"
            )
    return lengths.to(device=device, dtype=torch.int64)


def check_reset(reset: Tensor | None, batch: int, steps: int) -> None:
    if reset is None:
        return
    if not isinstance(reset, Tensor):
        raise TypeError(f"reset: expected a tensor of bool, got {type(reset).__name__}")
    if reset.dtype != torch.bool:
        raise TypeError(f"reset: expected bool, got {reset.dtype}")
    if tuple(reset.shape) != (batch, steps):
        raise ValueError(
            f"reset: expected one flag for each of {batch} sequences and {steps} steps, "
            f"got shape {tuple(reset.shape)}"
        )


def check_index(
    name: str, index: Tensor | None, batch: int, steps: int, heads: int, memory_size: int
) -> Tensor | None:
    """-> the addresses of every head, (B, T, H, K), from (B, T), (B, T, H) or (B, T, H, K)."""
    if index is None:
        return None
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}: expected a tensor of int64, got {type(index).__name__}")
    if index.dtype != torch.int64:
        raise TypeError(f"{name}: expected int64, got {index.dtype}")
    shape = tuple(index.shape)
    head = (batch, steps, heads)
    if shape[:3] != head[: len(shape)] or not 2 <= len(shape) <= 4 or 0 in shape[3:]:
        raise ValueError(
            f"{name}: expected {batch} sequences and {steps} steps, then nothing, ({heads},) heads "
            f"or ({heads}, K) addresses, got shape {shape}"
        )
    if is_readable(index) and index.numel():
        low, high = int(index.min()), int(index.max())
        if low < -1 or high >= memory_size:
            raise IndexError(
                f"{name}: expected cells in [0, memory_size = {memory_size}), or -1 for no access, "
                f"got {low if low < -1 else high}"
            )
    if index.dim() == 2:
        index = index.unsqueeze(-1).expand(head)
    return index.unsqueeze(-1) if index.dim() == 3 else index
