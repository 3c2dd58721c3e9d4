"""ONNX: after `import ramgru.onnx`, `torch.onnx.export(…, dynamo=True)` takes layers and models.

The import registers what the operators of this package are in terms of torch's own, which torch
translates to standard ONNX operators: Scan, TopK, GatherElements, ScatterElements and the like.
Any ONNX runtime can run the result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.onnx._internal.exporter import _decomp

from ramgru.export import Step
from ramgru.kernels import decompositions

__all__ = ["Step"]


def _stable_sort(x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False) -> Any:
    """ONNX sorts by TopK, which keeps equal numbers in their order."""
    return torch.ops.aten.sort.default(x, dim, descending)


_NAMES = ("linear_scan", "gru", "diagonal_gru", "memory_scan")
_OURS = {getattr(torch.ops.ramgru, name).default: getattr(decompositions, name) for name in _NAMES}
_OURS[torch.ops.aten.sort.stable] = _stable_sort  # torch has no translation of its own
_create_table = _decomp.create_onnx_friendly_decomposition_table


def _table(registered: set[Any]) -> Any:
    """What torch's exporter decomposes, and our operators. torch's table for all would do as well,
    but Inductor refuses to call an operator that is in it."""
    ours = {operator: by for operator, by in _OURS.items() if operator not in registered}
    return {**ours, **_create_table(registered)}


setattr(_decomp, _create_table.__name__, _table)
