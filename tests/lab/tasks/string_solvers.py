"""Solvers of tasks over strings and expressions, by Python's own strings, slices and lists."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np

from ramgru.lab.tasks import Batch, Task

Solver = Callable[[Task, Batch], np.ndarray]


def transformation(answer: Callable[[str], str]) -> Solver:
    """The string stands before the first empty step (2), its answer from there on."""

    def solve(task: Task, batch: Batch) -> np.ndarray:
        predicted = np.full(batch.inputs.shape, -1)
        for row, tokens in enumerate(batch.inputs.tolist()):
            string = "".join(map(str, tokens)).split("2")[0]
            written = [int(token) for token in answer(string)]
            predicted[row, len(string) : len(string) + len(written)] = written
        return predicted

    return solve


def missing_duplicate(task: Task, batch: Batch) -> np.ndarray:
    """Two halves, with a hidden 2; what fills them up is 3, the empty step 4."""
    predicted = np.full(batch.inputs.shape, -1)
    for row, tokens in enumerate(batch.inputs.tolist()):
        text = "".join(map(str, tokens))
        string = text.split("4")[0].rstrip("3")
        first, second = string[: len(string) // 2], string[len(string) // 2 :]
        (there,) = (i for i, pair in enumerate(zip(first, second, strict=True)) if "2" in pair)
        predicted[row, text.index("4")] = int(max({first[there], second[there]} - {"2"}))
    return predicted


def listops(task: Task, batch: Batch) -> np.ndarray:
    """A stack of lists: a closing bracket (14) turns the topmost into a number."""
    functions: dict[int, Callable[[list[int]], int]] = {
        10: max,
        11: min,
        12: lambda digits: int(statistics.median(digits)),
        13: lambda digits: sum(digits) % 10,
    }
    predicted = np.full(batch.inputs.shape, -1)
    for row, tokens in enumerate(batch.inputs.tolist()):
        stack: list[list[int]] = [[]]
        for step, token in enumerate(tokens):
            if token == 15:
                (predicted[row, step],) = stack.pop()
                break
            if token == 14:
                operator, *digits = stack.pop()
                token = functions[operator](digits)
            elif token >= 10:
                stack.append([])
            stack[-1].append(token)
    return predicted


STRING_SOLVERS: dict[str, Solver] = {
    "reverse": transformation(lambda string: string[::-1]),
    "duplicate": transformation(lambda string: string * 2),
    "odds_first": transformation(lambda string: string[::2] + string[1::2]),
    "missing_duplicate": missing_duplicate,
    "listops": listops,
}
