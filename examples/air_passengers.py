"""A season that a layer must count back to: monthly airline passengers (Box and Jenkins, 1949 to
1960).

The layer reads the logarithm of one month after the other and forecasts the next; later months are
forecast from forecasts. It sees no calendar: what came twelve months ago has to be remembered. The
years before 1958 are for training, and each of the last three is forecast from all that came before
it. A lag head learns how many months to look back.

    python examples/air_passengers.py                # train, then the error of the forecasts
    python examples/air_passengers.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

MONTHS = """
112 118 132 129 121 135 148 148 136 119 104 118  115 126 141 135 125 149 170 170 158 133 114 140
145 150 178 163 172 178 199 199 184 162 146 166  171 180 193 181 183 218 230 242 209 191 172 194
196 196 236 235 229 243 264 272 237 211 180 201  204 188 235 227 234 264 302 293 259 229 203 229
242 233 267 269 270 315 364 347 312 274 237 278  284 277 317 313 318 374 413 405 355 306 271 306
315 301 356 348 355 422 465 467 404 347 305 336  340 318 362 348 363 435 491 505 404 359 310 337
360 342 406 396 420 472 548 559 463 407 362 405  417 391 419 461 472 535 622 606 508 461 390 432
"""
PASSENGERS = torch.tensor([float(value) for value in MONTHS.split()])  # thousands
YEAR, TRAINED = 12, 108
RATE, STEPS, BATCH, CUT = 1e-2, 300, 16, 36
MEMORY = Memory(heads="lag lag", cells=32, tag=0)


def prepared(series: Tensor) -> tuple[Tensor, float, float]:
    """-> changes of the logarithm from month to month, in units of their deviation over the years
    of training; their mean and deviation."""
    change = series.log().diff()
    mean, deviation = float(change[: TRAINED - 1].mean()), float(change[: TRAINED - 1].std())
    return (change - mean) / deviation, mean, deviation


def seasonal_naive(origin: int) -> Tensor:
    """The last year before `origin`, raised by its growth: the method to beat."""
    last, before = PASSENGERS[origin - YEAR : origin], PASSENGERS[origin - 2 * YEAR : origin - YEAR]
    return last * (last.sum() / before.sum())


def error(forecast: Tensor, origin: int) -> float:
    """Mean absolute percentage error of a year."""
    truth = PASSENGERS[origin : origin + YEAR]
    return float(((forecast - truth) / truth).abs().mean()) * 100


ORIGINS = (108, 120, 132)
CHANCE = {"error, %": sum(error(seasonal_naive(origin), origin) for origin in ORIGINS) / 3}


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    rnn = recurrent(layer, 1, 16, MEMORY, outputs=1)
    model: Any = nn.ModuleDict({"rnn": rnn, "head": nn.Linear(rnn.hidden_size, 1)})
    changes, mean, deviation = prepared(PASSENGERS)
    held = TRAINED - 1 - YEAR  # the last year of training tells the rate: its loss is held out

    def predictions(x: Tensor) -> Tensor:
        """(B, T) changes -> the next ones, (B, T)"""
        return model["head"](model["rnn"](x.unsqueeze(-1))[0]).squeeze(-1)

    def loss() -> Tensor:
        start = torch.randint(held - CUT, (BATCH, 1), generator=draw)
        piece = changes[start + torch.arange(CUT + 1)]
        # The first year of a piece is for looking back to.
        return (predictions(piece[:, :-1]) - piece[:, 1:])[:, YEAR:].square().mean()

    cost = fit(model, loss, rate, STEPS, seconds, draw=draw)
    with torch.no_grad():
        known = changes[: TRAINED - 1].unsqueeze(0)
        missed = (predictions(known[:, :-1]) - known[:, 1:])[0, -YEAR:].square().mean()
        errors = []
        for origin in ORIGINS:
            seen = changes[: origin - 1]
            for _ in range(YEAR):
                seen = torch.cat([seen, predictions(seen.unsqueeze(0))[0, -1:]])
            forecast = (seen[-YEAR:] * deviation + mean).cumsum(0).exp() * PASSENGERS[origin - 1]
            errors.append(error(forecast, origin))
    return {**cost, "loss": missed.item(), "error, %": sum(errors) / len(errors)}


if __name__ == "__main__":
    command(__doc__, run, RATE)
    print(f"last year's months, raised by a year's growth: {CHANCE['error, %']:.4g}")
