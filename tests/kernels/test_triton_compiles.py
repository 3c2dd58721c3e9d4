"""Triton kernels compile to the machine code of GPUs, on a machine without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

SCAN = """
import torch
from ramgru.kernels.recurrence import linear_scan
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    steps, start = (torch.zeros(s, dtype=dtype) for s in ((2, 300, 768), (2, 768)))
    linear_scan(*(x.clone().requires_grad_() for x in (steps, steps, start))).sum().backward()
a, u, h = (torch.zeros(s) for s in ((2, 1, 3), (2, 1, 3), (2, 3)))
linear_scan(a.mT, u.mT, h[:, :1])
"""

BEST = """
import torch
from ramgru.kernels.address.torch import best
for sizes, top_k in (((64, 64), 4), ((192, 192), 64), ((5, 1, 300), 3)):
    best([torch.zeros(2, 3, 4, n) for n in sizes], top_k)
"""

GATES = """
import torch
from ramgru.kernels.recurrence import mingru
reset, lengths = torch.zeros(2, 300, dtype=torch.bool), torch.tensor([300, 5])
for dtype, r, n in ((torch.float32, None, None), (torch.bfloat16, reset, lengths)):
    x = torch.zeros(2, 300, 512, dtype=dtype, requires_grad=True)
    states, last = mingru(x, torch.zeros(2, 256, requires_grad=True), r, n)
    (states.sum() + last.sum()).backward()
"""


DIAGONAL = """
import torch
from ramgru.kernels.recurrence import diagonal_gru
reset, lengths = torch.zeros(2, 300, dtype=torch.bool), torch.tensor([300, 5])
for dtype, c, r, n in (
    (torch.float32, None, None, None), (torch.bfloat16, torch.zeros(768), reset, lengths)
):
    x = torch.zeros(2, 300, 768, dtype=dtype, requires_grad=True)
    states, last = diagonal_gru(x, torch.zeros(2, 256), torch.zeros(768), c, r, n)
    (states.sum() + last.sum()).backward()
"""

MEMORY = """
import torch
from ramgru.kernels.memory_scan import memory_scan, step_
B, T, H, N = 2, 20, 2, 4096
for dtype, K, D in ((torch.float32, 4, 64), (torch.bfloat16, 4, 64), (torch.float32, 64, 1)):
    index = torch.randint(N, (B, T, H, K))
    weight = torch.rand(B, T, H, K).to(dtype).requires_grad_()
    gate = torch.rand(B, T, H).to(dtype).requires_grad_()
    rows = torch.rand(B, T, H, D).to(dtype).requires_grad_()
    given = dict(
        initial_cells=torch.arange(3).expand(B, H, 3), initial_rows=torch.rand(B, H, 3, D),
        fresh_left=torch.rand(H, 64, D), fresh_right=torch.rand(H, 64, D),
    )
    for name in ("initial_rows", "fresh_left", "fresh_right"):
        given[name].requires_grad_()
    for more in ({}, given):
        y, _, last = memory_scan(index, weight, gate, rows, index, weight, memory_size=N, **more)
        (y.sum() + last.sum()).backward()
    table = torch.zeros(B, H, N, D)
    step = [v[:, 0].detach() for v in (index, weight, gate, rows, index, weight)]
    step_(table, *step)
    if D > 16:
        tag = dict(match=torch.ones(H), null=torch.ones(H))
        query = torch.rand(B, T, H, 16)
        y, _, _ = memory_scan(
            index, weight, gate, rows, index, weight, memory_size=N, query=query, **tag
        )
        y.sum().backward()
        step_(table, *step, query=query[:, 0], **tag)
"""

SCANNED = "scan_writes finish_writes scan_adjoints finish_adjoints scan_blocks"
READ = "sum_reads dot_reads copy_rows sum_blocks finish_sums"
REST = "dot_writes write_and_read"


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize(
    ("code", "kernels"),
    [
        (SCAN, {"summarise", "walk"}),
        (BEST, {"extend"}),
        (
            GATES,
            {"summarise", "walk", "walk_backward"},
        ),
        (DIAGONAL, {"walk", "walk_backward"}),
        (MEMORY, {*SCANNED.split(), *READ.split(), *REST.split()}),
    ],
    ids=["linear_scan", "product_keys", "mingru", "diagonal_gru", "memory_scan"],
)
def test_compiles_without_spilling_registers(architecture, code, kernels):
    pytest.importorskip("triton", reason="triton is missing: pip install triton")
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
