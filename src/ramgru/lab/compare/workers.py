"""The processes of a study, seen from the one that hands out runs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

GRACE = 60.0  # seconds in which a worker has to finish its step and save
LOG = "workers.log"


class Workers:
    """Worker processes (worker.py), begun when they are needed; within `with`.

    count:   how many runs go on side by side
    threads: CPU threads of each
    folder:  where what they say besides their answers is written
    """

    def __init__(self, count: int, threads: int, folder: Path) -> None:
        self.count, self.threads, self.log = count, threads, folder / LOG
        self._answers: queue.Queue[tuple[subprocess.Popen[str], str]] = queue.Queue()
        self._idle: list[subprocess.Popen[str]] = []
        self._busy: dict[subprocess.Popen[str], int] = {}
        self._listeners: list[threading.Thread] = []

    @property
    def free(self) -> bool:
        """Whether one more run can begin."""
        return len(self._busy) < self.count

    @property
    def busy(self) -> list[int]:
        """The numbers of the runs that go on."""
        return list(self._busy.values())

    def give(self, number: int, job: Mapping[str, Any]) -> None:
        """Let a worker make a run; `answer` will tell of it by this number."""
        worker = self._idle.pop() if self._idle else self._begin()
        self._busy[worker] = number
        assert worker.stdin is not None
        with contextlib.suppress(OSError):  # it is dead: `answer` will say so
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()

    def answer(self, seconds: float) -> tuple[int, dict[str, Any]] | None:
        """The next answer, and the number of its run; None where there was none for so long.

        {"died": "…"} where its process ended without one.
        """
        try:
            worker, line = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None
        number = self._busy.pop(worker, None)
        if number is not None and line:
            self._idle.append(worker)
            said: dict[str, Any] = json.loads(line)
            return number, said
        code = worker.wait()
        _close(worker)
        if number is None:  # it was killed while it had nothing to do
            self._idle.remove(worker)
            return None
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        return number, {"died": f"its process ended {how}; see {self.log}"}

    def _begin(self) -> subprocess.Popen[str]:
        with open(self.log, "a", encoding="utf-8") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**os.environ, "OMP_NUM_THREADS": str(self.threads)},
                start_new_session=True,  # Ctrl-C is for this process, which tells its workers once
            )
        listener = threading.Thread(target=self._listen, args=(worker,), daemon=True)
        listener.start()
        self._listeners.append(listener)
        return worker

    def _listen(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        with worker.stdout:
            for line in worker.stdout:
                self._answers.put((worker, line))
        self._answers.put((worker, ""))

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Tell all of them to stop; those in a run save it first."""
        workers = [*self._idle, *self._busy]
        for worker in workers:
            _close(worker)
        for worker in workers:
            try:
                worker.wait(GRACE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        for listener in self._listeners:
            listener.join()


def _close(worker: subprocess.Popen[str]) -> None:
    """No more lines for this worker, which is how it is told to stop."""
    assert worker.stdin is not None
    with contextlib.suppress(OSError):  # what it was not told any more is of no use
        worker.stdin.close()
