"""Errors of wrong arguments: the name, the expected value and the value that came."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from memory_cases import Case
from torch import Tensor

from ramgru.kernels.memory_scan import memory_scan

CASE = Case(B=2, T=6, H=2, K=3, J=2, D=3, N=7, fresh=True, reset=True, lengths=True)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no-cells": ({"memory_size": 0}, ValueError, "memory_size: expected at least 1 cell, got 0"),
    "candidate-dimensions": (
        {"candidate": zeros(2, 6, 3)},
        ValueError,
        "candidate: expected shape (B, T, H, D), got (2, 6, 3)",
    ),
    "write-index-float": (
        {"write_index": zeros(2, 6, 2, 3)},
        TypeError,
        "write_index: expected torch.int64, got torch.float64",
    ),
    "read-index-int32": (
        {"read_index": torch.zeros(2, 6, 2, 2, dtype=torch.int32)},
        TypeError,
        "read_index: expected torch.int64, got torch.int32",
    ),
    "write-index-steps": (
        {"write_index": torch.zeros(2, 5, 2, 3, dtype=torch.int64)},
        ValueError,
        "write_index: expected shape (2, 6, 2, K), got (2, 5, 2, 3)",
    ),
    "no-address": (
        {"read_index": torch.zeros(2, 6, 2, 0, dtype=torch.int64)},
        ValueError,
        "read_index: expected at least one address a step, got J = 0",
    ),
    "write-weight": (
        {"write_weight": zeros(2, 6, 2, 2)},
        ValueError,
        "write_weight: expected shape (2, 6, 2, 3), got (2, 6, 2, 2)",
    ),
    "read-weight": (
        {"read_weight": zeros(2, 6, 2, 3)},
        ValueError,
        "read_weight: expected shape (2, 6, 2, 2), got (2, 6, 2, 3)",
    ),
    "gate": ({"gate": zeros(2, 6)}, ValueError, "gate: expected shape (2, 6, 2), got (2, 6)"),
    "cells-without-rows": (
        {"initial_cells": torch.zeros(2, 2, 1, dtype=torch.int64)},
        ValueError,
        "initial_rows: expected the rows of initial_cells, got None",
    ),
    "cells-int32": (
        {
            "initial_cells": torch.zeros(2, 2, 1, dtype=torch.int32),
            "initial_rows": zeros(2, 2, 1, 3),
        },
        TypeError,
        "initial_cells: expected torch.int64, got torch.int32",
    ),
    "rows-of-cells": (
        {
            "initial_cells": torch.zeros(2, 2, 4, dtype=torch.int64),
            "initial_rows": zeros(2, 2, 5, 3),
        },
        ValueError,
        "initial_rows: expected shape (2, 2, 4, 3), got (2, 2, 5, 3)",
    ),
    "all-rows": (
        {"initial_rows": zeros(2, 2, 6, 3)},
        ValueError,
        "initial_rows: expected shape (2, 2, 7, 3), got (2, 2, 6, 3)",
    ),
    "one-factor": (
        {"fresh_right": None},
        ValueError,
        "fresh_right: expected both factors of the fresh memory or none, got None",
    ),
    "factor-width": (
        {"fresh_left": zeros(2, 4, 2)},
        ValueError,
        "fresh_left: expected shape (2, R, 3), got (2, 4, 2)",
    ),
    "factors-too-small": (
        {"fresh_left": zeros(2, 3, 3)},
        ValueError,
        "fresh_left, fresh_right: expected R·C of at least memory_size = 7, got 3·2 = 6",
    ),
    "reset-integers": (
        {"reset": torch.zeros(2, 6, dtype=torch.int64)},
        TypeError,
        "reset: expected torch.bool, got torch.int64",
    ),
    "reset-steps": (
        {"reset": torch.zeros(2, 5, dtype=torch.bool)},
        ValueError,
        "reset: expected shape (2, 6), got (2, 5)",
    ),
    "lengths-float": (
        {"lengths": zeros(2)},
        TypeError,
        "lengths: expected torch.int64, got torch.float64",
    ),
    "tag-without-null": (
        {"query": zeros(2, 6, 2, 1), "match": zeros(2)},
        ValueError,
        "null: expected query, match and null or none of them, got None",
    ),
    "tag-steps": (
        {"query": zeros(2, 5, 2, 1), "match": zeros(2), "null": zeros(2)},
        ValueError,
        "query: expected shape (2, 6, 2, A), got (2, 5, 2, 1)",
    ),
    "match-heads": (
        {"query": zeros(2, 6, 2, 1), "match": zeros(3), "null": zeros(2)},
        ValueError,
        "match: expected shape (2,), got (3,)",
    ),
    "tag-without-value": (
        {"query": zeros(2, 6, 2, 3), "match": zeros(2), "null": zeros(2)},
        ValueError,
        "query: expected a width A in [1, 2], got 3",
    ),
    "lengths-batch": (
        {"lengths": torch.zeros(3, dtype=torch.int64)},
        ValueError,
        "lengths: expected shape (2,), got (3,)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_says_what_does_not_fit(name: str) -> None:
    changed, error, message = WRONG[name]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        memory_scan(**{**CASE.tensors(), "memory_size": CASE.N, **changed})
