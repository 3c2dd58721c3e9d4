"""Batches by step number, chunks along time, and states that are saved and restored."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ramgru.config import Memory
from ramgru.lab import tasks
from ramgru.lab.tasks import IGNORE, write_examples
from ramgru.lab.train import ModelConfig, TrainConfig, build_model
from ramgru.lab.train.checkpoint import flatten, unflatten
from ramgru.lab.train.data import HELD_OUT, Feed, chunks, held_out_seed, training_seed
from ramgru.sequence import SequenceModel

MQAR = tasks.get("mqar", vocab_size=16, pairs=2, length=8)


def feed(rows: int = 4, rank: int = 0, world: int = 1, **changes: object) -> Feed:
    options = {"batch_size": rows * world, "prefetch": False, **changes}
    return Feed(TrainConfig(**options), rank, world)  # type: ignore[arg-type]


def test_held_out_seeds_are_never_trained_on():
    numbers = itertools.product((0, 1), range(50), (0, 1))  # seeds, steps, processes
    trained = {training_seed(*each) for each in numbers}
    held = {held_out_seed(seed, index) for seed in (0, 1) for index in range(50)}
    assert len(trained) == 200
    assert len(held) == 100
    assert max(trained) < HELD_OUT <= min(held) < 2**32


@pytest.mark.parametrize("prefetch", [False, True])
def test_batch_depends_on_its_number_alone(prefetch):
    """In any order, with and without a thread, and when the task changes on the way."""
    other = tasks.get("mqar", vocab_size=16, pairs=1, length=8)
    source = feed(prefetch=prefetch)
    for step, task in [(0, MQAR), (1, MQAR), (7, MQAR), (8, other), (2, MQAR), (9, MQAR)]:
        expected = task.draw(4, training_seed(0, step, 0))
        assert np.array_equal(source.batch(task, step).inputs, expected.inputs)
    source.close()


def test_processes_have_data_of_their_own():
    a, b = (feed(rank=rank, world=2).batch(MQAR, 0) for rank in (0, 1))
    assert not np.array_equal(a.inputs, b.inputs)


def test_error_in_the_thread_reaches_the_loop():
    @dataclass(frozen=True)
    class Odd(type(MQAR)):
        def draw(self, batch_size, seed):
            if seed == training_seed(0, 1, 0):
                raise ValueError("no such batch")
            return super().draw(batch_size, seed)

    source, task = feed(prefetch=True), Odd(16, 2, length=8)
    source.batch(task, 0)
    with pytest.raises(ValueError, match="no such batch"):
        source.batch(task, 1)
    source.close()


def test_file_is_shared_among_processes(tmp_path):
    """One epoch over 8 examples, on two processes: each example once."""
    write_examples(tmp_path / "x.npz", MQAR, 8)
    task = tasks.get("file", path=str(tmp_path / "x.npz"))
    seen = [
        feed(rows=2, rank=rank, world=2).batch(task, step).inputs
        for step in range(2)
        for rank in range(2)
    ]
    whole = MQAR.draw(8, 0).inputs
    assert sorted(map(tuple, np.concatenate(seen))) == sorted(map(tuple, whole))


def test_text_runs_on_from_batch_to_batch(tmp_path):
    """Rows are joined again over the batches of one epoch, and over the processes."""
    text = "".join(chr(97 + i * i % 23) for i in range(97))
    (tmp_path / "t.txt").write_text(text)
    task = tasks.get("text", path=str(tmp_path / "t.txt"), length=8, validation=0.0)
    sources = [feed(rows=1, rank=rank, world=2, tbptt=8) for rank in (0, 1)]
    rows = [np.concatenate([s.batch(task, i).inputs[0] for i in range(6)]) for s in sources]
    assert task.decode(np.concatenate(rows)) == text[:96]
    assert [sources[0].continues(task, i) for i in range(8)] == [False] + [True] * 5 + [False, True]
    assert feed().continues(task, 1) is None


def test_batches_share_a_memory_in_groups():
    assert [feed(crowd=3).continues(MQAR, i) for i in range(6)] == [False, True, True] * 2


@pytest.mark.parametrize("name", ["mqar", "copy", "parity"])
@pytest.mark.parametrize("length", [0, 1, 3, 100])
def test_chunks_put_together_are_the_batch(name, length):
    batch = tasks.get(name).draw(5, seed=1)
    steps = int(batch.lengths.max())
    pieces = list(chunks(batch, length, "cpu"))
    inputs = torch.cat([piece.inputs for piece in pieces], dim=1).numpy()
    assert np.array_equal(inputs, batch.inputs[:, : inputs.shape[1]])
    assert inputs.shape[1] >= steps
    assert sum(piece.answers.ne(IGNORE).sum() for piece in pieces) == (batch.labels != IGNORE).sum()
    total = np.zeros(5, dtype=np.int64)
    for piece in pieces:
        labels = batch.labels[:, piece.span]
        flat = labels.reshape(-1, *labels.shape[2:])
        assert np.array_equal(flat[piece.where.numpy()], piece.answers.numpy())
        width = piece.inputs.shape[1]
        total += np.full(5, width) if piece.lengths is None else piece.lengths.numpy()
    assert np.array_equal(total, batch.lengths)


STATES = {
    "gru": ModelConfig(layer="gru", d_model=8),
    "attention": ModelConfig(layer="attention", d_model=8),
    "ramgru": ModelConfig(d_model=8, memory=Memory(cells=64, heads="key key:2 tape")),
    "ramgru-mingru": ModelConfig(
        d_model=8, controller="mingru", memory=Memory(cells=64, heads=2, writes=2)
    ),
    "ramgru-start": ModelConfig(d_model=8, memory=Memory(cells=64, learned_start=True)),
}


@pytest.mark.parametrize("config", STATES.values(), ids=STATES)
def test_state_comes_back_bit_for_bit(config):
    """From named tensors alone, when most cells were never written."""
    model: SequenceModel = build_model(config, MQAR).eval()
    src = torch.from_numpy(MQAR.draw(3, 0).inputs)
    with torch.no_grad():
        _, state = model.hidden(src)
        back = unflatten(model.initial_state(3), flatten(state), "cpu")
        assert flatten(back).keys() == flatten(state).keys()
        after, again = (model.hidden(src, s)[0] for s in (state, back))
        fresh, _ = model.hidden(src)
    assert torch.equal(after, again)
    assert not torch.equal(after, fresh)
