"""The same numbers in every run, so that a red build can be repeated."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(20241124)
