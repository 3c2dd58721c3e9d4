"""The programs in examples/ and the command that measures them."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("layer", ["ramgru", "gru"])
def test_a_program_trains_and_reports(name, layer, monkeypatch):
    program = importlib.import_module(name)
    small = {
        "STEPS": 2,
        "FIRST": 2,
        "THEN": 2,
        "BATCH": 2,
        "TRAIN": (2, 16),
        "TEST": 2,
        "LARGE": 14,
        "REAL": Path("none"),
    }
    small |= {"TEST": (2, 64)} if name == "duplicates" else {}
    small |= {"FILES": 4, "HELD_OUT": 2} if name == "names_in_code" else {}
    small |= {"LEARN": 8 * 260, "HELD_OUT": 8 * 20} if name == "language_model" else {}
    for module in (program, importlib.import_module("log_lines")):
        for option, value in small.items():
            if hasattr(module, option):
                monkeypatch.setattr(module, option, value)
    found = program.run(layer, 1e-3, seed=0)
    assert found["steps"] == 2
    assert found["loss"] > 0
    assert set(getattr(program, "CHANCE", {})) <= set(found)


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


NEEDED = {"compress": ["constriction"], "japanese_vowels": ["skorch", "sktime"]}


@pytest.mark.parametrize("name", [*PROGRAMS, *NEEDED])
def test_a_program_explains_itself(name):
    for library in NEEDED.get(name, ()):
        pytest.importorskip(library)
    command = [sys.executable, ROOT / "examples" / f"{name}.py", "--help"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "usage:" in found.stdout


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


def run_compress(*arguments: object) -> None:
    command = [sys.executable, ROOT / "examples" / "compress.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr


def test_another_process_with_other_threads_decodes_the_same_bytes(tmp_path):
    pytest.importorskip("constriction")
    content = importlib.import_module("compress").library(601)  # no multiple of streams and chunks
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    run_compress(path, "--threads=1")
    path.unlink()
    run_compress("-d", path.with_name("text.txt.ramgru"), "--threads=2")
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"a", bytes(range(256))], ids=["empty", "one", "all"])
def test_any_bytes_come_back(content):
    pytest.importorskip("constriction")
    compress = importlib.import_module("compress")
    assert compress.decompress(compress.compress(content)) == content


def test_a_broken_file_is_refused():
    pytest.importorskip("constriction")
    compress = importlib.import_module("compress")
    packed = compress.compress(b"to be or not to be" * 10)
    for content, message in (
        (packed[:-8] + bytes(4) + packed[-4:], "the file or the computer differs"),
        (packed.replace(b'"torch": "', b'"torch": "0.'), "the same bits need the same software"),
        (b"something else", "no file that compress.py wrote"),
    ):
        with pytest.raises(ValueError, match=message):
            compress.decompress(content)


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
