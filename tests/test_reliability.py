"""benchmarks/reliability.py at sizes that take seconds; `flips` is in tests/lab/train."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ramgru import RAMGRU, fast_step, fast_stream

PARTS = ("kills", "flips", "readers", "fuzz", "stream")


@pytest.fixture(scope="module")
def parts():
    """The benchmark's modules by the names of their parts, and `reliability` itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        before = set(sys.modules)
        threads = torch.get_num_threads()
        found = {name: importlib.import_module(f"reliability_{name}") for name in PARTS}
        yield found | {"": importlib.import_module("reliability")}
        torch.set_num_threads(threads)
        for name in set(sys.modules) - before:
            if name.startswith("reliability"):
                del sys.modules[name]


def outcomes(case, seeds) -> Counter[str]:
    found = Counter(case(seed) for seed in seeds)
    assert not [outcome for outcome in found if outcome.startswith("!")], found
    return found


def test_paths_of_random_layers_agree(parts):
    found = outcomes(parts["fuzz"].check, range(1, 13))
    assert found["the same numbers"] > 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_pool_finds_what_one_process_finds(parts, tmp_path):
    found = [parts[""].fresh(), parts[""].fresh()]
    for processes, record in enumerate(found, 1):
        parts[""].go_on("fuzz", record, 20, float("inf"), lambda: None, tmp_path, processes)
        record["seconds"] = 0
    assert found[0] == found[1]
    assert found[0]["cases"] == 20


def test_cases_that_failed_are_tried_again(parts, tmp_path, monkeypatch):
    run, wrong = parts[""], {2, 4}
    part = SimpleNamespace(prepare=lambda folder: lambda s: "!wrong" if s in wrong else "right")
    monkeypatch.setattr(run, "module", lambda name: part)
    record, count = run.fresh(), iter((4, 6, 6))
    shown = []
    for mended in ({2}, {4}, set()):
        run.go_on("any", record, next(count), float("inf"), lambda: None, tmp_path, 1)
        shown.append((record["cases"], sorted(record["failures"]), run.line(record)))
        wrong -= mended
    assert shown == [
        (4, ["2"], "4 cases: 1 failed; 3 right"),
        (6, ["4"], "6 cases: 1 failed; 5 right"),
        (6, [], "6 cases: 6 right"),
    ]


def test_readers_of_random_files(parts, tmp_path):
    found = outcomes(parts["readers"].prepare(tmp_path), range(120))
    assert found["refused"] > 40


def test_each_command_gets_each_signal(parts):
    kills = parts["kills"]
    drawn = Counter(map(kills.drawn, range(kills.CASES)))
    for command in kills.COMMANDS:
        assert drawn[command, signal.SIGKILL] == 100
        assert drawn[command, signal.SIGTERM] == drawn[command, signal.SIGINT] == 33
    times = [kills.moment(seed, 10.0) for seed in range(kills.CASES)]
    assert max(times[: kills.FIRST]) > 9.5 > max(times[kills.FIRST :])


def test_changed_bits_of_a_comparison(parts, tmp_path):
    found = outcomes(parts["flips"].cases(parts["flips"].of_a_comparison(tmp_path)), range(60))
    assert found["refused"] > 50


def forgets_cells_only(parts, state, reset, whole=fast_step.begin_anew):
    return replace(whole(parts, state, reset), hidden=state.hidden)


def keeps_cells(parts, state, reset, whole=fast_step.begin_anew):
    after = whole(parts, state.clone(), reset)
    kept = (replace(m, rows=old.rows) for m, old in zip(after.memory, state.memory))
    return replace(after, memory=tuple(kept))


def keeps_positions(parts, state, reset, whole=fast_step.begin_anew):
    after = whole(parts, state, reset)
    kept = (replace(m, carried=old.carried) for m, old in zip(after.memory, state.memory))
    return replace(after, memory=tuple(kept))


def resets_all(parts, state, reset, whole=fast_step.begin_anew):
    return whole(parts, state, torch.ones_like(reset))


@pytest.mark.parametrize("broken", [forgets_cells_only, keeps_cells, keeps_positions, resets_all])
def test_a_stream_shows_a_broken_reset(parts, broken, monkeypatch):
    check, mixed = parts["stream"].check, len(parts["stream"].HEADS) - 1
    assert check(mixed, steps=20).startswith("flat")
    for path in (fast_step, fast_stream):
        monkeypatch.setattr(path, "begin_anew", broken)
    assert check(mixed, steps=20).startswith("!a reset ")


@pytest.mark.parametrize("path", ["step", "forward"])
def test_a_stream_shows_an_ignored_reset(parts, path, monkeypatch):
    whole = getattr(RAMGRU, path)
    monkeypatch.setattr(RAMGRU, path, lambda *args, reset=None: whole(*args))
    assert f"({path}" in parts["stream"].check(0, steps=20)


def test_the_page_goes_on(parts, tmp_path, capsys):
    """From where the last sitting ended; a failure is kept with its seed."""
    main, stream = parts[""].main, parts["stream"]
    asked: list[int] = []

    def prepare(folder):
        def case(seed):
            asked.append(seed)
            if seed == 2:
                raise ValueError("two\nlines")
            return "all well"

        return case

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "prepare", prepare)
        places = ["--docs", str(tmp_path), "--work", str(tmp_path / "work")]
        assert main(["stream", "--count", "2", *places]) == 0
        assert main(["stream", "--count", "4", *places]) == 1
        assert main(["stream", "--seed", "7", *places]) == 0
    assert asked == [0, 1, 2, 3, 7]
    record = json.loads((tmp_path / "reliability.json").read_text())["stream"]
    assert (record["cases"], record["outcomes"]) == (4, {"all well": 3, "failed": 1})
    page = (tmp_path / "reliability.md").read_text()
    assert "- seed 2: ValueError: two lines" in page
    assert "4 cases: 3 all well; 1 failed." in page
    assert page.count("Not yet run.") == 4
    assert "stream 2: ValueError: two lines" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["everything"])
