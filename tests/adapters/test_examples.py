"""The programs of examples/ that use other libraries run, and reach what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"

# The library, and what the result has to be above.
PROGRAMS = {
    "huggingface_lookup": ("transformers", 0.5),
    "lightning_copy": ("lightning", 0.9),
    "hub_mixin": ("huggingface_hub", 0.5),
    "skorch_search": ("skorch", 0.8),
    "torchrl_repeat": ("torchrl", 0.9),
    "skrl_repeat": ("skrl", 0.9),
    "sktime_series": ("sktime", 0.6),
}
# Mean absolute errors, which have to be below those of a forecast without a model.
FORECASTS = {"neuralforecast_air": ("neuralforecast", 47.0), "darts_season": ("darts", 0.7)}


def run(program: str) -> float:
    return runpy.run_path(str(EXAMPLES / f"{program}.py"))["main"]()


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(program, capsys):
    library, least = PROGRAMS[program]
    pytest.importorskip(library)
    assert run(program) > least
    assert capsys.readouterr().out


@pytest.mark.parametrize("program", FORECASTS)
def test_forecasts(program, capsys):
    library, most = FORECASTS[program]
    pytest.importorskip(library)
    assert run(program) < most
    assert "mean absolute error" in capsys.readouterr().out
