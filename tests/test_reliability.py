"""benchmarks/reliability.py at sizes that take seconds; `flips` is in tests/lab/train."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

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


def test_readers_of_random_files(parts, tmp_path):
    found = outcomes(parts["readers"].prepare(tmp_path), range(120))
    assert found["refused"] > 40


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
