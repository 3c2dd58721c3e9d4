"""The command that made a report, as the report says it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command(call: str, secret: str | None = None) -> str:
    """The command line of this process, or, where it is not ramgru's, the `call` from Python.

    secret: an argument that is not for readers; shown as "…"
    """
    program, rest = Path(sys.argv[0]), sys.argv[1:]
    if secret:
        rest = [argument.replace(secret, "…") for argument in rest]
        call = call.replace(secret, "…")
    if program.name == "ramgru":
        return shlex.join(["ramgru", *rest])
    if program.name == "__main__.py" and program.parent.name == "ramgru":
        return shlex.join(["python", "-m", "ramgru", *rest])
    return call
