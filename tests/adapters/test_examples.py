"""The programs of examples/ that use other libraries run, and reach what they say."""

from __future__ import annotations

import importlib
import runpy
import signal
from pathlib import Path

import pytest
import torch

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
# Inside a library, and the percentage error of last year's months.
FORECASTS = {"neuralforecast_air": ("neuralforecast", 9.0), "darts_air": ("darts", 9.0)}


def run(program: str) -> float:
    return runpy.run_path(str(EXAMPLES / f"{program}.py"))["main"]()


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(program, capsys):
    library, least = PROGRAMS[program]
    pytest.importorskip(library)
    assert run(program) > least
    assert capsys.readouterr().out


@pytest.mark.parametrize("way", ["direct", "recurrent"])
@pytest.mark.parametrize("program", FORECASTS)
def test_forecasts(program, way, monkeypatch):
    library, most = FORECASTS[program]
    pytest.importorskip(library)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    found = importlib.import_module(program).run("ramgru", way=way)
    assert 0 < found["error, %"] < most
    assert found["steps"] > 0


@pytest.mark.parametrize("layer", ["gru", "lstm"])
@pytest.mark.parametrize("program", FORECASTS)
def test_peers_forecast_for_as_many_seconds(program, layer, monkeypatch):
    pytest.importorskip(FORECASTS[program][0])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    run = importlib.import_module(program).run
    found, ours = run(layer, seconds=0.3), run("ramgru", seconds=0.1)
    assert 0.3 <= found["seconds"] < 3
    assert found["parameters"] >= ours["parameters"]


@pytest.mark.parametrize("program", FORECASTS)
def test_ctrl_c_ends_a_forecast(program, monkeypatch):
    """The trainer of these libraries would end the process with code 1."""
    pytest.importorskip(FORECASTS[program][0])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    made = importlib.import_module(program)
    monkeypatch.setattr(
        made.Budget, "on_train_batch_end", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            made.run("gru")
    finally:
        signal.signal(signal.SIGINT, before)  # which Lightning sets to ignore


@pytest.fixture
def repeat_previous(monkeypatch):
    pytest.importorskip("torchrl")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("torchrl_repeat_previous")


@pytest.mark.parametrize(("layer", "steps", "least"), [("ramgru", 60, 0.9), ("lstm", 4, -1)])
def test_ppo_trains_and_plays(layer, steps, least, repeat_previous):
    found = repeat_previous.run(layer, steps=steps, task=repeat_previous.EASY)
    assert found["steps"] == steps
    assert least <= found["score"] <= 1
    assert set(repeat_previous.CHANCE) <= set(found)


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_game_earns_one_point_or_costs_one(wrong, repeat_previous):
    decks, k = repeat_previous.MEDIUM
    game = repeat_previous.RepeatPrevious(3, repeat_previous.MEDIUM)
    state, total, seen = game.reset(), 0, []
    while not state["done"].any():
        seen.append(state["suit"].argmax(-1))
        action = (seen[max(0, len(seen) - k)] + wrong) % repeat_previous.SUITS
        state = game.step(state.set("action", action))["next"]
        total += state["reward"]
    assert len(seen) == 52 * decks - 1
    assert torch.allclose(total, torch.full((3, 1), 1.0 - 2 * wrong), atol=1e-5)
