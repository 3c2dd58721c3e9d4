"""docs/in_practice.md from the stored results of in_practice.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from in_practice_programs import LAYERS, NAMES, PROGRAMS, Program, Value
from pages import table

from ramgru.lab.show.data import over_seeds


def page(results: dict[str, Any], chosen: Callable[..., str | None]) -> str:
    """The whole page; programs without results are named as such."""
    sections, missing, machines = [], [], dict[str, None]()
    for program in PROGRAMS.values():
        found = {
            layer: {"rate": rate, "seeds": rates[rate]}
            for layer, rates in results.get(program.name, {}).items()
            if (rate := chosen(rates, program)) is not None
        }
        if not found:
            missing.append(program.name)
            continue
        sections += section(program, found)
        for each in found.values():
            machines |= dict.fromkeys(seed["machine"] for seed in each["seeds"].values())
    lines = [
        "# In practice",
        "",
        "Written by `python benchmarks/in_practice.py`; do not edit. `in_practice.json` beside "
        "this page holds the values of each seed. Each section is a program in `examples/`, which "
        "runs without arguments.",
        "",
        "All layers are tuned alike: of the rates that a section names, the one with the lowest "
        "held-out loss on the first seed. Unless a section says otherwise, peers have at least as "
        "many parameters, and train for as many seconds of processor time on one thread. Means "
        "over seeds, with Student's 95 % intervals.",
        "",
        *sections,
    ]
    if missing:
        lines += [f"Not measured yet: {', '.join(missing)}.", ""]
    lines += [f"Machine: {name}." for name in machines]
    return "\n".join(lines).rstrip() + "\n"


def section(program: Program, found: dict[str, Any]) -> list[str]:
    """One program: a line a value, a column a layer, then what it cost."""
    layers = [layer for layer in LAYERS if layer in found]
    rows = []
    for value in program.values:
        cells = [shown(value, numbers(found[layer], value.name)) for layer in layers]
        chance = "" if value.chance is None else text(value, value.chance)
        rows.append([value.name, *cells, chance, bar(value, numbers(found[layers[0]], value.name))])
    for name in ("parameters", "steps", "seconds"):
        rows.append(
            [name, *(f"{mean(numbers(found[layer], name)):,.0f}" for layer in layers), "", ""]
        )
    rows.append(["rate", *(found[layer]["rate"] for layer in layers), "", ""])
    rows.append(["seeds", *(str(len(found[layer]["seeds"])) for layer in layers), "", ""])
    *lower, highest = (f"{rate:g}" for rate in program.rates)
    rates = f"{', '.join(lower)} and {highest}" if lower else highest
    return [
        f"## {program.name}",
        "",
        f"`python examples/{program.module}.py`. {program.claim} Rates tried: {rates}.",
        "",
        *table(["", *(NAMES[layer] for layer in layers), "chance", "bar"], rows),
        *([program.note, ""] if program.note else []),
    ]


def numbers(found: dict[str, Any], name: str) -> list[float]:
    return [float(seed[name]) for seed in found["seeds"].values() if name in seed]


def mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def text(value: Value, number: float) -> str:
    return f"{100 * number:.1f} %" if value.share else f"{number:.3f}"


def shown(value: Value, each: list[float]) -> str:
    """The mean, and the interval where there are seeds enough for one."""
    if not each:
        return ""
    score = over_seeds(each, None, None, most=value.most)
    if score.low is None or score.high is None:
        return text(value, score.mean)
    return f"{text(value, score.mean)}<br>{text(value, score.low)} – {text(value, score.high)}"


def bar(value: Value, each: list[float]) -> str:
    if value.bar is None or not each:
        return ""
    met = mean(each) <= value.bar if value.low else mean(each) >= value.bar
    return f"{'≤' if value.low else '≥'} {text(value, value.bar)}: {'met' if met else 'not met'}"
