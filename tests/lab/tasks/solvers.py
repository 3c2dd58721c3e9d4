"""Programs without any learning that answer each task from its inputs alone."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable

import numpy as np

from ramgru.lab.tasks import Batch, Task

from .text_solvers import TEXT_SOLVERS

NONE = -1  # predicted where a solver has no answer: never a right one


def pairs(task: Task, batch: Batch) -> np.ndarray:
    """mqar and mqar_update: a dictionary of what was written last."""
    options = task.options()
    context = 2 * (options["pairs"] + options.get("updates", 0))
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        memory = dict(zip(tokens[0:context:2], tokens[1:context:2], strict=True))
        predicted[row, context:] = [memory.get(token, NONE) for token in tokens[context:]]
    return predicted


def hold(task: Task, batch: Batch) -> np.ndarray:
    """A dictionary, past all that is noise."""
    vocab_size, noise = task.options()["vocab_size"], task.options()["noise"]
    first_noise, first_value = vocab_size - noise, (vocab_size - noise) // 2
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs):
        memory: dict[int, int] = {}
        seen = [(step, tokens[step]) for step in np.flatnonzero(tokens < first_noise)]
        for (_, last), (step, token) in itertools.pairwise(seen):
            if token >= first_value:
                memory[last] = token
            elif token in memory:
                predicted[row, step] = memory[token]
    return predicted


def phrases(task: Task, batch: Batch) -> np.ndarray:
    """mqar_compositional: a dictionary of phrases; how long they are is seen at the first value."""
    first_value = task.options()["alphabet"] + 1
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        memory: dict[tuple[int, ...], int] = {}
        phrase: list[int] = []
        size = next(step for step, token in enumerate(tokens) if token >= first_value)
        for step, token in enumerate(tokens):
            if token >= first_value:
                assert tuple(phrase) not in memory
                memory[tuple(phrase)] = token
            phrase = [*phrase, token] if 0 < token < first_value else []
            if len(phrase) == size and tuple(phrase) in memory:
                predicted[row, step] = memory[tuple(phrase)]
    return predicted


def copy(task: Task, batch: Batch) -> np.ndarray:
    predicted = np.full(batch.labels.shape, NONE)
    for row, steps in enumerate(batch.inputs):
        bits, start, end = steps[:, :-2], steps[:, -2], steps[:, -1]
        (begin,), (stop,) = np.flatnonzero(start), np.flatnonzero(end)
        listed = bits[begin + 1 : stop]
        predicted[row, stop + 1 : stop + 1 + len(listed)] = listed
    return predicted


def associative_recall(task: Task, batch: Batch) -> np.ndarray:
    """A dictionary from each item to the one after it."""
    predicted = np.full(batch.labels.shape, NONE)
    for row, steps in enumerate(batch.inputs):
        bits, item, query = steps[:, :-2], steps[:, -2], steps[:, -1]
        begin, end = np.flatnonzero(query).tolist()
        starts = [*np.flatnonzero(item).tolist(), begin]
        items = [bits[a + 1 : b] for a, b in itertools.pairwise(starts)]
        follows = {this.tobytes(): after for this, after in itertools.pairwise(items)}
        answer = follows[bits[begin + 1 : end].tobytes()]
        predicted[row, end + 1 : end + 1 + len(answer)] = answer
    return predicted


def parity(task: Task, batch: Batch) -> np.ndarray:
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        odd = False
        for step, token in enumerate(tokens):
            if token == 2:
                predicted[row, step] = odd
                break
            odd ^= token == 1
    return predicted


def cycle_navigation(task: Task, batch: Batch) -> np.ndarray:
    """A walk, move by move."""
    predicted = np.full(batch.inputs.shape, NONE)
    ahead = {0: [0, 1, 2, 3, 4], 1: [1, 2, 3, 4, 0], 4: [4, 0, 1, 2, 3]}
    for row, tokens in enumerate(batch.inputs.tolist()):
        state = 0
        for step, token in enumerate(tokens):
            if token == 5:
                predicted[row, step] = state
                break
            state = ahead[token][state]
    return predicted


def string_copy(task: Task, batch: Batch) -> np.ndarray:
    """$s|s."""
    return continued(batch, lambda text: (text.split("|")[0][1:], text.index("|")))


def ngram_lookup(task: Task, batch: Batch) -> np.ndarray:
    """$s|g answer. or $g|s|answer."""
    n = task.options()["n"]

    def suffix(text: str) -> tuple[str, int]:
        string, rest = text[1:].split("|")
        return string.split(rest[:n])[1], text.index("|") + n

    def prefix(text: str) -> tuple[str, int]:
        ngram, string, _ = text[1:].split("|")
        return string.split(ngram)[1], text.rindex("|")

    return continued(batch, prefix if task.options()["form"] == "prefix" else suffix)


def continued(batch: Batch, answer: Callable[[str], tuple[str, int]]) -> np.ndarray:
    """answer(text): what is to be written, and at which step its first letter is asked for."""
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        text = "".join("abcdefghijklmnopqrstuvwxyz$|.*"[token] for token in tokens)
        written, step = answer(text)
        predicted[row, step : step + len(written)] = [ord(letter) - ord("a") for letter in written]
    return predicted


def programs(task: Task, batch: Batch) -> np.ndarray:
    """By splitting the text: nothing of the package but the names of the tokens is used."""
    names = task.vocabulary.tokens  # type: ignore[attr-defined]
    ids = {name: index for index, name in enumerate(names)}
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        memory: dict[str, int | str] = {}
        question: list[str] = []  # the statement so far, its fields joined
        rest: list[str] = []  # what is left to say of the answer
        for step, token in enumerate(tokens):
            name = names[token]
            if name in ("<start>", "<end>", "<pad>"):
                continue
            if name == "<tab>":
                value = evaluate("".join(question).split(), memory)
                rest = (["<number>", *str(value)] if isinstance(value, int) else [*value]) + ["$"]
                predicted[row, step] = ids[rest.pop(0)]
                question = []
            elif rest:
                assert name != "$"
                predicted[row, step] = ids[rest.pop(0)]
            elif name == "$":
                fields = "".join(question).split()
                if fields:
                    memory[fields[0]] = literal(fields[1])
                question = []
            else:
                question.append({"<space>": " ", "<number>": "#"}.get(name, name))
    return predicted


def literal(text: str) -> int | str:
    return int(text[1:]) if text.startswith("#") else text


def evaluate(fields: list[str], memory: dict[str, int | str]) -> int | str:
    if len(fields) == 1:
        return memory[fields[0]]
    target = fields.pop(0) if fields[0] in memory else None
    operator, *names = fields
    a, b = memory[names[0]], memory[names[-1]]
    if operator == "DIVIDE":
        value = int(a / b)  # small numbers: exact enough, and rounds toward zero
    else:
        value = {
            "ADD": lambda: a + b,
            "SUBTRACT": lambda: a - b,
            "MULTIPLY": lambda: a * b,
            "MAX": lambda: max(a, b),
            "MIN": lambda: min(a, b),
            "CONCATENATE": lambda: a + b,
            "UPPERCASE": lambda: a.upper(),
            "LOWERCASE": lambda: a.lower(),
        }[operator]()
    if target:
        memory[target] = value
    return value


def in_context_recall(task: Task, batch: Batch) -> np.ndarray:
    """in_context_recall and noisy_recall: a dictionary of the pairs, which stand at even steps."""
    options = task.options()
    first_value = (options["vocab_size"] - options.get("noise", 0)) // 2
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        memory: dict[int, int] = {}
        for step in range(0, len(tokens), 2):
            if tokens[step] < first_value:  # not noise
                predicted[row, step] = memory.get(tokens[step], NONE)
                memory.update([tokens[step : step + 2]] if step + 1 < len(tokens) else [])
    return predicted


def fuzzy_recall(task: Task, batch: Batch) -> np.ndarray:
    """A dictionary of phrases: runs of tokens below `first` are keys, those after them values."""
    pad = task.options()["vocab_size"] - 1
    first = pad // 2
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        memory: dict[tuple[int, ...], list[int]] = {}
        begin = next(step for step, token in enumerate(tokens) if token != pad)
        runs = [list(run) for _, run in itertools.groupby(tokens[begin:], lambda t: t < first)]
        step = begin
        for key, value in itertools.zip_longest(runs[::2], runs[1::2], fillvalue=[]):
            asked = step + len(key) - 1
            known = memory.setdefault(tuple(key), value)
            if known is not value:
                predicted[row, asked : asked + len(known)] = known
            step += len(key) + len(value)
    return predicted


def selective_copy(task: Task, batch: Batch) -> np.ndarray:
    """What is no blank before the marker, then nothing but blanks."""
    marker = task.options()["vocab_size"] - 1
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        step = tokens.index(marker)
        listed = [token for token in tokens[:step] if token != marker - 1]
        assert tokens[step + 1 :] == [marker - 1] * len(listed)
        predicted[row, step + 1 :] = listed
    return predicted


def compression(task: Task, batch: Batch) -> np.ndarray:
    """The tokens before the marker, again after it; in the exact form every token is its own."""
    if task.options()["exact"]:
        return batch.inputs
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        step = tokens.index(task.options()["vocab_size"] - 1)
        predicted[row, step + 1 :] = tokens[:step]
    return predicted


def repeat_copy(task: Task, batch: Batch) -> np.ndarray:
    predicted = np.full(batch.labels.shape, NONE)
    for row, steps in enumerate(batch.inputs):
        bits, start, end, number = steps[:, :-3], steps[:, -3], steps[:, -2], steps[:, -1]
        (begin,), (stop,) = np.flatnonzero(start), np.flatnonzero(end)
        assert np.array_equal(number != 0, end == 1)
        repeats = round(5.5 + 2.8722813 * float(number[stop]))
        listed = np.tile(bits[begin + 1 : stop], (repeats, 1))
        after = stop + 1 + len(listed)
        predicted[row, stop + 1 : after, :-1], predicted[row, stop + 1 : after, -1] = listed, 0
        predicted[row, after, :-1], predicted[row, after, -1] = 0, 1
    return predicted


def priority_sort(task: Task, batch: Batch) -> np.ndarray:
    predicted = np.full(batch.labels.shape, NONE)
    for row, steps in enumerate(batch.inputs):
        bits, priority = steps[:, :-3], steps[:, -3]
        (begin,), (end,) = np.flatnonzero(steps[:, -2]), np.flatnonzero(steps[:, -1])
        ranked = sorted(range(begin + 1, end), key=lambda step: priority[step], reverse=True)
        predicted[row, end + 1 :] = bits[ranked[: len(steps) - end - 1]]
    return predicted


def variable_tracking(task: Task, batch: Batch) -> np.ndarray:
    """A dictionary of the assignments: turned round for names, followed to its end for values."""
    options = task.options()
    first_noise = options["vocab_size"] - options["noise"]
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        end = tokens.index(0)
        told = [token for token in tokens[:end] if token < first_noise]
        given = dict(zip(told[::2], told[1::2], strict=True))
        if options["form"] == "names":
            names = {source: name for name, source in given.items()}
            assert len(names) == len(given) == len(told) // 2
            predicted[row, end + 1 :] = [names[token] for token in tokens[end + 1 :]]
            continue
        for step, token in enumerate(tokens[end + 1 :], end + 1):
            while token in given:
                token = given[token]
            predicted[row, step] = token
    return predicted


def feature_recall(task: Task, batch: Batch) -> np.ndarray:
    """The value of the nearest key; what is no key is found from the end of the features."""
    options = task.options()
    width = task.features - 33 - options["distractors"]
    predicted = np.full(batch.labels.shape, NONE)
    for row, (steps, length) in enumerate(zip(batch.inputs, batch.lengths, strict=True)):
        pairs = length // 2
        keys, flags = steps[:length, :width], steps[:length, width + 32]
        assert np.array_equal(flags > 0, np.arange(length) >= pairs)
        assert not steps[pairs:length, width : width + 32].any()
        apart = ((keys[pairs:, None] - keys[None, :pairs]) ** 2).sum(-1)
        values = steps[:pairs, width : width + 32].argmax(axis=1)
        predicted[row, pairs:length] = values[apart.argmin(axis=1)]
    return predicted


def lag_recall(task: Task, batch: Batch) -> np.ndarray:
    lag = task.options()["lag"]
    predicted = np.full(batch.inputs.shape, NONE)
    for row, tokens in enumerate(batch.inputs.tolist()):
        for step in range(lag, len(tokens)):
            predicted[row, step] = tokens[step - lag]
    return predicted


def digest(batch: Batch) -> str:
    """The digest by which a generator is compared with the one of another project."""
    content = batch.inputs.astype("<i8").tobytes() + batch.labels.astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


SOLVERS: dict[str, Callable[[Task, Batch], np.ndarray]] = {
    "mqar": pairs,
    "mqar_update": pairs,
    "mqar_compositional": phrases,
    "feature_recall": feature_recall,
    "fuzzy_recall": fuzzy_recall,
    "hold": hold,
    "lag_recall": lag_recall,
    "copy": copy,
    "associative_recall": associative_recall,
    "parity": parity,
    "cycle_navigation": cycle_navigation,
    "string_copy": string_copy,
    "ngram_lookup": ngram_lookup,
    "programs": programs,
    "in_context_recall": in_context_recall,
    "noisy_recall": in_context_recall,
    "selective_copy": selective_copy,
    "compression": compression,
    "repeat_copy": repeat_copy,
    "priority_sort": priority_sort,
    "variable_tracking": variable_tracking,
    **TEXT_SOLVERS,
}
