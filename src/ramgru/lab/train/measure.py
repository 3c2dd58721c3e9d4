"""The loss of a batch, and the loss and the metric of a model on held-out batches.

The loss is cross-entropy over tokens, binary cross-entropy over bits, or the squared error of
numbers. It is a sum, because only the training loop knows the number of answers in a whole batch
(over all chunks and processes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramgru.lab.tasks import IGNORE, Batch, exact_answers, is_asked
from ramgru.lab.train.data import chunks
from ramgru.open_gates import openings
from ramgru.sequence import SequenceModel


class Objective(nn.Module):
    """The loss as a module around the model, since DDP and FSDP wrap modules.

    Shapes as in `ramgru.lab.train.data.Chunk`: B sequences, T steps, L labelled positions.
    """

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        inputs: Tensor,
        where: Tensor,
        answers: Tensor,
        lengths: Tensor | None = None,
        state: Any = None,
        carry: bool = True,
        write_price: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Any]:
        """-> the summed loss (), the predicted answers of the answers' shape, the state afterwards.

        carry: True if the state is used afterwards (see `SequenceModel.hidden`)
        write_price: () auxiliary loss per step on fully open update gates (`ramgru.write_cost`),
            which is added to the gradient but not to the value of the loss
        """
        hidden, state = self.model.hidden(inputs, state, lengths=lengths, carry=carry)
        # Only labelled positions pass the head, which dominates the cost with a large vocabulary.
        logits = self.model.head(hidden.flatten(0, 1).index_select(0, where)).float()
        if answers.ndim == 1:
            loss = F.cross_entropy(logits, answers, reduction="sum")
            predicted = logits.detach().argmax(-1)
        elif answers.is_floating_point():
            predicted = logits.detach()
            loss = torch.where(answers.isnan(), 0, logits - answers.nan_to_num()).square().sum()
        else:
            asked = answers != IGNORE
            bits = (answers * asked).float()
            each = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
            loss, predicted = torch.sum(each * asked), (logits.detach() > 0).long()
        if write_price is not None and (opened := openings(self.model)):
            cost = write_price * torch.stack([opening for opening, _ in opened]).mean()
            loss = loss + (cost - cost.detach())
        return loss, predicted, state


def rights(predicted: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """-> how much of some answers is right, and how many there are. Of a number, 1 - the squared
    error is right, which is 0 on average for the answer 0 of a number of unit size."""
    if not answers.is_floating_point():
        return (predicted == answers).sum(), (answers != IGNORE).sum()
    count = (~answers.isnan()).sum()
    return count - (predicted - answers).square().nansum(), count


@dataclass
class Tally:
    """Sums over all questions so far. A symbol is a token, or a bit of a task over features.

    loss:     sum in nats, or of squared errors
    right:    number of right symbols; of numbers, the squared errors of 0 less those of the model
    count:    number of symbols or numbers asked for
    whole:    the largest possible value of `right`
    numbers:  (5, F) of each of F numbers: squared errors of the model and of 0, absolute errors of
              both, count
    exact:    [right, count] of whole answers: runs of consecutive labelled steps
    distance: {distance: [right, count]} of symbols, if the task knows distances
    kind:     {kind: [right, count]} of symbols, if the task has several kinds of questions
    exact_of: {kind: [right, count]} of whole answers, if the task has several kinds
    """

    loss: float = 0.0
    right: float = 0
    count: int = 0
    exact: list[int] = field(default_factory=lambda: [0, 0])
    distance: dict[int, list[int]] = field(default_factory=dict)
    kind: dict[int, list[int]] = field(default_factory=dict)
    exact_of: dict[int, list[int]] = field(default_factory=dict)
    numbers: list[list[float]] | None = None

    @property
    def whole(self) -> float:
        return self.count if self.numbers is None else sum(self.numbers[1])

    @property
    def score(self) -> float:
        """The share of right symbols, or the skill of numbers: the task's metric."""
        return self.right / (self.whole or 1)

    @property
    def mean_loss(self) -> float:
        """Nats per symbol."""
        return self.loss / max(1, self.count)

    def add(self, batch: Batch, predicted: np.ndarray) -> None:
        """Add one batch. predicted: the answers, in the shape of the labels."""
        asked = is_asked(batch.labels)
        if batch.labels.dtype.kind == "f":
            self._add_numbers(batch.labels.astype(np.float64), predicted, asked)
            return
        right = (predicted == batch.labels) & asked
        self.right += int(right.sum())
        self.count += int(asked.sum())
        answers = exact_answers(batch, predicted)
        self.exact[0] += int(answers.right.sum())
        self.exact[1] += answers.right.size
        _group(self.exact_of, answers.kind, answers.right, np.ones_like(answers.right))
        if right.ndim == 3:
            right, asked = right.sum(-1), asked.sum(-1)
        _group(self.distance, batch.distance, right, asked)
        _group(self.kind, batch.kind, right, asked)

    def _add_numbers(self, labels: np.ndarray, predicted: np.ndarray, asked: np.ndarray) -> None:
        error, zero = np.where(asked, (predicted - labels, labels), 0)
        each = (error**2, zero**2, abs(error), abs(zero), asked)
        sums = np.stack([values.sum(axis=(0, 1), dtype=np.float64) for values in each])
        self._more_numbers(sums)
        self.right += float((sums[1] - sums[0]).sum())
        self.count += int(asked.sum())

    def _more_numbers(self, sums: np.ndarray) -> None:
        self.numbers = (sums + (0 if self.numbers is None else np.array(self.numbers))).tolist()

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        if other.numbers is not None:
            self._more_numbers(np.array(other.numbers))
        self.loss += other.loss
        self.right += other.right
        self.count += other.count
        self.exact = [a + b for a, b in zip(self.exact, other.exact)]
        for name in ("distance", "kind", "exact_of"):
            groups = getattr(self, name)
            for key, (right, count) in getattr(other, name).items():
                entry = groups.setdefault(key, [0, 0])
                entry[0] += right
                entry[1] += count


