import re
from html import unescape
from importlib.resources import files

import pytest

from ramgru.errors import RamgruError
from ramgru.lab.show import machine, memory_plots, plots
from ramgru.lab.show.data import Point, Score
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, facts, render, write
from ramgru.lab.show.svg import inline
from ramgru.lab.show.theme import PAGE, PALETTE

NASTY = "<script>alert('x')</script> & \"quotes\""


@pytest.fixture
def page(lines, memory):
    return Page(
        "A title",
        "The result in one sentence.",
        [
            Section(
                "Table",
                [
                    Table(
                        "Recall",
                        ("layer", "4"),
                        [("ramgru", "99 %\n98 – 100"), ("gru", "1 %")],
                        ["ramgru"],
                    )
                ],
            ),
            Section(
                "Pictures",
                [
                    Picture(plots.recall_against_pairs(lines), "Two lines.", "One is above."),
                    Picture(memory_plots.occupancy(memory), "A map.", "Three cells in use."),
                ],
            ),
            Section(
                "Repeat", [Text("Type:"), Code("ramgru compare mqar"), facts("Machine", {"a": "b"})]
            ),
        ],
        footer="the end",
    )


def test_the_page_is_balanced_and_has_unique_ids(page, parsed):
    read = parsed(render(page))
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 20
    assert read.all("html")[0]["lang"] == "en"
    assert len(read.all("svg")) == len(read.all("figcaption")) == 2
    for phrase in ("A title", "Two lines.", "One is above.", "ramgru compare mqar", "the end"):
        assert phrase in read.words


def test_references_inside_the_page_meet_their_target(page, parsed):
    text = render(page)
    read = parsed(text)
    ids = {attributes.get("id") for _, attributes in read.elements}
    used = [a["href"] for _, a in read.elements if str(a.get("href", "")).startswith("#")]
    assert used
    assert {target[1:] for target in used} <= ids
    labelled = [a["aria-labelledby"] for _, a in read.elements if "aria-labelledby" in a]
    assert set(labelled) <= ids
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids


def test_nothing_is_loaded_from_elsewhere(page, parsed):
    text = render(page)
    read = parsed(text)
    assert not re.search(r"https?:", text)
    assert "@import" not in text
    assert not read.all("script") + read.all("link") + read.all("iframe")
    for _, attributes in read.elements:
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,"))


def test_light_and_dark_are_both_there_and_pictures_follow(page):
    text = render(page)
    assert 'name="color-scheme" content="light dark"' in text
    dark = re.search(r"@media screen and \(prefers-color-scheme: dark\)\{(.*?\})\}", text)
    assert dark is not None
    for index, block in ((0, text[: dark.start()]), (1, dark.group(1))):
        assert f"--page:{PAGE[index]}" in block
        for role, pair in PALETTE.items():
            assert f"--{role}:{pair[index]}" in block
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        assert "stroke: var(--plum, " in svg
        assert "fill: var(--ink, " in svg
        # painted by a variable, or by nothing: no colour that one of the two grounds swallows
        bare = re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg)
        assert bare == []


def _contrast(one: str, other: str) -> float:
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("role", [role for role in PALETTE if role not in ("rule", "edge")])
@pytest.mark.parametrize("index", [0, 1], ids=["light", "dark"])
def test_colors_are_readable_on_the_page(role, index):
    assert _contrast(PALETTE[role][index], PAGE[index]) >= 4.5  # WCAG 2.2, 1.4.3


def test_user_text_is_escaped_everywhere(lines, parsed):
    page = Page(
        NASTY,
        NASTY,
        [
            Section(
                NASTY,
                [
                    Table(NASTY, (NASTY, "x"), [(NASTY, f"{NASTY}\n{NASTY}")]),
                    Text(NASTY),
                    Code(NASTY, summary=NASTY),
                    Picture(plots.recall_against_pairs(lines, axis=NASTY), NASTY, NASTY),
                ],
            )
        ],
        footer=NASTY,
    )
    text = render(page)
    assert "<script" not in text
    assert parsed(text).words.count(unescape(NASTY)) >= 10


