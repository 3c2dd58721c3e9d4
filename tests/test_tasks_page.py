"""docs/tasks.md is what its script prints, and the numbers in it name what they are of."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from ramgru.lab import tasks


@pytest.fixture(scope="module")
def script():
    """The script as a module; what importing it changes is undone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield importlib.import_module("tasks_page")
    for name in ("tasks_page", "pages"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def page(script):
    return script.page()


def test_page_is_as_the_script_prints_it(script, page):
    written = script.PAGE.read_text(encoding="utf-8")
    assert written == page, "run `python benchmarks/tasks_page.py`"


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_is_there_with_its_example(page, name):
    text = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
    task = tasks.get(name)
    assert re.search(r"```text\n[^`]*\blabels ", text)
    assert all(f"| `{size}` |" in text for size in task.options())
    for axis, size in task.grid()[-1].axes.items():
        assert axis in text
        assert f"{size:,}" in text


def test_published_numbers_are_shown_beside_their_source(script, page):
    data = json.loads(script.PUBLISHED.read_text(encoding="utf-8"))
    for number in data["numbers"]:
        source = f"{data['sources'][number['source']]}, {number['where']}"
        shown = [number[column] for column in ("model", "setting", "value")]
        assert f"| {' | '.join([*shown, source])} |" in page


@pytest.mark.parametrize("kind", ["task", "source"])
def test_unknown_names_are_refused(script, tmp_path, kind):
    number = {"task": "mqar", "source": "a", "where": "", "model": "", "setting": "", "value": ""}
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"sources": {"a": "A"}, "numbers": [{**number, kind: "b"}]}))
    with pytest.raises(ValueError, match=rf"published.json: {kind} must be one of .*, got 'b'"):
        script.published(path)
