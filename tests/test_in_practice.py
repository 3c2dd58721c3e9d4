"""The programs in examples/ and the command that measures them."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
PROGRAMS = (
    "air_passengers",
    "card_games",
    "duplicates",
    "language_model",
    "log_lines",
    "names_in_code",
    "repeat_previous",
    "upgrade",
)


@pytest.fixture(autouse=True)
def paths(monkeypatch):
    for folder in ("examples", "benchmarks"):
        monkeypatch.syspath_prepend(str(ROOT / folder))


def small_program(name, monkeypatch, steps: int = 2):
    program = importlib.import_module(name)
    small = {
        "STEPS": steps,
        "FIRST": steps,
        "THEN": steps,
        "BATCH": 2,
        "TRAIN": (2, 16),
        "TEST": 2,
        "LARGE": 14,
        "REAL": Path("none"),
    }
    small |= {"TEST": (2, 64)} if name == "duplicates" else {}
    small |= {"FILES": 4, "HELD_OUT": 2} if name == "names_in_code" else {}
    if name == "language_model":
        small |= {"LEARN": 8 * 130 * steps, "HELD_OUT": 8 * 20}
        monkeypatch.setattr(program, "corpus", program.corpus.__wrapped__)
    for module in (program, importlib.import_module("log_lines")):
        for option, value in small.items():
            if hasattr(module, option):
                monkeypatch.setattr(module, option, value)
    return program


@pytest.mark.skipif(shutil.which("bible") is None, reason="needs Debian's bible-kjv")
def test_the_bible_has_its_chapters():
    program = importlib.import_module("language_model")
    chapters = program.chapters()
    assert len(chapters) == 1189
    assert chapters[0].startswith(b"In the beginning God created the heaven and the earth.\n")


def test_a_missing_bible_is_told(monkeypatch):
    program = importlib.import_module("language_model")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install bible-kjv"):
        program.chapters()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("layer", ["ramgru", "gru"])
def test_a_program_trains_and_reports(name, layer, monkeypatch):
    program = small_program(name, monkeypatch)
    found = program.run(layer, 1e-3, seed=0)
    assert found["steps"] == 2
    assert found["loss"] > 0
    assert set(getattr(program, "CHANCE", {})) <= set(found)


def given_again(
    command, monkeypatch, every: int, number: int = signal.SIGTERM, place=torch.nn.utils
) -> int:
    """Stop a command in each so many steps, and give it again until it ends; -> how often.

    place: the module whose clip_grad_norm_ the steps call
    """
    clip, steps, codes = place.clip_grad_norm_, itertools.count(1), []

    def stopping(*given, **more):
        if next(steps) % every == 0:
            signal.raise_signal(number)
        return clip(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(place, "clip_grad_norm_", stopping)
        while True:
            try:
                command()
                break
            except SystemExit as ended:
                codes.append(ended.code)
    assert set(codes) == {128 + number}
    return len(codes)


def in_a_folder(name, run, monkeypatch, folder, **options):
    """A command in a folder, and a list that gets what its runs find, but for the seconds."""
    training, found = importlib.import_module("training"), []
    monkeypatch.chdir(folder)
    given = [f"--{option}={value}" for option, value in options.items()]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])

    def kept(*given, **more):
        found.append({**run(*given, **more), "seconds": 0})
        return {}

    return partial(training.command, "", kept, 1e-2), found


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("layer", ["ramgru", "lstm"])
def test_a_stopped_program_goes_on(name, layer, monkeypatch, tmp_path, capsys):
    program = small_program(name, monkeypatch, 4)
    if name == "upgrade":
        monkeypatch.setattr(program, "trained", program.trained.__wrapped__)
    command, found = in_a_folder(name, program.run, monkeypatch, tmp_path, layer=layer)
    command()
    assert given_again(command, monkeypatch, every=3) == (2 if name == "upgrade" else 1)
    assert found[1] == found[0]
    said = capsys.readouterr().err
    place = Path("runs", "examples", f"{name}-{layer}-0.01-0")
    assert f"interrupted; the same command goes on from {place}" in said
    assert f"going on after step 3 of {place}.1.pt" in said
    assert not [*place.parent.iterdir()]


PROGRAM = """
import random, resume, sys, torch
from training import command, fit

