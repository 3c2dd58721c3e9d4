"""Train and measure what the README claims, over three seeds, and write docs/results.md from it.

    python benchmarks/results.py            # both studies; goes on where it was stopped
    python benchmarks/results.py mqar       # one of them

mqar    recall: RAM-GRU, nn.GRU and minGRU of equal parameters, trained on 16 pairs
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
    "mqar": CompareConfig(seeds=SEEDS, threads=2, ramgru_lr=RATES, gru_lr=RATES, mingru_lr=RATES),
    "parity": CompareConfig(
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
    "parity": "State tracking: parity, trained on strings of up to 40, tested up to 500",
}
AXES = {"mqar": "pairs", "parity": "length"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help=f"of {', '.join(STUDIES)}; default: all")
    names = parser.parse_args().studies or list(STUDIES)
    if unknown := [name for name in names if name not in STUDIES]:
        parser.error(f"unknown study {unknown[0]!r}; expected one of {', '.join(STUDIES)}")
    parts = {}
    for name in STUDIES:
        data = compare_folder(name) / DATA
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


def compare_folder(name: str) -> Path:
    return STUDIES[name].folder


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


def section(name: str, results: Results) -> str:
    names = [look(layer).label for layer in results.layers]
    lines = [f"## {TITLES[name]}", ""]
    lines += [f"![{results.metric} against {AXES[name]}](images/{name}.svg)", ""]
    lines += [f"| | {' | '.join(names)} | chance |", "|---|" + "---:|" * (len(names) + 1)]
    first = {layer: results.of(layer)[0] for layer in results.layers}
    lines += [
        row("parameters", [f"{first[layer].parameters:,}" for layer in results.layers], ""),
        row("state", [bytes_text(first[layer].state_bytes) for layer in results.layers], ""),
        row(
            "training, seconds a run",
            [
                f"{sum(run.seconds for run in results.of(layer)) / len(results.of(layer)):.0f}"
                for layer in results.layers
            ],
            "",
        ),
    ]
    for place, axes in enumerate(results.slices()):
        where = " · ".join(f"{key} {value:,}" for key, value in axes.items())
        cells = []
        for layer in results.layers:
            score = results.score(layer, axes)
            cells.append(percent(score.mean))
            if score.low is not None and score.high is not None:
                cells[-1] += f" ({percent(score.low)} – {percent(score.high)})"
        lines.append(row(where, cells, percent(results.runs[0].rows[place].chance)))
    machine = ", ".join(f"{key} {value}" for key, value in results.machine.items())
    config = STUDIES[name]
    rates = {layer: config.rates(layer) for layer in results.layers}
    tuned = "; ".join(
        f"{look(layer).label}: " + ", ".join(f"{rate:g}" for rate in rate_list)
        for layer, rate_list in rates.items()
    )
    lines += [
        "",
        f"{len(config.seeds)} seeds, in brackets the 95 % interval over seeds. At most "
        f"{config.steps} steps of {config.batch_size} sequences. Learning rates tried, each with "
        f"the whole budget: {tuned}.",
        "",
        f"Machine: {machine}.",
        "",
    ]
    return "\n".join(lines)


def row(name: str, cells: list[str], last: str) -> str:
    return f"| {name} | {' | '.join(cells)} | {last} |"


if __name__ == "__main__":
    main()
