"""The operations that the project exists for, one folder each: equations, fast paths, operator."""

from __future__ import annotations

from pathlib import Path

from ramgru.kernels import native


def info() -> dict[str, str]:
    """What computes each operation, and where: name -> a line."""
    here = Path(__file__).parent
    folders = sorted(path.parent for path in here.glob("*/__init__.py"))
    return {
        folder.name: native.summary()
        if (folder / "native.h").exists()
        else "torch on any device: it has no native kernel"
        for folder in folders
        if folder.name != "native"
    }
