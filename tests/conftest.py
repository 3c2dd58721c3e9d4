"""Shared by all tests: hypothesis profiles, and one seeded source of randomness."""

from __future__ import annotations

import os
import random
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# Nothing here is timed: the first example pays for imports, and machines differ.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# The same examples in every run, so that a red build can be repeated.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
CI = bool(os.environ.get("CI"))
settings.load_profile("ci" if CI else "default")

# The seed of numbers that a test draws without a generator of its own: another one in every run by
# hand, and 0 in CI. Each test is seeded with it and its own name: a test alone draws the same.
# Processes of one run share the seed.
SEED = int(
    os.environ.setdefault(
        "RAMGRU_TEST_SEED", str(0 if CI else random.SystemRandom().getrandbits(31))
    )
)


def seed_everything(name: str = "") -> None:
    seed = zlib.crc32(f"{SEED} {name}".encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - hypothesis and torch's own samples draw from it
    torch.manual_seed(seed)


seed_everything()  # for numbers that modules draw during collection


def pytest_report_header() -> str:
    return f"the same random numbers again: RAMGRU_TEST_SEED={SEED}"


@pytest.fixture(autouse=True)
def draws(request: pytest.FixtureRequest) -> None:
    """Seed each test, with the same numbers when it runs alone."""
    seed_everything(request.node.nodeid)


# Without a GPU, Triton's kernels run in its interpreter, which must be chosen before triton is
# imported. Only tests with the fixture `gpu_device` depend on it.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def generator() -> torch.Generator:
    """A generator with one fixed seed, separate from the global one."""
    return torch.Generator().manual_seed(20241124)
