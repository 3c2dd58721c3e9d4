"""The benchmarks of speed run. No test depends on the times that they measure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_performance_writes_every_section(tmp_path):
    output = tmp_path / "performance.md"
    command = [sys.executable, BENCHMARKS / "performance.py", "--quick", "--threads=1"]
    command += ["--output", output]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    page = output.read_text(encoding="utf-8")
    for title in (
        "# Performance",
        "## The machine's limits",
        "## Layers beside their peers",
        "## A streaming step",
        "## How a train step scales",
        "## Heads: (2, 20, 16)",
        "## Chunks of a stream",
        "## Memory of a train step",
    ):
        assert f"\n{title}" in f"\n{page}"
    assert "\n| RAMGRU, mingru |" in page


def test_performance_refuses_an_unknown_section():
    found = subprocess.run(
        [sys.executable, BENCHMARKS / "performance.py", "--only", "speed"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    expected = "limits, layers, stream, scaling, heads, carried, memory"
    assert f"--only: expected some of {expected}" in found.stderr


def test_gpu_refuses_a_machine_without_one():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, BENCHMARKS / "gpu.py"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stderr == "gpu.py: torch sees no GPU here, so there is nothing to measure.\n"
    assert found.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="shares code that reads /proc")
def test_gpu_rehearses_every_section_on_the_cpu(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--rehearse"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    for title in (
        "A rehearsal on the CPU: the numbers below mean nothing.",
        "## The GPU's limits",
        "## Layers",
        "## Operators",
        "## How a train step scales",
    ):
        assert f"\n{title}" in f"\n{found.stdout}"
    assert not list(tmp_path.iterdir())
