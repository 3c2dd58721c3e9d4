"""Streams of repeated, constant, zero and huge inputs, and states that go on elsewhere.

The long form is `benchmarks/reliability.py stream`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ramgru import RAMGRU, Memory, RAMGRUState
from ramgru.kernels import native

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
try:
    import reliability_stream as streams
finally:
    sys.path.pop(0)


@pytest.mark.parametrize("kind", streams.INPUTS)
@pytest.mark.parametrize("heads", streams.HEADS)
def test_no_head_diverges(heads: str, kind: str) -> None:
    """1,500 steps at once, in each controller in turn."""
    place = streams.HEADS.index(heads) + streams.INPUTS.index(kind)
    layer = streams.layer_of(heads, streams.CONTROLLERS[place % 3])
    x = streams.inputs(kind)
    stream = layer.stream(1)
    y = stream.read(x.repeat(-(-1500 // len(x)), 1)[:1500][:, None])
    assert streams.problem(y, stream.state, x) == ""


def continued(file: Path) -> list[Tensor]:
    """The outputs of a layer of fixed weights that goes on from a saved state."""
    torch.manual_seed(3)
    layer = RAMGRU(12, 16, 2, memory=Memory(cells=64, heads="key learned lag tape")).eval()
    x = torch.randn(40, 2, 12)
    if not file.exists():
        stream = layer.stream(2)
        stream.read(x)
        stream.state.save(file)
    stream = layer.stream(2, state=RAMGRUState.load(file))
    return [*(stream.step(x[t]) for t in range(10)), *stream.read(x[10:])]


def digest(outputs: list[Tensor]) -> str:
    return hashlib.sha256(b"".join(y.numpy().tobytes() for y in outputs)).hexdigest()


OTHER = f"""
import sys, pathlib, torch
sys.path[:0] = {[str(Path(__file__).parent), *filter(None, sys.path)]!r}
from test_streams import continued, digest
torch.set_num_threads(1)
print(digest(continued(pathlib.Path(sys.argv[1]))))
"""


def test_a_saved_state_goes_on(tmp_path: Path) -> None:
    """With the same bits in another process; within rounding on other threads and with other
    instructions."""
    file, threads = tmp_path / "state", torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = continued(file)
        torch.set_num_threads(2)
        found = {"threads": continued(file)}
    finally:
        torch.set_num_threads(threads)
    for isa in (*native.supported(), native.PORTABLE):
        with native.use(isa):
            found[isa] = continued(file)
    for name, outputs in found.items():
        for a, b in zip(outputs, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    other = subprocess.run(
        [sys.executable, "-c", OTHER, str(file)], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest(expected)
