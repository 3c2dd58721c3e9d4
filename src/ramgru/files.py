"""Files that are whole or not there, read with bounds and with a digest of their content.

A file is written under a temporary name, synced, then moved into place. A digest inside the file
shows every changed bit to its reader; a file without a digest, from elsewhere, is read without one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ramgru.errors import RamgruError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JSON_MOST = 64 << 20  # bytes of a JSON file: far more than any that ramgru writes
HEADER_MOST = 100 << 20  # bytes of the header of a safetensors file, as its library has it

DIGEST = "sha256"  # the member of a JSON object that holds the digest of the others
UNSEALED = "sha256:" + "0" * 64  # stands in a header until `sealed` puts the digest in its place
_SEAL = re.compile(rb"sha256:(.{64})", re.DOTALL)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write(path: str | Path, content: bytes | str | Callable[[BinaryIO], None]) -> Path:
    """Write a file atomically. content: the bytes, the text, or a function that writes the file.

    A symbolic link is followed. Temporary files that killed writers of this file have left are
    removed. Raises RamgruError with the system's reason if the file cannot be written (no such
    folder, no permission, a full disk). A former file at `path` is then untouched.
    """
    path = Path(path)
    target = path.resolve() if path.is_symlink() else path
    temporary: Path | None = None
    try:
        former = target.stat() if target.exists() else None
        if former is not None and not stat.S_ISREG(former.st_mode):
            raise OSError(errno.EINVAL, "expected a regular file or a new name")
        sweep(target.parent, target.name)
        temporary, file = _temporary(target)
        with file:
            if former is not None:
                with contextlib.suppress(OSError):
                    os.chmod(temporary, stat.S_IMODE(former.st_mode))
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except BaseException as error:  # on an interrupt, too: remove the temporary file
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            kept = "; the former file is untouched" if path.exists() else ""
            reason = error.strerror or error
            raise RamgruError(f"cannot write {path}: {reason}{kept}") from error
        raise
    return path


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `target`, locked as long as it is open: `sweep` leaves it alone."""
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        file = open(path, "xb")  # noqa: SIM115 - the caller closes it
        with contextlib.suppress(BlockingIOError):
            lock(file.fileno())
            if path.exists():
                return path, file
        file.close()  # a sweep came between the two lines above


def sweep(folder: Path, name: str = "") -> None:
    """Remove the temporary files, of the file `name` or of all, whose writers were killed."""
    for path in folder.glob(".*.tmp"):
        if not is_temporary(path) or (name and path.name[1:-13] != name):
            continue
        # Errors: its writer lives, or another sweep was faster.
        with contextlib.suppress(OSError), open_regular(path) as file:
            if lock(file.fileno()):
                path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether `write` gives such names to files that are not finished."""
    return _TEMPORARY.fullmatch(path.name) is not None and not path.is_symlink()


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; -> whether its file system has locks.

    Raises BlockingIOError if another process holds the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read it. Raises OSError, also for a pipe or a device, which may never end."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise OSError(code, f"expected a regular file, got {kind}", str(path))
    return os.fdopen(descriptor, "rb")


def read(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file. Raises OSError, also if there are more than `most`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            content = file.read(most + 1)
            size = len(content)
        if size > most:
            raise OSError(errno.EFBIG, f"expected at most {most:,} bytes, got {size:,}", str(path))
    return content


def read_json(path: str | Path, most: int = JSON_MOST, *, with_digest: bool = False) -> Any:
    """The value in a JSON file, without its digest.

    with_digest: refuse a file without one, which a changed bit in its name hides
    Raises OSError as `read` does; ValueError if it is not JSON, or if its digest differs.
    """
    values = parse_json(read(path, most).decode("utf-8"))
    if with_digest and not (isinstance(values, dict) and DIGEST in values):
        raise ValueError("it has no digest")
    return unsealed(values)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also if it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: str | Path, content: Any, *, with_digest: bool = False) -> Path:
    """Write indented JSON atomically. NaN and infinity, which JSON lacks, raise ValueError.

    with_digest: of a dict, which gets it as one more member; `read_json` checks and removes it
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    if with_digest:
        text = json.dumps(sealed_json(json.loads(text)), indent=2, ensure_ascii=False)
    return write(path, text + "\n")


def sealed_json(values: dict[str, Any]) -> dict[str, Any]:
    """JSON values as they are read back, and their digest."""
    return {**values, DIGEST: digest(values)}


def digest(values: Any) -> str:
    """SHA-256 of JSON values, whatever the order and the layout of their text."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def unsealed(values: Any) -> Any:
    """The inverse of `sealed_json`; other values stay as they are. ValueError if they differ."""
    if not isinstance(values, dict) or DIGEST not in values:
        return values
    rest = {name: value for name, value in values.items() if name != DIGEST}
    if values[DIGEST] != digest(rest):
        raise ValueError(
            "its content is not what was written: the digest differs (if you changed it yourself, "
            f"remove the entry {DIGEST!r})"
        )
    return rest


def sealed(content: bytes) -> bytes:
    """A file that holds UNSEALED, with the file's digest in place of its first occurrence."""
    place = content.index(UNSEALED.encode())
    found = hashlib.sha256(content).hexdigest().encode()
    start = place + len(UNSEALED) - len(found)
    return b"".join((content[:start], found, content[start + len(found) :]))


def check_sealed(content: bytes) -> None:
    """Raise ValueError if the bytes of a file are not those that `sealed` made."""
    found = _SEAL.search(content)
    if found is not None:
        plain = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
        _compare(hashlib.sha256(plain), found[1])


def check_seal(path: str | Path) -> None:
    """Raise ValueError if a safetensors file is not what `sealed` made; OSError as `read` does."""
    with open_regular(path) as file:
        size = file.read(8)
        header = file.read(min(int.from_bytes(size, "little"), HEADER_MOST))
        found = _SEAL.search(header)
        if found is None:
            return
        plain = header[: found.start(1)] + b"0" * 64 + header[found.end(1) :]
        total = hashlib.sha256(size + plain)
        while block := file.read(1 << 20):
            total.update(block)
    _compare(total, found[1])


def _compare(total: Any, found: bytes) -> None:
    if total.hexdigest().encode() != found:
        raise ValueError("its content is not what was written: the digest differs")


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
