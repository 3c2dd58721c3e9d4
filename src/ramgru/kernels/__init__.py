"""The operations that the project exists for, one folder each: equations, fast paths, operator."""

from pathlib import Path

from ramgru.kernels import native


def info() -> dict[str, str]:
    """What computes each operation, and where: name -> a line."""
    here = Path(__file__).parent
    found = {}
    for folder in sorted(path.parent for path in here.glob("*/__init__.py")):
        if folder.name == "native":
            continue
        if not (folder / "native.py").exists():
            found[folder.name] = "torch on any device: it has no native kernel"
        elif native.isa() == native.PORTABLE:
            found[folder.name] = "torch on any device: no native kernel runs, see above"
        else:
            found[folder.name] = (
                f"native {native.isa()} on the CPU; torch elsewhere (docs/native.md)"
            )
    return found
