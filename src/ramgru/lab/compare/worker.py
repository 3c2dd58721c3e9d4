"""A process that works off jobs, one after the other: a JSON line asks (work.py), one answers: what
came of it, {"error": "…"} or {"interrupted": "…"}.

It ends when its standard input does, which is also when the process that asks is killed: a run
that is being trained is then saved at the end of its step, so that nobody writes it twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any

from ramgru.errors import RamgruError
from ramgru.lab.compare import runs, work


def answer(line: str) -> dict[str, Any]:
    """What is said to one line that asks."""
    job = json.loads(line)
    try:
        return work.do(job)
    except runs.Interrupted as error:
        return {"interrupted": str(error)}
    except Exception as error:  # one point that fails must not end the others
        if not isinstance(error, RamgruError | ValueError):
            traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer lines until there are no more, or until a run is interrupted."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print is no answer
        while (line := lines.get()) is not None:
            said = answer(line)
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(said), file=out, flush=True)
            if "interrupted" in said:
                break


def _listen(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    os.kill(os.getpid(), signal.SIGTERM)  # a run that is being trained takes it as a wish to stop


if __name__ == "__main__":
    main()
