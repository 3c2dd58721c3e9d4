"""`ramgru runs`: what it lists, what it opens, and what it advises."""

from __future__ import annotations

import os
import shutil
import sys
import webbrowser

import pytest

from ramgru import files
from ramgru.lab.cli import browse, main
from ramgru.lab.cli.runs import ago, entries, find
from ramgru.lab.compare.compare import COMMAND, DATA, REPORT, check_own, compare
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.train.run import CONFIG, LOG, locked
from ramgru.lab.train.status import BROKEN, FINISHED, INTERRUPTED, RUNNING, runs

TINY = "--task.vocab-size 32 --task.pairs 2 --task.length 8 --model.d-model 8 --model.num-layers 1"
SHORT = "--steps 4 --batch-size 4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two runs, the later of which lacks its end, and a comparison."""
    place = tmp_path_factory.mktemp("place")
    before = os.getcwd()
    os.chdir(place)
    try:
        small = f"{TINY} {SHORT} --steps-per-epoch 2 --evaluate-examples 8 --model.layer gru"
        assert main(f"train mqar {small} --out runs/one".split()) == 0
        shutil.copytree("runs/one", "runs/two")
        log = place / "runs" / "two" / LOG
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))  # killed
        few = "--effort.questions 8 --effort.examples 2 --effort.max-length 64 --equal nothing"
        assert main(f"compare mqar {TINY} {SHORT} --layers gru {few}".split()) == 0
    finally:
        os.chdir(before)
    for n, name in enumerate(["one", "two"]):
        os.utime(place / "runs" / name / LOG, (n, n))  # in 1970
    return place


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_runs_have_a_task_a_step_a_score_and_a_state(folder):
    one, two = (next(runs(folder / "runs" / name)) for name in ("one", "two"))
    assert (one.task, one.layer, one.step, one.steps) == ("mqar", "gru", 4, 4)
    assert one.metric == "recall"
    assert 0 <= one.score <= 1
    assert (one.state, two.state) == (FINISHED, INTERRUPTED)
    assert two.score == one.score


def test_a_run_that_is_being_written_is_running(folder):
    with locked(folder / "runs" / "two"):
        assert next(runs(folder / "runs" / "two")).state == RUNNING
    assert next(runs(folder / "runs" / "two")).state == INTERRUPTED


def test_the_list_is_newest_first_and_a_comparison_is_one_row(folder, capsys):
    names = [entry.path.name for entry in entries(folder / "runs")]
    assert names == ["compare-mqar", "two", "one"]
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    rows = {words[1]: words for line in out.splitlines() if len(words := line.split()) > 5}
    assert rows["runs/compare-mqar"][2:8] == ["mqar", "1", "layers", "1/1", "runs", "now"]
    assert rows["runs/compare-mqar"][-1] == FINISHED
    assert rows["runs/two"][:5] == ["2", "runs/two", "mqar", "gru", "4/4"]
    assert rows["runs/two"][-1] == INTERRUPTED
    assert out.endswith("\nnext:\n  ramgru report runs/compare-mqar\n  ramgru runs 1\n")
    assert main(["runs", "--most", "1"]) == 0
    assert "2 older ones are not shown" in capsys.readouterr().out


def test_one_is_found_by_its_number_its_name_or_its_path(folder, capsys):
    for name in ("2", "two", "runs/two"):
        assert find(name, find("1", folder / "runs").path.parent).path.name == "two"
    assert main(["runs", "two"]) == 0
    assert capsys.readouterr().out.endswith("next:\n  ramgru train --resume runs/two\n")


def test_an_interrupted_comparison_goes_on_by_its_command(folder, capsys, tmp_path, monkeypatch):
    """It has no report yet."""
    copy = shutil.copytree(folder / "runs" / "compare-mqar", tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "x"]) == 0
    assert "next:\n  ramgru report x\n" in capsys.readouterr().out
    (copy / DATA).unlink()
    (copy / REPORT).unlink()
    (copy / COMMAND).write_text("ramgru compare mqar --layers gru\n")
    assert main(["runs", "x"]) == 0
    assert capsys.readouterr().out.endswith("next:\n  ramgru compare mqar --layers gru\n")
    # Calls from Python, and another's words, which someone might paste, are not suggested.
    for text in ("ramgru.lab.compare.compare(CompareConfig())", "sh evil.sh ramgru compare"):
        (copy / COMMAND).write_text(text)
        assert main(["runs", "x"]) == 0
        assert "next:" not in capsys.readouterr().out


def test_a_comparison_keeps_its_command_from_the_beginning(tmp_path, monkeypatch):
    config = CompareConfig(layers=("gru",), out=tmp_path / "x")
    monkeypatch.setattr(sys, "argv", ["/bin/ramgru", "compare", "--layers", "gru"])

    def stop(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("ramgru.lab.compare.forecast.text", stop)
    with pytest.raises(KeyboardInterrupt):
        compare(config)
    assert (tmp_path / "x" / COMMAND).read_text() == "ramgru compare --layers gru\n"
    check_own(tmp_path / "x")  # so it may go on


def test_a_page_is_opened_where_there_is_a_display(folder, capsys, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    report = folder / "runs" / "compare-mqar" / "report.html"
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main(["runs", "1"]) == 0  # nor is standard output a terminal
    assert "page: runs/compare-mqar/report.html\n" in capsys.readouterr().out
    assert main(["report", "runs/compare-mqar", "--open"]) == 0
    assert capsys.readouterr().out.endswith("next:\n  ramgru runs runs/compare-mqar\n")
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert browse.open_page(report)
    assert opened == [report.as_uri()]


def test_what_is_no_run_is_passed_over(folder):
    broken = folder / "runs" / "broken"
    broken.mkdir()
    (broken / CONFIG).write_text("{}")
    (broken / LOG).write_text("")
    try:
        assert len(list(runs(folder / "runs"))) == 3
    finally:
        shutil.rmtree(broken)


def test_a_layer_that_is_not_known_here_is_listed(folder, tmp_path):
    one = next(runs(folder / "runs" / "one")).run
    outcome = shutil.copytree(one, tmp_path / "run")
    values = files.read_json(outcome / CONFIG)
    values["model"]["layer"] = "elsewhere:Layer"
    files.write_json(outcome / CONFIG, values, with_digest=True)
    assert next(runs(outcome)).layer == "elsewhere:Layer"
    (outcome / LOG).write_text("no JSON\n")
    assert next(runs(outcome)).state == BROKEN


def test_times_have_the_unit_that_suits_them():
    found = [ago(seconds) for seconds in (5, 100, 7200, 3e6)]
    assert found == ["now", "2 min ago", "2 h ago", "35 d ago"]
