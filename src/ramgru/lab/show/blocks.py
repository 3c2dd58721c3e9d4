"""The traces of a whole model, block by block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.layer import RAMGRU
from ramgru.sequence import SequenceModel
from ramgru.trace import LayerTrace, trace


def trace_model(model: SequenceModel, src: Tensor) -> list[LayerTrace | None]:
    """One `LayerTrace` for each block of a model over src (B, T); None where it has no memory."""
    traces: list[LayerTrace | None] = []
    with torch.no_grad():
        x = model.embedding(src)
        blocks: list[Any] = list(model.blocks)
        for block, before in zip(blocks, model.initial_state(src.shape[0]), strict=True):
            if isinstance(block.layer, RAMGRU):
                _, state = trace(block.layer, block.norm(x))
                assert state.trace is not None
                traces.append(state.trace[0])
            else:
                traces.append(None)
            x, _ = block(x, before)
    return traces
