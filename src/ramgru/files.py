"""Atomic file writes: a temporary file is written, synced, then moved into place."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ramgru.errors import RamgruError


def write(path: str | Path, content: bytes | str | Callable[[BinaryIO], None]) -> Path:
    """Write a file atomically. content: the bytes, the text, or a function that writes the file.

    Raises RamgruError with the system's reason if the file cannot be written (no such folder, no
    permission, a full disk). A former file at `path` is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:  # on an interrupt, too: remove the temporary file
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            kept = "; the former file is untouched" if path.exists() else ""
            reason = error.strerror or error
            raise RamgruError(f"cannot write {path}: {reason}{kept}") from error
        raise
    return path


def write_json(path: str | Path, content: Any) -> Path:
    """Write indented JSON atomically. NaN and infinity, which JSON lacks, raise ValueError."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return write(path, text + "\n")


def _sync_folder(folder: Path) -> None:
    # A rename survives a power failure only after the folder is synced, too.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def safetensors() -> Any:
    """The safetensors library, imported on first use: only saving and loading need it."""
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise RamgruError(
            "saving and loading need the library safetensors: pip install safetensors"
        ) from error
    return safetensors