resume.EVERY = 0.0

def run(layer, rate, seed, seconds, wait):
    torch.manual_seed(seed)
    draw = random.Random(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout())

    def loss():
        print("a step", flush=True)
        if wait == "yes":
            sys.stdin.readline()
        return model(torch.tensor([[draw.random() for _ in range(4)]])).square().mean()

    found = fit(model, loss, rate, 30, draw=draw)
    return {**found, "weight": model[0].weight.sum().item(), "drawn": draw.random()}

command("", run, 1e-2, wait=("no", "yes"))
"""


def test_a_killed_program_goes_on(tmp_path, monkeypatch, capsys):
    """After SIGTERM, then after SIGKILL; a file that is broken is told."""
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "examples")}
    monkeypatch.setattr(sys, "argv", ["small.py"])
    runpy.run_path("small.py")
    whole = capsys.readouterr().out.splitlines()

    def run(steps: int, number: int = 0) -> tuple[int, list[str], str]:
        """Send a signal in the step after so many -> exit code, output, messages."""
        process = subprocess.Popen(
            [sys.executable, "small.py", "--wait=yes"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(steps):
            assert process.stdout.readline() == "a step\n"
            process.stdin.write("\n")
            process.stdin.flush()
        if number:
            process.stdout.readline()
            process.send_signal(number)
        out, said = process.communicate("\n" * 40)
        return process.returncode, out.splitlines(), said

    code, _, said = run(5, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    place = Path("runs", "examples", "small-ramgru-0.01-0-yes")
    assert f"interrupted; the same command goes on from {place}" in said
    kept = Path(f"{place}.1.pt")
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + b"?")
    monkeypatch.setattr(sys, "argv", ["small.py", "--wait=yes"])
    with pytest.raises(SystemExit, match="of another program, or broken; remove it"):
        runpy.run_path("small.py")
    kept.write_bytes(content)
    code, _, said = run(7, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert f"going on after step 6 of {kept}" in said
    code, out, said = run(0)
    assert (code, f"going on after step 13 of {kept}" in said) == (0, True)
    assert out[:17] == ["a step"] * 17
    same = [line for line in whole[30:] if not line.startswith("seconds")]
    assert [line for line in out[17:] if not line.startswith("seconds")] == same
    assert not [*place.parent.iterdir()]


@pytest.mark.integrations
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seconds", [None, 0.01])
def test_skorch_trains_for_passes_or_seconds(seconds, monkeypatch):
    pytest.importorskip("skorch")
    pytest.importorskip("sktime")
    vowels = importlib.import_module("japanese_vowels")
    monkeypatch.setattr(vowels, "PASSES", 2)
    found = vowels.run("ramgru" if seconds is None else "lstm", 1e-2, seed=0, seconds=seconds)
    each = -(-270 * 4 // 5 // vowels.BATCH)
    assert found["steps"] == (2 * each if seconds is None else each)
    assert found["right"] > vowels.CHANCE["right"]


@pytest.mark.integrations
@pytest.mark.filterwarnings("ignore")
def test_skorch_goes_on(monkeypatch, tmp_path):
    pytest.importorskip("skorch")
    vowels = importlib.import_module("japanese_vowels")
    numbers = np.random.default_rng(0)
    x = numbers.random((45, vowels.LONGEST, vowels.CHANNELS), np.float32)
    data = {"x": x, "lengths": numbers.integers(7, 30, 45)}, np.arange(45) % vowels.SPEAKERS
    monkeypatch.setattr(vowels, "PASSES", 3)
    monkeypatch.setattr(vowels, "read", lambda part: data)
    command, found = in_a_folder("vowels", vowels.run, monkeypatch, tmp_path)
    command()
    place = importlib.import_module("skorch.callbacks.regularization")
    assert given_again(command, monkeypatch, 4, signal.SIGINT, place) == 2
    assert found[1] == found[0]
    assert not [*Path("runs", "examples").iterdir()]


@pytest.mark.parametrize("cards", [2, 30])
def test_card_games_ask_what_they_say(cards):
    games, draw = importlib.import_module("card_games"), torch.Generator().manual_seed(0)
    (suits,), (answers,) = games.repeat_first(draw, 1, cards)
    assert (answers == suits[0]).all()
    (seen,), (answers,) = games.count_recall(draw, 1, cards)
    counts = [
        (seen[: step + 1, 0] == asked - games.SUITS).sum() for step, (_, asked) in enumerate(seen)
    ]
    assert answers.tolist() == counts
    (suits,), (answers,) = games.autoencode(draw, 1, cards)
    assert answers[cards:].tolist() == suits[:cards, 0].tolist()[::-1]
    assert (answers[:cards] == -1).all()
    (seen,), (answers,) = games.concentration(draw, 1, cards)
    last = dict[int, int]()
    for (place, rank), answer in zip(seen.tolist(), answers.tolist()):
        before = last.get(rank, -1)
        assert answer == (-1 if before == place else before)
        last[rank] = place


@pytest.fixture
def invented_chorales(tmp_path, monkeypatch):
    """chorales.py with random rolls in place of scores."""
    chorales = importlib.import_module("chorales")
    draw = torch.Generator().manual_seed(0)
    rolls = [torch.rand(n, chorales.KEYS, generator=draw) < 0.05 for n in range(70, 80)]
    monkeypatch.setattr(chorales, "ROLLS", tmp_path / "runs" / "chorales.npz")
    monkeypatch.setattr(chorales, "parsed", lambda: rolls)
    chorales.chorales.cache_clear()
    yield chorales
    chorales.chorales.cache_clear()


@pytest.mark.parametrize("layer", ["ramgru", "lstm"])
def test_chorales_are_parsed_once_and_learned(layer, invented_chorales, monkeypatch):
    for option, value in {"STEPS": 2, "BATCH": 2}.items():
        monkeypatch.setattr(invented_chorales, option, value)
    parts = invented_chorales.chorales()
    assert [len(part) for part in parts] == [6, 2, 2]
    assert sorted(len(one) for part in parts for one in part) == [*range(70, 80)]
    invented_chorales.chorales.cache_clear()
    monkeypatch.setattr(invented_chorales, "parsed", None)
    found = invented_chorales.run(layer, 1e-3, seed=0)
    assert found["steps"] == 2
    assert found["loss"] > 0
    assert found["NLL"] > 0


def test_a_roll_tells_what_sounds_as_a_step_begins():
    chorales = importlib.import_module("chorales")
    quarter, triplets = (0.0, 1.0, 60), [(1 + n / 3, 1 / 3, 64 + n) for n in range(3)]
    passing, last = (2.25, 0.25, 72), (2.5, 0.5, 60)
    roll = chorales.roll([quarter, *triplets, passing, last])
    sounding = [(row.nonzero().flatten() + chorales.LOWEST).tolist() for row in roll]
    assert sounding == [[60], [60], [64], [65], [], [60]]


def test_chorales_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(SystemExit, match="pip install music21"):
        importlib.import_module("chorales").parsed()


def test_a_chorale_at_another_pitch_is_the_same():
    same = importlib.import_module("chorales").same
    draw = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 40, 88, generator=draw) < 0.05
    assert same(one, one[:38].roll(5, 1))
    assert not same(one, one[:30])
    assert not same(one, other)


def test_the_likelihood_of_a_step_sees_only_earlier_ones(invented_chorales):
    torch.manual_seed(0)
    model = invented_chorales.Model("gru").eval()
    one = (torch.rand(1, 20, invented_chorales.KEYS) < 0.05).float()
    changed = one.clone()
    changed[:, 10:] = 1 - changed[:, 10:]
    with torch.no_grad():
        logits, others = model(one), model(changed)
    assert torch.equal(logits[:, :11], others[:, :11])
    assert not torch.equal(logits[:, 11:], others[:, 11:])
    rolls = [one[0], one[0, :5]]  # padding costs nothing
    apart = sum(model.cost([roll]).item() for roll in rolls)
    assert model.cost(rolls).item() == pytest.approx(apart, rel=1e-5)
    assert invented_chorales.likelihood(model, rolls) == pytest.approx(apart / 25, rel=1e-5)


NEEDED = {
    "compress": ["constriction"],
    "japanese_vowels": ["skorch", "sktime"],
    "torchrl_repeat_previous": ["torchrl"],
}


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("name", [*PROGRAMS, "chorales", *NEEDED])
def test_a_program_explains_itself(name, monkeypatch, capsys):
    for library in NEEDED.get(name, ()):
        pytest.importorskip(library)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert not ended.value.code
    assert f"usage: {name}.py" in capsys.readouterr().out


def test_peers_have_as_many_parameters():
    training, ramgru = (importlib.import_module(name) for name in ("training", "ramgru"))
    memory = ramgru.Memory(heads="key lag", cells=64)

    def size(layer: str) -> int:
        rnn = training.recurrent(layer, 8, 16, memory, outputs=10)
        return training.parameters(rnn) + rnn.hidden_size * 10

    for layer in ("gru", "lstm"):
        assert 1 <= size(layer) / size("ramgru") < 1.15


def test_area_under_the_curve():
    area = importlib.import_module("duplicates").area
    repeated = torch.tensor([1.0, 0, 1, 0, 0, 1])
    scores = torch.tensor([0.9, 0.1, 0.5, 0.7, 0.2, 0.8])
    pairs = [a > b for a in scores[repeated > 0] for b in scores[repeated == 0]]
    assert area(scores, repeated) == pytest.approx(sum(pairs) / len(pairs))


def test_repeated_lines_repeat():
    duplicates = importlib.import_module("duplicates")
    vectors, repeated = duplicates.streams(random.Random(0), 2, 50, edited=0.0)
    for row, again in zip(vectors, repeated):
        for t in range(50):
            nearest = (row[:t] @ row[t]).max() if t else torch.tensor(0.0)
            assert (nearest > 1 - 1e-5) == bool(again[t])


def test_a_known_version_was_told_before():
    log_lines = importlib.import_module("log_lines")
    words, known = log_lines.log(random.Random(0), 12)
    assert any(known)
    for t, word in enumerate(words):  # in an invented log, no two packages have one version
        assert known[t] == (word >= log_lines.FIRST_VERSION and word in words[:t])


def test_a_real_log_is_read_in_pieces(tmp_path, monkeypatch):
    log_lines = importlib.import_module("log_lines")
    path = tmp_path / "dpkg.log"
    lines = [
        "2026-01-01 10:00:00 startup archives unpack",
        "2026-01-01 10:00:00 install ant:all <none> 1.0-2",
        "2026-01-01 10:00:01 install bee:all <none> 1.0-2",
        "2026-01-01 10:00:01 status unpacked ant:all 1.0-2",
        "2026-01-01 10:00:02 status installed ant:all 1.0-2",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(log_lines, "REAL", path)
    monkeypatch.setattr(log_lines, "PIECE", 15)
    (words, known), *more = log_lines.real_log(random.Random(0))
    assert not more  # the last piece is too short
    assert words[4] == words[9] == words[14] >= log_lines.FIRST_VERSION
    assert [t for t, one in enumerate(known) if one] == [14]  # bee's is told for the first time
    monkeypatch.setattr(log_lines, "REAL", tmp_path / "none")
    assert log_lines.real_log(random.Random(0)) == []


def test_the_answer_is_the_suit_of_k_cards_ago():
    repeat_previous = importlib.import_module("repeat_previous")
    suits, wanted = repeat_previous.episodes(torch.Generator().manual_seed(0), 3, (2, 32))
    assert suits.shape == (3, 104)
    assert torch.equal(wanted[:, 32:], suits[:, :-32])
    assert (wanted[:, :32] == -1).all()
    assert torch.equal(suits.flatten().bincount(), torch.full((4,), 3 * 26))


def test_a_forecast_of_the_truth_has_no_error():
    air = importlib.import_module("air_passengers")
    assert len(air.PASSENGERS) == 144
    assert air.error(air.PASSENGERS[120:132], 120) == 0
    assert air.CHANCE["error, %"] < 10  # the trivial method is a good one


def test_results_are_kept_and_not_measured_again(tmp_path, monkeypatch):
    in_practice = importlib.import_module("in_practice")
    calls = []

    def run(layer, rate, seed, seconds=None):
        calls.append((layer, rate, seed, seconds))
        loss = abs(rate - 1e-2) + seed
        return {"parameters": 10, "steps": 5, "seconds": 2.0 + seed, "loss": loss, "right": 0.5}

    program = in_practice.PROGRAMS["repeat_previous_hard"]
    monkeypatch.setattr(type(program), "run", lambda self: run)
    command = ["in_practice.py", program.name, f"--docs={tmp_path}", "--seeds"]
    for seeds in (["0"], ["0", "1"]):
        monkeypatch.setattr(sys, "argv", [*command, *seeds])
        in_practice.main()
    rates = program.rates
    assert calls[: len(rates)] == [("ramgru", rate, 0, None) for rate in rates]
    assert calls[len(rates)] == ("gru", rates[0], 0, 2.0)  # our seconds at the chosen rate
    # All rates on the first seed, then one more seed at the best rate.
    assert len(calls) == len(set(calls)) == 3 * (len(rates) + 1)
    stored = json.loads((tmp_path / "in_practice.json").read_text(encoding="utf-8"))
    assert set(stored[program.name]["lstm"]["0.01"]) == {"0", "1"}
    written = (tmp_path / "in_practice.md").read_text(encoding="utf-8")
    assert "| right | 50.0 %" in written
    assert "≥ 95.0 %: not met" in written


def test_bars_are_told_as_met_or_not():
    programs, page = (importlib.import_module(f"in_practice_{n}") for n in ("programs", "page"))
    low = programs.Value("bits", 1.5, 0.9, low=True)
    means = {"ramgru": 1.81, "gru": 2.0}
    assert page.bars(low, means) == ["≤ 1.500: not met", "≤ 0.9 × nn.GRU's 2.000: not met"]
    assert page.bars(low, means | {"ramgru": 1.79})[1] == "≤ 0.9 × nn.GRU's 2.000: met"
    assert page.bars(low, {"ramgru": 1.0}) == ["≤ 1.500: met", "nn.GRU: not measured"]
    assert page.bars(low, {}) == page.bars(programs.Value("bits"), means) == []
    same, both = {"ramgru": 0.5, "gru": 0.5, "lstm": 0.2}, ("gru", "lstm")
    better = programs.Value("right", factor=1.0, peers=both, share=True)
    assert page.bars(better, same) == ["> nn.GRU's 50.0 %: not met", "> nn.LSTM's 20.0 %: met"]
    as_good = programs.Value("right", factor=1.0, equal=True, share=True)
    assert page.bars(as_good, same) == ["≥ nn.GRU's 50.0 %: met"]
    half_more = programs.Value("right", factor=1.5, share=True)
    assert page.bars(half_more, same) == ["≥ 1.5 × nn.GRU's 50.0 %: not met"]


def test_every_program_has_a_bar():
    programs = importlib.import_module("in_practice_programs")
    without = [
        name
        for name, program in programs.PROGRAMS.items()
        if not any(v.bar is not None or v.factor is not None for v in program.values)
    ]
    assert not without
