"""What every test shares: hypothesis profiles, and one seeded source of randomness."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

# Nothing here is timed: the first example pays for imports, and machines differ.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# The same examples in every run, so that a red build can be repeated.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# Without a GPU, Triton's kernels run in its interpreter, which has to be chosen before anything
# imports triton. What runs in a test does not depend on it, but for the fixture `gpu_device`.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness that is the same in every test and in no test's way."""
    return torch.Generator().manual_seed(20241124)
