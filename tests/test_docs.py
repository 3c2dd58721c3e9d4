"""The code of every page in docs/ runs, so do its commands and the README's; its links resolve.

A command runs with steps and sizes of a test behind its own. Of a comparison, which takes minutes,
the line is read and its models are built. Left out are lines of torchrun, which start processes.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ramgru.lab.cli import compare
from ramgru.lab.cli.main import COMMANDS, main
from ramgru.lab.tasks import registry
from ramgru.lab.train import build_model, layers

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
    """All but the blocks that need a library which is missing here, or a name of such a block."""
    monkeypatch.chdir(tmp_path)  # some code writes files
    monkeypatch.setattr(registry, "TASKS", {**registry.TASKS})  # a page registers one
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "page"}
    lost: set[str] = set()  # names that a block left out would have given
    missing = []
    for block in blocks(page, "python"):
        given, used = names_of(block)
        if used & lost:
            lost |= given
            continue
        try:
            exec(compile(block, page, "exec", dont_inherit=True), names)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "ramgru":
                raise
            missing.append(error.name)
            lost |= given - set(names)
        else:
            lost -= given
    if missing:
        pytest.skip(f"all but the blocks that need {missing}")


def names_of(block: str) -> tuple[set[str], set[str]]:
    """The names that a block binds, and those that it reads."""
    given, used = set(), set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else given).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            given.add(node.name)
        elif isinstance(node, ast.alias):
            given.add((node.asname or node.name).split(".")[0])
    return given, used


def test_a_missing_library_skips_the_blocks_that_need_it_alone(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    texts = ("import no_such_library\nx = 1", "print(x)\ny = 2", "z = y", "ran.append(3)")
    page.write_text("\n".join(f"```python\n{text}\n```" for text in texts))
    monkeypatch.setitem(PAGES, "page.md", page)
    ran: list[int] = []
    monkeypatch.setattr("builtins.ran", ran, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_library"):
        test_python_runs_from_top_to_bottom("page.md", tmp_path, monkeypatch)
    assert ran == [3]


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


MODEL = "--model.d-model 8 --model.num-layers 1 --model.memory.cells 16"
SMALL = {
    "train": f"--steps 2 --batch-size 4 --evaluate-examples 4 --warmup 1 --threads 1 {MODEL}",
    "evaluate": "--effort.questions 8 --effort.examples 2 --effort.max-length 64",
    "generate": "--examples 4",
}
LINES = [
    line.partition("#")[0].strip().replace(" RUN ", " runs/text-ramgru ")
    for path in (ROOT / "README.md", *PAGES.values())
    if path.name != "your_data.md"
    for block in re.findall(
        r"^```bash\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for line in block.splitlines()
    if line.startswith("ramgru ")
]
OWN = """
from torch import nn


class {name}(nn.GRU):
    def __init__(self, d_model):
        super().__init__(d_model, d_model, batch_first=True)
"""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read: a book, a log, and three runs."""
    root = tmp_path_factory.mktemp("laboratory")
    (root / "book.txt").write_text("it was the best of times\n" * 80)
    (root / "my.log").write_text("it is the best\n" * 3)
    (root / "my_module.py").write_text(OWN.format(name="MyLayer"))
    (root / "leaky.py").write_text(OWN.format(name="LeakyAverage"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in ("--text book.txt", "mqar --model.layer lstm", "mqar"):
            assert main(f"train {words} {SMALL['train']}".split()) == 0
        assert main(["generate", "programs", "--examples", "4", "--out", "programs.npz"]) == 0
    return root


@pytest.mark.parametrize("line", dict.fromkeys(LINES))
def test_commands_run(line, laboratory, tmp_path, monkeypatch):
    folder = tmp_path / "laboratory"
    shutil.copytree(laboratory, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    command, *words = shlex.split(line)[1:]
    if command == "compare":
        config = compare.configure(words)
        for task in config.tasks[:1]:
            for layer in config.contenders if config.equal != "state" else ():  # half a minute
                layers.import_own(layer)
                training = config.training(task, layer, config.lr[0], config.seeds[0], 1)
                build_model(training.model, training.task)
    else:
        if command == "generate":
            Path("programs.npz").unlink()
        if command == "train":
            shutil.rmtree("runs")
        assert main([command, *words, *SMALL.get(command, "").split()]) == 0
        assert Path("programs.npz").exists()
        assert any(Path("runs").iterdir())
    for name in ("my_module", "leaky"):
        sys.modules.pop(name, None)


def test_most_commands_of_the_guides_run():
    assert len(LINES) > 15
    assert {shlex.split(line)[1] for line in LINES} >= {"train", "evaluate", "inspect", "compare"}


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


def test_the_start_page_leads_to_every_page_of_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    named = set(re.findall(r"([\w/]+\.md)\b", navigation)) - {"index.md"}
    linked = set(re.findall(r"\]\(([\w/]+\.md)\)", PAGES["index.md"].read_text(encoding="utf-8")))
    assert len(named) > 20
    assert not named - linked