def _group(
    groups: dict[int, list[int]], keys: np.ndarray | None, right: np.ndarray, asked: np.ndarray
) -> None:
    """Add the sums of `right` and `asked` for each key; keys, right and asked have one shape."""
    if keys is None:
        return
    where = asked > 0
    values, group = np.unique(keys[where], return_inverse=True)
    rights = np.bincount(group, weights=right[where], minlength=values.size)
    counts = np.bincount(group, weights=asked[where], minlength=values.size)
    for value, r, c in zip(values.tolist(), rights, counts):
        entry = groups.setdefault(value, [0, 0])
        entry[0] += int(r)
        entry[1] += int(c)


def measure(
    objective: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device | str,
    chunk: int = 0,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tally:
    """Evaluate on all of `batches`, without gradients and dropout.

    chunk: run sequences in chunks of this many steps and carry the state, to save memory; 0: whole
    """
    tally = Tally()
    training = objective.training
    objective.eval()
    try:
        with torch.no_grad(), autocast():
            for batch in batches:
                loss, predicted = answer(objective, batch, device=device, chunk=chunk)
                tally.loss += loss
                tally.add(batch, predicted)
    finally:
        objective.train(training)
    return tally


def answer(
    objective: nn.Module, batch: Batch, *, device: torch.device | str, chunk: int = 0
) -> tuple[float, np.ndarray]:
    """The summed loss of a batch, and the answers in the shape of the labels (0 elsewhere)."""
    predicted = np.zeros_like(batch.labels)
    total, state = 0.0, None
    pieces = list(chunks(batch, chunk, device))
    for i, piece in enumerate(pieces):
        carry = i < len(pieces) - 1
        loss, found, state = objective(
            piece.inputs, piece.where, piece.answers, piece.lengths, state, carry
        )
        total += float(loss)
        predicted[:, piece.span][piece.asked] = found.cpu().numpy()
    return total, predicted
