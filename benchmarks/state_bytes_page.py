"""The page of the study of state bytes: its picture, its tables, and who is ahead of whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from pages import standalone, table
from state_bytes_results import NEAR, OURS, THEIRS, Point, Results, lead

from ramgru import files
from ramgru.lab.show import svg
from ramgru.lab.show.data import Score
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.theme import look, style

PAGE, IMAGE = Path("study", "state_bytes.md"), Path("images", "state_bytes.svg")
HEADING = "Written by `python benchmarks/state_bytes.py`; do not edit."
Pairs = Sequence[tuple[Point, Point | None]]  # ours, and the peer that stands beside it


def write(results: Results, docs: Path) -> Path:
    """The page and its picture below `docs`; -> the path of the page."""
    for path in (PAGE, IMAGE):
        (docs / path).parent.mkdir(parents=True, exist_ok=True)
    picture = svg.inline(figure(results), "state-bytes", title(results))
    files.write(docs / IMAGE, standalone(picture, "state-bytes"))
    return files.write(docs / PAGE, markdown(results))


def title(results: Results) -> str:
    return f"Recall averaged over 4 to {results.config['tested']} pairs"


def figure(results: Results) -> Figure:
    """Recall against bytes of state, and against multiplications a step; a line a layer."""
    with style():
        drawn = Figure(figsize=(7.2, 3.8))
        left, right = drawn.subplots(1, 2, sharey=True)
        _line(left, results, lambda point: point.state_bytes)
        _line(right, results, lambda point: point.multiplications)
        left.set(title=title(results), xlabel="recurrent state of a sequence")
        left.xaxis.set_major_locator(LogLocator(base=16, numticks=8))
        left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        right.set(title="The same points", xlabel="multiplications of a step")
        right.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=8))
        right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:,.0f}k"))
        left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        handles, labels = left.get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
    return drawn


def _line(axes: Axes, results: Results, place: Callable[[Point], int]) -> None:
    for layer in (OURS, THEIRS):
        points, seen = sorted(results.of(layer), key=place), look(layer)
        means = [point.mean for point in points]
        axes.errorbar(
            [place(point) for point in points],
            [score.mean for score in means],
            yerr=[
                [score.mean - _end(score, "low") for score in means],
                [_end(score, "high") - score.mean for score in means],
            ],
            color=seen.color,
            marker=seen.marker,
            linestyle=seen.dash,
            capsize=3,
            label=seen.label,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.04, 1.04)


def _end(score: Score, side: str) -> float:
    value = getattr(score, side)
    return score.mean if value is None else value


def markdown(results: Results) -> str:
    compute = [(point, results.at_equal_compute(point)) for point in results.of(OURS)]
    size = [(point, results.at_equal_bytes(point)) for point in results.of(OURS)]
    config = results.config
    lines = [
        "# Recall against bytes of state",
        "",
        HEADING,
        "",
        f"At equal compute a step: {verdict(compute)} At equal bytes of state: {verdict(size)}",
        "",
        f"![{title(results)}, against bytes of state](../{IMAGE.as_posix()})",
        "",
        "## Points",
        "",
        *table(
            [
                "",
                "mean recall",
                f"at {config['tested']} pairs",
                "state",
                "of it written",
                "touched a step",
                "multiplications a step",
                "parameters",
                "rate",
                "training",
            ],
            [_point_row(point) for layer in (OURS, THEIRS) for point in results.of(layer)],
        ),
        "Mean recall is the average over the sizes below; in brackets the 95 % interval over "
        f"{len(config['seeds'])} seeds. Written: what is not fresh after {config['tested']} pairs; "
        "a RAM-GRU stores no more than that. Touched: what a step reads or changes. "
        "Multiplications: of one token of a stream, both layers together, as "
        "`benchmarks/step_cost.py` counts them; embedding and head, which all points share, are "
        "left out. Training: seconds on one thread.",
        "",
        "## At equal compute",
        "",
        "Beside each RAM-GRU the Gated DeltaNet that multiplies least among those that multiply "
        "no less.",
        "",
        *beside(compute, "multiplications a step", lambda point: f"{point.multiplications:,}"),
        "## At equal bytes",
        "",
        "Beside each RAM-GRU the Gated DeltaNet with the nearest number of bytes, where one is "
        f"within a factor of {NEAR:g}.",
        "",
        *beside(size, "state", lambda point: bytes_text(point.state_bytes)),
        "## Size by size",
        "",
        *table(
            ["pairs", *results.points[0].sizes],
            [
                [full_name(point), *(percent(score.mean) for score in point.sizes.values())]
                for layer in (OURS, THEIRS)
                for point in results.of(layer)
            ],
        ),
        *recipe(results),
    ]
    return "\n".join(lines) + "\n"


def verdict(pairs: Pairs) -> str:
    """Who is ahead by the mean recall, in how many of the pairs, as a sentence."""
    leads = [lead(ours.mean, theirs.mean) for ours, theirs in pairs if theirs is not None]
    if not leads:
        return "no two points meet."
    parts = []
    for layer in (OURS, THEIRS):
        found = [apart for who, apart in leads if who == layer]
        parts.append(
            f"{look(layer).label} is ahead in {len(found)} of {len(leads)} pairs"
            + (f", in {sum(found)} of them beyond the intervals" if found else "")
        )
    return "; ".join(parts) + "."


def beside(pairs: Pairs, what: str, text: Callable[[Point], str]) -> list[str]:
    """A table of pairs. what: they are equal in, text: says how much of it a point has."""
    rows = []
    for ours, theirs in pairs:
        if theirs is None:
            rows.append([ours.name, text(ours), score_text(ours.mean), "none", "", "", ""])
            continue
        who, apart = lead(ours.mean, theirs.mean)
        ahead = "neither" if who is None else look(who).label
        if who is not None and not apart:
            ahead += ", within the intervals"
        sides = [(point.name, text(point), score_text(point.mean)) for point in (ours, theirs)]
        rows.append([*sides[0], *sides[1], ahead])
    names = [look(layer).label for layer in (OURS, THEIRS)]
    header = [cell for name in names for cell in (name, what, "mean recall")]
    return table([*header, "ahead"], rows)


def recipe(results: Results) -> list[str]:
    config = results.config
    rates = ", ".join(f"{rate:g}" for rate in config["rates"])
    return [
        "## Protocol",
        "",
        "Multi-query associative recall as in zoology's recall-memory figure (arXiv 2402.18668, "
        "figure 2): trained on a mixture of 4 pairs in 64 steps (5 of 9 batches), 8 in 128, 16, 32 "
        f"and 64 in 256 (1 of 9 each) up to {config['trained']} pairs, tested at the sizes above. "
        f"Smaller than there: {config['vocab_size']:,} tokens in place of 8,192, and "
        f"{config['steps']} steps of {config['batch_size']} sequences, which for a seed are the "
        "same examples in the same order at every point. All networks have two blocks of width 64 "
        "without an MLP; a RAM-GRU has four heads of N cells of width 16, a Gated DeltaNet a "
        "matrix of keys by values a head. At every point the learning rates "
        f"{rates} were tried on the first "
        "seed, and the one with the best mean recall taken for all seeds, as zoology chooses.",
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in results.machine.items())}.",
    ]


def full_name(point: Point) -> str:
    return f"{look(point.layer).label}, {point.name}"


def score_text(score: Score) -> str:
    if score.low is None or score.high is None:
        return percent(score.mean)
    return f"{percent(score.mean)} ({percent(score.low)} – {percent(score.high)})"


def _point_row(point: Point) -> list[str]:
    sizes = (point.state_bytes, point.written_bytes, point.touched_bytes)
    return [
        full_name(point),
        score_text(point.mean),
        score_text(point.hardest),
        *map(bytes_text, sizes),
        f"{point.multiplications:,}",
        f"{point.parameters:,}",
        f"{point.lr:g}",
        f"{point.seconds:.0f} s",
    ]