def test_tables_have_headers_with_their_scope(page, parsed):
    read = parsed(render(page))
    scopes = [attributes["scope"] for attributes in read.all("th")]
    assert scopes.count("col") == 4
    assert scopes.count("row") == 3
    assert len(read.all("caption")) == len(read.all("table")) == 2
    assert [row.get("class") for row in read.all("tr")].count("ours") == 1


def test_a_pictures_name_must_fit_an_id(lines):
    with pytest.raises(ValueError, match=r"name: expected a letter, .* got '1 x'"):
        inline(plots.recall_against_pairs(lines), "1 x", "alt")


def test_the_same_figure_gives_the_same_bytes(curves):
    first, second = (inline(plots.learning_curves(curves), "a", "alt") for _ in range(2))
    assert first == second


def test_a_page_is_written_whole(tmp_path, page):
    path = write(page, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render(page)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("content", ["<!DOCTYPE html><title>mine</title>", "notes of ramgru"])
def test_a_file_of_someone_else_s_is_refused(tmp_path, page, content):
    path = tmp_path / "page.html"
    path.write_text(content)
    with pytest.raises(RamgruError, match=r"page.html: it is there, and is no page of ramgru"):
        write(page, path)
    assert path.read_text() == content


def test_a_page_of_ramgru_and_an_empty_file_are_replaced(tmp_path, page):
    path = tmp_path / "page.html"
    path.touch()
    for title in ("one", "two"):
        assert f"<title>{title}</title>" in write(Page(title, "", []), path).read_text("utf-8")


def test_a_failed_write_leaves_what_was_there(tmp_path, page):
    path = write(page, tmp_path / "report.html")
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write(Page("a lone surrogate: \ud800", "", []), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path, page):
    (tmp_path / "file").write_text("")
    with pytest.raises(RamgruError, match=r"cannot make the folder .*file"):
        write(page, tmp_path / "file" / "report.html")


def test_theme_and_css_are_shipped_with_the_package():
    names = {entry.name for entry in files("ramgru.lab.show").iterdir()}
    assert {"ramgru.mplstyle", "report.css"} <= names


def test_the_machine_is_described_without_naming_it():
    import platform

    facts = machine.describe()
    assert {"processor", "torch threads", "torch", "python", "ramgru"} <= set(facts)
    assert all(facts.values())
    assert platform.node() == "" or platform.node() not in " ".join(facts.values())


def test_a_pointer_on_a_mark_shows_its_numbers(lines, curves, sample):
    drawn = inline(plots.recall_against_pairs(lines, chance=0.1), "a", "alt")
    titles = re.findall(r"<use [^>]*><title>(.*?)</title></use>", drawn)
    assert len(titles) == 6
    assert {"RAM-GRU: recall 99.0 %, pairs 16", "nn.GRU: recall 6.2 %, pairs 16"} < set(titles)
    drawn = inline(plots.learning_curves(curves), "a", "alt")
    assert "<title>RAM-GRU: recall on held-out data 75.0 %, step 30</title>" in drawn
    points = [Point("gru", 512, Score(0.01, 0.0, 0.02))]
    drawn = inline(plots.score_against_state(points, "recall", "x"), "a", "alt")
    assert re.findall(r"<use [^>]*><title>(.*?)</title>", drawn) == ["nn.GRU: 1.0 % in 512 B"]
    drawn = inline(memory_plots.provenance(sample), "a", "alt")
    assert drawn.count(" of the read at step ") == 4
    assert re.search(
        r'<g id="a-bar-\d+"><title>step 3: 0.900 of the read at step \d+</title>', drawn
    )


def test_the_best_cells_of_a_table_are_marked(parsed):
    table = Table("Recall", ("layer", "4"), [("a", "99 %"), ("b", "1 %\n0 – 2")], best={(1, 1)})
    text = table.html("t")
    assert "<td>99\N{NO-BREAK SPACE}%</td>" in text
    assert "<td><strong>1\N{NO-BREAK SPACE}%</strong><small>" in text
    assert "; the best is marked" in text
