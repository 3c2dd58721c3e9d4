"""Files that are there whole or not at all: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ramgru.errors import RamgruError


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` in place of `path`; whatever happens on the way, the former file stays.

    Raises RamgruError where the file cannot be written (no space, no permission, …).
    """
    # One fixed name: what a killed process left behind is overwritten by the next one.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = "; the former file is untouched" if path.exists() else ""
        raise RamgruError(f"cannot write {path}: {error.strerror}{kept}") from error


def write_json(path: Path, content: Any) -> None:
    """`write_bytes` of indented JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only once the folder itself is on the disk.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
