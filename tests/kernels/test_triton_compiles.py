"""Triton's kernels compile down to the machine code of GPUs, which takes none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

SCAN = """
import torch
from ramgru.kernels.linear_scan import linear_scan
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    steps, start = (torch.zeros(s, dtype=dtype) for s in ((2, 300, 768), (2, 768)))
    linear_scan(*(x.clone().requires_grad_() for x in (steps, steps, start))).sum().backward()
a, u, h = (torch.zeros(s) for s in ((2, 1, 3), (2, 1, 3), (2, 3)))
linear_scan(a.mT, u.mT, h[:, :1])
"""

BEST = """
import torch
from ramgru.kernels.product_keys.parts import best
for sizes, top_k in (((64, 64), 4), ((192, 192), 64), ((5, 1, 300), 3)):
    logits = [torch.zeros(2, 3, 4, n, requires_grad=True) for n in sizes]
    best(logits, top_k)[0].sum().backward()
"""

GATES = """
import torch
from ramgru.kernels import native
from ramgru.kernels.mingru import mingru
native.runs = lambda *tensors: False
reset, lengths = torch.zeros(2, 300, dtype=torch.bool), torch.tensor([300, 5])
for dtype, r, n in ((torch.float32, None, None), (torch.bfloat16, reset, lengths)):
    x = torch.zeros(2, 300, 512, dtype=dtype, requires_grad=True)
    states, last = mingru((x, torch.zeros(2, 256, requires_grad=True), r, n))
    (states.sum() + last.sum()).backward()
"""


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize(
    ("code", "kernels"),
    [
        (SCAN, {"summarise", "walk"}),
        (BEST, {"extend", "scatter"}),
        (
            GATES,
            {"walk"}
            | {
                f"{part}_{way}" for part in ("summarise", "walk") for way in ("forward", "backward")
            },
        ),
    ],
    ids=["linear_scan", "product_keys", "mingru"],
)
def test_compiles_without_spilling_registers(architecture, code, kernels):
    pytest.importorskip("triton", reason='triton is missing: pip install "ramgru[triton]"')
    script = Path(__file__).with_name("compile_for_gpu.py")
    found = subprocess.run(
        [sys.executable, script, str(architecture), code],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"},
    )
    assert found.returncode == 0, found.stderr
    lines = [line.split() for line in found.stdout.splitlines()]
    assert {name for name, _ in lines} == kernels
    assert {spilled for _, spilled in lines} == {"0"}
