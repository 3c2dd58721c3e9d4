"""What the forecasts inside other libraries share: the passengers, a budget, and the errors."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from air_passengers import PASSENGERS, YEAR
from lightning.pytorch import Callback

VALUES = PASSENGERS.numpy()  # thousands, a month each
HELD, LAST = len(VALUES) - 2 * YEAR, len(VALUES) - YEAR  # 1959 chooses the rate, 1960 is told


class Budget(Callback):
    """Ends a training after so many seconds of processor time, if any are named."""

    def __init__(self, seconds: float | None) -> None:
        self.limit = seconds
        self.seconds, self.steps = 0.0, 0

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        self._start = time.process_time()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seconds, self.steps = time.process_time() - self._start, trainer.global_step
        if self.limit is not None and self.seconds >= self.limit:
            trainer.should_stop = True

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            raise exception  # to the command, which ends with 128 + n; Lightning would with 1


def quiet(budget: Budget) -> dict[str, Any]:
    """Arguments of Lightning's trainer: one core, no files, no bars."""
    return {
        "accelerator": "cpu",
        "callbacks": [budget],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }


def absolute(forecast: Any, start: int) -> np.ndarray:
    """Errors of a year's months, in thousand passengers."""
    return np.abs(np.asarray(forecast).reshape(-1) - VALUES[start : start + YEAR])


def percent(forecast: Any, start: int) -> float:
    """Mean absolute percentage error."""
    return float((absolute(forecast, start) / VALUES[start : start + YEAR]).mean()) * 100


def scores(held: Any, last: Any, budget: Budget, parameters: int) -> dict[str, float]:
    """What a program returns: its cost, the error that chooses a rate, and those that count."""
    return {
        "parameters": parameters,
        "steps": budget.steps,
        "seconds": round(budget.seconds, 2),
        "loss": percent(held, HELD),
        "error, %": percent(last, LAST),
        "mean absolute error": float(absolute(last, LAST).mean()),
    }


def naive() -> np.ndarray:
    """The last year's months, raised by its growth over the year before."""
    last, before = VALUES[LAST - YEAR : LAST], VALUES[HELD - YEAR : HELD]
    return last * (last.sum() / before.sum())
