"""Looking inside a model: one trace a block, of what the model itself did."""

from __future__ import annotations

import pytest
import torch

from ramgru import RAMGRUModel
from ramgru.lab.peers import GRU
from ramgru.lab.show.blocks import trace_model
from ramgru.sequence import SequenceModel


@pytest.mark.parametrize("controller", ["gru", "mingru"])
@pytest.mark.parametrize("mlp_ratio", [0.0, 2.0])
def test_trace_ends_with_the_cells_of_the_models_state(controller: str, mlp_ratio: float) -> None:
    model = RAMGRUModel(
        11, 8, 2, 16, num_layers=3, top_k=2, controller=controller, mlp_ratio=mlp_ratio
    ).double()
    src = torch.randint(11, (2, 6))
    traces = trace_model(model, src)
    _, state = model.hidden(src)
    assert len(traces) == 3
    for one, after in zip(traces, state):
        assert one is not None
        assert int(one.occupancy().sum()) == 2 * 6 * 2 * 2  # sequences, steps, heads, cells
        rows = after.memory[0].dense().rows
        for head in range(2):
            for i in range(16):
                cell = one.cell(i, head=head, batch=1)
                torch.testing.assert_close(cell.state, rows[1, head, i], rtol=0, atol=1e-12)


def test_blocks_without_a_memory_have_no_trace() -> None:
    model = SequenceModel(GRU, 8, 2, vocab_size=11)
    assert trace_model(model, torch.randint(11, (2, 6))) == [None, None]
