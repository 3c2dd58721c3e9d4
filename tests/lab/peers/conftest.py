"""A fixed seed in every test, so that a failure can be reproduced."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(20241124)
