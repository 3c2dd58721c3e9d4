"""What every test shares: hypothesis profiles, and one seeded source of randomness."""

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

# Numbers that a test draws without a generator of its own are fresh in every run by hand, and in a
# build those of the test's name, whatever ran before it. Processes of one run share the seed.
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


seed_everything()  # what modules draw while they are collected


def pytest_report_header() -> str:
    return f"draws repeat with RAMGRU_TEST_SEED={SEED}"


@pytest.fixture(autouse=True)
def draws(request: pytest.FixtureRequest) -> None:
    """A test's own draws, the same when it runs alone."""
    seed_everything(request.node.nodeid)


# Without a GPU, Triton's kernels run in its interpreter, which has to be chosen before anything
# imports triton. What runs in a test does not depend on it, but for the fixture `gpu_device`.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness that is the same in every test and in no test's way."""
    return torch.Generator().manual_seed(20241124)
