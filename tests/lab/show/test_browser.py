"""The pages in a browser: pointer, keys, slider, narrow and wide windows, light and dark."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from ramgru.config import Memory
from ramgru.lab import tasks
from ramgru.lab.compare.compare import compare
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.evaluate import Effort
from ramgru.lab.show.inspect import InspectConfig, inspect
from ramgru.lab.train import ModelConfig, TrainConfig, train

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (360, 800, 1600)
NAMES = ("tokens", "text", "forecast", "class", "report")
MODEL = ModelConfig(d_model=8, num_layers=1, memory=Memory(cells=64, heads="key lag tape"))


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium: set CHROMIUM to its path")
    with sync.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    """{name: page}: of tokens beside an nn.GRU, of a text, of series, and the report of a
    comparison."""
    root = tmp_path_factory.mktemp("pages")
    (root / "t.txt").write_text("".join(f"user {n % 7} error {n * 37 % 100}\n" for n in range(12)))
    rows = [f"{n},{10 * (n % 7) + n / 8:g},{'low' if n % 7 < 4 else 'high'}" for n in range(120)]
    (root / "t.csv").write_text("\n".join(["month,sales,kind", *rows]))
    mqar = tasks.get("mqar", vocab_size=32, pairs=4, length=32)
    table = tasks.get("table", path=str(root / "t.csv"), target="sales", skip="kind", horizon=2)
    sources = {
        "tokens": mqar,
        "text": tasks.get("text", path=str(root / "t.txt"), length=16),
        "forecast": table,
        "class": table.resized(target="kind", skip="", predict="class", horizon=1, fit=""),
    }
    threads, found = torch.get_num_threads(), {}
    options = {"steps": 4, "batch_size": 4, "evaluate_examples": 4, "threads": 1, "device": "cpu"}
    config = TrainConfig(task=mqar, model=MODEL, **options)
    gru = replace(MODEL, layer="gru")
    for name in ("tokens", "forecast"):
        train(replace(config, task=sources[name], model=gru, out=root / f"gru-{name}"), quiet=True)
    for name, task in sources.items():
        train(replace(config, task=task, out=root / name), quiet=True)
        file = {"text": root / "t.txt", "forecast": root / "t.csv"}.get(name)
        found[name] = inspect(InspectConfig(root / name, file=file), quiet=True)
    effort = Effort(questions=8, examples=2, max_length=64)
    few = {"steps": 2, "batch_size": 4, "equal": "nothing", "effort": effort, "threads": 1}
    layers = ("ramgru", "gru")
    compared = CompareConfig(task=mqar, model=MODEL, layers=layers, out=root / "compare", **few)
    found["report"] = compare(compared, quiet=True)
    torch.set_num_threads(threads)
    return found


@pytest.fixture
def opened(browser, pages):
    """opened(name): a tab with a page, 800 pixels wide; a fault of its scripts, or a request for
    anything but the page, fails the test."""
    faults: list[str] = []
    contexts = []

    def opened(name):
        size = {"width": 800, "height": 900}
        context = browser.new_context(viewport=size, reduced_motion="reduce")
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(5000)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        tab.on("request", lambda r: faults.append(r.url) if not r.url.startswith("file:") else None)
        tab.goto(pages[name].as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def story(tab):
    return json.loads(tab.locator('script[type="application/json"]').text_content())


def heading(tab):
    return tab.locator(".panel h3").text_content()


# Boxes of the same kind that lie on each other by more than a pixel.
OVERLAPS = """selector => {
  const boxes = [...document.querySelectorAll(selector)].map((e) => e.getBoundingClientRect());
  const shown = boxes.filter((b) => b.width && b.height);
  return shown.flatMap((a, i) => shown.slice(i + 1).filter((b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)).length;
}"""


@pytest.mark.parametrize("name", NAMES)
def test_pages_fit_narrow_and_wide_windows(opened, name):
    """No part lies on another one of its kind; there are no answers in a report."""
    tab = opened(name)
    for width, scheme in zip(WIDTHS, ("light", "dark", "light")):
        tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_function(
            "() => new Promise((done) => requestAnimationFrame(() => done(true)))"
        )
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        for selector in ("[data-answer]", ".weight", ".reading:not(.crowded) small", "td, th"):
            assert tab.evaluate(OVERLAPS, selector) == 0, (width, selector)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_keys_go_from_answer_to_answer(opened, name):
    tab = opened(name)
    told = story(tab)
    answers, end = tab.locator("[data-answer]"), len(told["steps"]) - 1
    assert answers.count() == end + 1

    def asks(n):
        step = told["steps"][n]
        token = told["tokens"][step]
        return {
            "tokens": f"Step {step} asks “{token}”",
            "text": f"After step {step}, “{token}”",
        }.get(name, f"Step {step}: {token}")

    def focused():
        assert tab.locator('[data-answer][tabindex="0"]').count() == 1
        return int(tab.evaluate("document.activeElement.dataset.answer"))

    tab.locator('[data-answer][tabindex="0"]').focus()
    for key, n in (("Home", 0), ("ArrowRight", 1), ("End", end), ("ArrowLeft", end - 1)):
        tab.keyboard.press(key)
        assert (focused(), heading(tab)) == (n, asks(n))
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowDown")
    below = focused()
    assert (below > 0) == (name in ("tokens", "text"))  # a series is one line
    tab.keyboard.press("ArrowUp")
    assert focused() == 0
    tab.keyboard.press("Enter")  # holds it
    assert answers.nth(0).get_attribute("aria-pressed") == "true"
    answers.nth(end).hover()
    assert heading(tab) == asks(0)
    tab.keyboard.press("Escape")
    assert answers.nth(0).get_attribute("aria-pressed") == "false"
    answers.nth(1).hover()
    assert heading(tab) == asks(1)
    answers.nth(1).click()
    assert answers.nth(1).get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("name", NAMES[:-1])
def test_slider_and_play_show_earlier_moments(opened, name):
    tab = opened(name)
    told = story(tab)
    slider, score = tab.locator('[data-part="moment"]'), tab.locator('[data-part="score"]')
    slider.focus()
    tab.keyboard.press("Home")
    assert score.text_content().startswith("Untrained: RAM-GRU")
    assert slider.get_attribute("aria-valuetext") == "Untrained"
    labels = [a.get_attribute("aria-label") for a in tab.locator("[data-answer]").all()[:8]]
    for label, said in zip(labels, told["moments"][0]["said"]):
        assert f": answered {said}" in label
    tab.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "After 1 of 4 steps"
    play = tab.locator('[data-part="play"]')
    play.focus()
    tab.keyboard.press("Enter")
    assert play.text_content() == "■ Stop"
    tab.wait_for_function("document.querySelector('[data-part=moment]').value === '2'")
    tab.keyboard.press("Enter")
    assert play.text_content() == "▶ Play"
    tab.locator('[data-part="head"]').select_option("1")
    assert told["heads"][1]["about"] in tab.locator(".panel p").first.text_content()
    assert tab.locator("canvas").get_attribute("aria-label").startswith("Map of the memory. ")


@pytest.mark.parametrize("name", NAMES[:-1])
def test_arcs_lead_to_the_largest_writes(opened, name):
    """They fly, unless the reader wants no motion."""
    tab = opened(name)
    seen = story(tab)["moments"][-1]["seen"][0]["from"]
    n = max(range(len(seen)), key=lambda n: len(seen[n]))
    tab.locator("[data-answer]").nth(n).hover()
    sources = seen[n]
    assert sources
    assert tab.locator(".arc").count() == min(4, len(sources) // 2)
    items = tab.locator(".panel li").all_text_contents()
    assert len(items) == len(sources) // 2
    assert items[0].startswith(f"step {sources[0]}")
    assert f"weight {sources[1]:.3f}" in items[0]
    for motion, animation in (("reduce", "none"), ("no-preference", "fly")):
        tab.emulate_media(reduced_motion=motion)
        best = tab.locator(".arc.best").evaluate("e => getComputedStyle(e).animationName")
        assert best == animation


def test_numbers_are_shown_with_their_errors(opened):
    tab = opened("forecast")
    told = story(tab)
    last, scale = told["moments"][-1], told["numbers"]
    known = [error for error in last["error"] if error is not None]
    assert len(known) == 119
    score = tab.locator('[data-part="score"]').text_content()
    assert f"of the spread of sales ({scale['spread']:.5g})" in score
    assert "fully trained nn.GRU of" in score
    tab.locator("[data-answer]").nth(100).hover()
    cells = tab.locator(".panel td").all_text_contents()
    assert cells[0] == last["said"][100]
    assert cells[1].startswith("error ")
    assert told["right"][100] in cells
    bars = tab.locator('[data-mark="number"] .token')
    heights = bars.evaluate_all("all => all.map((e) => e.getBoundingClientRect().height)")
    shares = [min(error / scale["spread"], 1) for error in known]
    assert heights == pytest.approx([2 + 2.6 * 16 * share for share in shares], abs=0.5)
    assert tab.locator(".dots").get_attribute("d").count("M") == 120
    assert "✓" not in tab.locator(".live").text_content()
