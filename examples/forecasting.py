"""What the forecasts inside other libraries share: the passengers, a budget, and the errors."""

from __future__ import annotations

import time
from typing import Any

import torch
from air_passengers import PASSENGERS, YEAR, error, seasonal_naive
from lightning.pytorch import Callback

HELD, LAST = (
    len(PASSENGERS) - 2 * YEAR,
    len(PASSENGERS) - YEAR,
)  # 1959 chooses the rate, 1960 is told


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


def scores(held: Any, last: Any, budget: Budget, parameters: int) -> dict[str, float]:
    """What a program returns of its forecasts from HELD and from LAST: what they cost, the error
    that chooses a rate, and those that count."""
    chooses, counts = (
        torch.as_tensor(each, dtype=torch.float64).flatten() for each in (held, last)
    )
    return {
        "parameters": parameters,
        "steps": budget.steps,
        "seconds": round(budget.seconds, 2),
        "loss": error(chooses, HELD),
        "error, %": error(counts, LAST),
        "mean absolute error": float((counts - PASSENGERS[LAST:]).abs().mean()),
    }


def report_chance() -> None:
    chance = error(seasonal_naive(LAST), LAST)
    print(f"last year's months, raised by a year's growth: {chance:.4g}")
