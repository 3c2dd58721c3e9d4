"""Files that are whole or not there: a temporary file beside it, fsync, then os.replace."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ramgru.errors import DataError


def write(path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], None]) -> Path:
    """Puts a file in place when it is complete. content: its bytes, or what writes them to a file.

    Raises DataError, with the system's own reason, when the file cannot be written: a missing
    folder, no permission, a full disk. Whatever stood at `path` before then still stands there,
    and nothing else is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # also when interrupted: what was begun is taken away
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise DataError(f"cannot write {path}: {error.strerror or error}") from error
        raise
    return path
