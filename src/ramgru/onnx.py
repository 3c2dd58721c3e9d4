"""ONNX: after `import ramgru.onnx`, `torch.onnx.export(…, dynamo=True)` takes layers and models.

The import registers what the operators of this package are in terms of torch's own, which torch
translates to standard ONNX operators: Scan, TopK, GatherElements, ScatterElements and the like.
Any ONNX runtime can run the result.
"""

from __future__ import annotations

import torch

from ramgru.export import Step
from ramgru.kernels import decompositions

__all__ = ["Step"]

for _operator in ("linear_scan", "gru", "diagonal_gru", "memory_scan"):
    torch._decomp.decomposition_table[getattr(torch.ops.ramgru, _operator).default] = getattr(
        decompositions, _operator
    )
