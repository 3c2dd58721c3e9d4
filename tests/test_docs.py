"""The code of every page in docs/ runs, its commands and options exist, and its links resolve."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ramgru.lab.cli.main import COMMANDS
from ramgru.lab.tasks import registry

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
# Pages whose code a test of its own runs.
ELSEWHERE = {"comparing.md", "adapters.md", "your_data.md", "guide/export.md"}


def blocks(page: str, language: str) -> list[str]:
    text = PAGES[page].read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


WITH_CODE = [page for page in PAGES if page not in ELSEWHERE and blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_CODE)
def test_python_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some code writes files
    monkeypatch.setattr(registry, "TASKS", {**registry.TASKS})  # a page registers one
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        try:
            exec(compile(block, page, "exec", dont_inherit=True), names)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "ramgru":
                raise
            pytest.skip(f"needs {error.name}")


def test_the_guides_have_code():
    assert {"tutorial.md", "mathematics.md", "guide/streaming.md"} <= set(WITH_CODE)


def commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if "ramgru" in words[:8]:
                    yield page, words[words.index("ramgru") + 1 :]


def test_commands_and_options_exist():
    """But for the sizes of tasks, which differ from task to task."""
    lines = (ROOT / "tests" / "lab" / "cli" / "options.txt").read_text().splitlines()
    known = {tuple(line.split()) for line in lines}
    free = {"--layer"}
    found = list(commands())
    assert len(found) > 10
    for page, (command, *words) in found:
        assert command in COMMANDS, page
        for word in words:
            option = word.split("=")[0]
            if option.startswith("--") and not option.startswith("--task.") | (option in free):
                assert (command, option) in known, f"{page}: {command} {option}"


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    text = re.sub(r"```.*?```", "", PAGES[page].read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (PAGES[page].parent / file) if file else PAGES[page]
        assert found.exists(), f"{page}: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{page}: {target}"


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.strip().lower()).replace(" ", "-") for t in titles}


def test_the_navigation_names_pages_that_exist():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"([\w/]+\.md)\b", navigation))
    assert "index.md" in named
    assert named <= set(PAGES)
