"""Contiguous rows, chunk by chunk: nothing lost between chunks, resumable at any number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramgru.lab.tasks import Stream


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 60))
def test_rows_run_on(batch_size: int, length: int, spare: int) -> None:
    tokens = np.arange(batch_size * length + 1 + spare)
    stream = Stream(tokens, batch_size, length)
    chunks = [stream.chunk(step) for step in range(stream.chunks_per_epoch)]
    assert len(chunks) == stream.chunks_per_epoch == (len(tokens) - 1) // (batch_size * length)
    inputs = np.concatenate([chunk.inputs for chunk in chunks], axis=1)
    labels = np.concatenate([chunk.labels for chunk in chunks], axis=1)
    reset = np.concatenate([chunk.reset for chunk in chunks], axis=1)
    assert np.array_equal(labels, inputs + 1)  # the next token, across chunks and rows
    assert np.array_equal(inputs.ravel(), np.arange(inputs.size))  # each token once, in order
    assert len(tokens) - 1 - inputs.size < batch_size * length
    assert reset[:, 0].all()
    assert not reset[:, 1:].any()
    assert inputs.dtype == labels.dtype == np.int64
    assert reset.dtype == bool


def test_every_epoch_reads_the_same_chunks() -> None:
    stream = Stream(np.arange(100) % 7, 3, 4)
    whole = [stream.chunk(step) for step in range(25)]
    assert [chunk.step for chunk in whole] == [*range(25)]
    assert np.array_equal(whole[3].inputs, whole[11].inputs)
    assert [chunk.epoch for chunk in whole] == [step // 8 for step in range(25)]
    assert [bool(chunk.reset.any()) for chunk in whole] == [step % 8 == 0 for step in range(25)]


def test_chunks_are_copies() -> None:
    tokens = np.arange(20)
    chunk = Stream(tokens, 1, 5).chunk(0)
    chunk.inputs[:] = 0
    chunk.labels[:] = 0
    assert np.array_equal(tokens, np.arange(20))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"batch_size \* length \+ 1 = 13 tokens .* got 12"):
        Stream(np.arange(12), 3, 4)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        Stream(np.arange(12), 3, 0)
    with pytest.raises(ValueError, match="step must be at least 0, got -1"):
        Stream(np.arange(13), 3, 4).chunk(-1)
