"""ONNX: after `import ramgru.onnx`, `torch.onnx.export(…, dynamo=True)` takes layers and models.

The import registers what the operators of this package are in terms of torch's own, which torch
translates to standard ONNX operators: Scan, TopK, GatherElements, ScatterElements and the like.
Any ONNX runtime can run the result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.export import Step
from ramgru.kernels import decompositions

__all__ = ["Step"]

for _name in ("linear_scan", "gru", "diagonal_gru", "memory_scan"):
    _operator = getattr(torch.ops.ramgru, _name).default
    torch._decomp.decomposition_table[_operator] = getattr(decompositions, _name)
    # Or other graphs of dynamic shapes would take the shapes of the decomposition, which saves
    # nothing for backward, in place of the operator's own.
    torch._decomp.meta_table.setdefault(_operator, _operator)


def _stable_sort(x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False) -> Any:
    """ONNX sorts by TopK, which keeps equal numbers in their order."""
    return torch.ops.aten.sort.default(x, dim, descending)


# torch has no translation of its own.
torch._decomp.decomposition_table.setdefault(torch.ops.aten.sort.stable, _stable_sort)
