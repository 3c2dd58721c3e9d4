"""The operations that the project exists for, one folder each: equations, fast paths, operator."""


def info() -> dict[str, str]:
    """Which implementation each operator runs, and where."""
    return {
        "memory_scan": "portable torch, on any device",
        "linear_scan": "portable torch, on any device",
    }
