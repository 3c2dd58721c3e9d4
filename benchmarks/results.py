"""Train and measure what the project claims, over three seeds, and write docs/results.md from it.

    python benchmarks/results.py            # all studies; goes on where it was stopped
    python benchmarks/results.py mqar       # one of them
    python benchmarks/results.py readme     # what `make run` found -> the README's table, picture

mqar    recall: RAM-GRU, nn.GRU and minGRU of equal parameters, trained on 16 pairs; the peers'
        learning rates are tuned, the RAM-GRU's is the default
rate    the same RAM-GRU at a learning rate that tuning on the training sizes would have chosen
parity  state tracking: RAM-GRU with the exact GRU as its controller, beside nn.GRU
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ramgru import files
from ramgru.report import plots, svg
from ramgru.report.data import Line
from ramgru.report.plots import bytes_text, percent
from ramgru.report.theme import css_variables, look
from ramgru.study import CompareConfig, compare
from ramgru.study.compare import DATA
from ramgru.study.config import sized
from ramgru.study.results import Results, from_json
from ramgru.train.build import ModelConfig, RAMOptions

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = (0, 1, 2)
RATES = (1e-3, 3e-3, 1e-2)

STUDIES = {
    "mqar": CompareConfig(
        out=Path("runs/results-mqar"),
        seeds=SEEDS,
        threads=2,
        gru_lr=RATES,
        mingru_lr=RATES,
    ),
    "rate": CompareConfig(
        out=Path("runs/results-rate"),
        layers=("ramgru",),
        seeds=SEEDS,
        threads=2,
        ramgru_lr=(1e-2,),
    ),
    "parity": CompareConfig(
        out=Path("runs/results-parity"),
        task=sized("parity"),
        layers=("ramgru", "gru"),
        model=ModelConfig(ram=RAMOptions(controller="gru", memory_size=4096)),
        steps=600,
        seeds=SEEDS,
        threads=2,
    ),
}
TITLES = {
    "mqar": "Recall: multi-query associative recall, V = 8,192, trained on 16 pairs",
    "rate": "Recall, RAM-GRU at three times the learning rate: a better fit that holds less",
    "parity": "State tracking: parity, trained on strings of up to 40, tested up to 500",
}
AXES = {"mqar": "pairs", "rate": "pairs", "parity": "length"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help=f"of {', '.join(STUDIES)}; default: all")
    names = parser.parse_args().studies or list(STUDIES)
    if names == ["readme"]:
        return readme()
    if unknown := [name for name in names if name not in STUDIES]:
        parser.error(f"unknown study {unknown[0]!r}; expected one of {', '.join(STUDIES)}")
    parts = {}
    for name in STUDIES:
        data = STUDIES[name].folder / DATA
        if name in names:
            compare(STUDIES[name])
        if data.exists():
            results = from_json(data.read_text(encoding="utf-8"), str(data))
            picture = DOCS / "images" / f"{name}.svg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            files.write(picture, standalone(draw(results, AXES[name]), name))
            parts[name] = section(name, results)
    head = "# Results\n\nWritten by `python benchmarks/results.py`; do not edit.\n"
    files.write(DOCS / "results.md", "\n".join([head, *parts.values()]))
    print(f"wrote {DOCS / 'results.md'}")


def readme() -> None:
    """Put what `make run` found into the README, between its markers."""
    data = Path("runs/compare-mqar") / DATA
    results = from_json(data.read_text(encoding="utf-8"), str(data))
    files.write(DOCS / "images" / "recall.svg", standalone(draw(results, "pairs"), "recall"))
    path = DOCS.parent / "README.md"
    before, rest = path.read_text(encoding="utf-8").split("<!-- make run -->")
    _, after = rest.split("<!-- end -->")
    text = "\n".join(["<!-- make run -->", *table(results, brackets=False), "", machine(results)])
    files.write(path, before + text + "\n<!-- end -->" + after)
    print(f"wrote {path}")


def draw(results: Results, axis: str) -> str:
    """The figure of scores against `axis`, as SVG with CSS variables for its colours."""
    lines, sizes = [], [axes[axis] for axes in results.slices()]
    for layer in results.layers:
        scores = [results.score(layer, axes) for axes in results.slices()]
        lines.append(Line(layer, sizes, scores))
    plateau = {row.axes[axis]: row.plateau for row in results.runs[0].rows}
    figure = plots.recall_against_pairs(
        lines,
        trained=results.trained.get(axis),
        chance=results.runs[0].rows[0].chance,
        plateau={x: value for x, value in plateau.items() if value is not None},
        axis=axis,
        metric=results.metric,
    )
    return svg.inline(figure, results.task, f"{results.metric} against {axis}")


def standalone(picture: str, name: str) -> str:
    """An SVG file that follows the reader's light or dark page by itself."""
    head, body = picture.split(">", 1)
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{head}><style>{css_variables()}</style>{body}\n"


def table(results: Results, *, brackets: bool) -> list[str]:
    """Markdown lines: a column a layer, a row a size; with brackets, the 95 % intervals too."""
    layers = results.layers
    names = [look(layer).label for layer in layers]
    first = [results.of(layer)[0] for layer in layers]
    seconds = [[run.seconds for run in results.of(layer)] for layer in layers]
    lines = [
        f"| | {' | '.join(names)} | chance |",
        "|---|" + "---:|" * (len(names) + 1),
        row("parameters", [f"{run.parameters:,}" for run in first], ""),
        row("state of one sequence", [bytes_text(run.state_bytes) for run in first], ""),
        row("training, seconds", [f"{sum(each) / len(each):.0f}" for each in seconds], ""),
    ]
    for place, axes in enumerate(results.slices()):
        cells = []
        for layer in layers:
            score = results.score(layer, axes)
            cells.append(percent(score.mean))
            if brackets and score.low is not None and score.high is not None:
                cells[-1] += f" ({percent(score.low)} – {percent(score.high)})"
        where = " · ".join(f"{key} {value:,}" for key, value in axes.items())
        lines.append(row(where, cells, percent(results.runs[0].rows[place].chance)))
    return lines


def machine(results: Results) -> str:
    return f"Machine: {', '.join(f'{key} {value}' for key, value in results.machine.items())}."


def section(name: str, results: Results) -> str:
    config = STUDIES[name]
    tuned = "; ".join(
        f"{look(layer).label} {', '.join(f'{rate:g}' for rate in config.rates(layer))}"
        for layer in results.layers
    )
    chosen = "; ".join(
        f"{look(layer).label} {results.of(layer)[0].lr:g}" for layer in results.layers
    )
    lines = [
        f"## {TITLES[name]}",
        "",
        f"![{results.metric} against {AXES[name]}](images/{name}.svg)",
        "",
        *table(results, brackets=True),
        "",
        f"Mean of {len(config.seeds)} seeds, in brackets the 95 % interval over seeds. Each run "
        f"has {config.steps} steps of {config.batch_size} sequences; all see the same examples in "
        f"the same order. Learning rates tried on the first seed, each with the whole budget: "
        f"{tuned}. Taken: {chosen}.",
        "",
        machine(results),
        "",
    ]
    return "\n".join(lines)


def row(name: str, cells: list[str], last: str) -> str:
    return f"| {name} | {' | '.join(cells)} | {last} |"


if __name__ == "__main__":
    main()
