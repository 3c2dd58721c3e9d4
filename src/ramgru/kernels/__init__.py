"""The operations that the project exists for, one folder each: equations, fast paths, operator."""

from __future__ import annotations

from pathlib import Path

from ramgru.kernels import gpu, native


def info() -> dict[str, str]:
    """What computes each operation, and where: name -> a line."""
    here = Path(__file__).parent
    folders = sorted(path.parent for path in here.glob("*/__init__.py"))
    return {f.name: _line(f) for f in folders if f.name not in ("native", "gpu")}


def _line(folder: Path) -> str:
    if (folder / "native.h").exists():
        line = native.summary()
    else:
        line = "torch on any device: it has no native kernel"
    if any(folder.glob("triton_*.py")):
        line += f"; {gpu.summary()}"
    return line
