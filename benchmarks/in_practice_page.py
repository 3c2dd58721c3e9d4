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
        "over seeds, with Student's 95 % intervals. A bar is on RAMGRU's mean, whatever its "
        "interval.",
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
        measured = {layer: numbers(found[layer], value.name) for layer in layers}
        cells = [shown(value, each) for each in measured.values()]
        chance = "" if value.chance is None else text(value, value.chance)
        means = {layer: mean(each) for layer, each in measured.items() if each}
        rows.append([value.name, *cells, chance, "<br>".join(bars(value, means))])
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
        f"`{program.command}`. {program.claim} Rates tried: {rates}.",
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
    score = over_seeds(each, None, None, least=value.least, most=value.most)
    if score.low is None or score.high is None:
        return text(value, score.mean)
    return f"{text(value, score.mean)}<br>{text(value, score.low)} – {text(value, score.high)}"


def bars(value: Value, means: dict[str, float]) -> list[str]:
    """Each bar of a value, and whether ours meets it. means: of the layers that were measured"""
    ours, found = means.get(LAYERS[0]), []
    if ours is None:
        return []
    if value.bar is not None:
        found.append(verdict(value, text(value, value.bar), ours, value.bar))
    for peer in value.peers if value.factor is not None else ():
        if peer not in means:
            found.append(f"{NAMES[peer]}: not measured")
        elif value.factor == 1.0:
            name = f"{NAMES[peer]}'s {text(value, means[peer])}"
            found.append(verdict(value, name, ours, means[peer], strict=not value.equal))
        else:
            name = f"{value.factor:g} × {NAMES[peer]}'s {text(value, means[peer])}"
            found.append(verdict(value, name, ours, value.factor * means[peer]))
    return found


def verdict(value: Value, name: str, ours: float, bar: float, strict: bool = False) -> str:
    sign = ("<" if value.low else ">") if strict else ("≤" if value.low else "≥")
    met = (ours < bar if value.low else ours > bar) or (ours == bar and not strict)
    return f"{sign} {name}: {'met' if met else 'not met'}"
