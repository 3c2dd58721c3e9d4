"""A RAM-GRU in torchrl's `GRUModule`, whose recurrent state is one tensor in a TensorDict.

B sequences, T steps, L layers, S numbers that a sequence carries in each layer.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ramgru.layer import RAMGRU


class GRU(RAMGRU):
    """The layer as `GRUModule(gru=…)` calls it: batch first, a flat state, and `mask=`.

    Arguments as in `RAMGRU`, except `batch_first`, `bidirectional` and `carry`, which are given.
    `hidden_size` is S, the width of the recurrent state, `output_size` that of the output. Every
    step of a rollout keeps a state, so choose a small memory. `recurrent_backend` must be "pad",
    the default of `GRUModule`: the others read the weights of an nn.GRU.

    >>> from ramgru import Memory
    >>> gru = GRU(3, 16, memory=Memory(cells=32, heads="learned lag"))
    >>> module = GRUModule(gru=gru, in_keys=["observation", "rs"], out_keys=["y", ("next", "rs")])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        options = {"batch_first": True, "carry": "flat", "bidirectional": False, **options}
        super().__init__(input_size, hidden_size, num_layers, **options)
        for name, needed in (("batch_first", True), ("carry", "flat"), ("bidirectional", False)):
            if getattr(self, name) != needed:
                raise ValueError(f"{name}: expected {needed!r} in torchrl, got {options[name]!r}")

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: Tensor | None = None, mask: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """input (B, T, I), hx (L, B, S), mask (B, T): True up to each sequence's end
        -> output (B, T, C), the state after each sequence's end (L, B, S)."""
        if mask is not None:
            options["lengths"] = mask.sum(1)
        output, state = super().forward(input, hx, **options)
        return output, state
