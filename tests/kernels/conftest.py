"""Tests of `memory_scan` run on the best native kernels there are, and on the portable path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ramgru.kernels import native

PATHS = (*native.supported()[:1], native.PORTABLE)


@pytest.fixture(autouse=True, scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """What the test's kernels run on."""
    with native.use(getattr(request, "param", native.isa())):
        yield native.isa()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__
    if name.startswith("test_memory_scan") and name != "test_memory_scan_native":
        metafunc.parametrize("path", PATHS, indirect=True, scope="module")
