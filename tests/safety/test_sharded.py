"""Weights that are sharded among processes: torch's own sentence, and never wrong numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from test_odd_weights import NAMES, layer
from torch import distributed, nn

pytestmark = pytest.mark.skipif(
    not distributed.is_available(), reason="torch is built without distributed"
)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    """Of two processes, of which this is the first and the other does not exist."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield distributed.device_mesh.init_device_mesh("cpu", (2,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("sharded", [True, False], ids=["sharded", "replicated"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_distributed_weight_is_refused(name: str, sharded: bool, mesh: Any) -> None:
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    made, x = layer(), torch.zeros(2, 3, 5)
    owner, _, last = name.rpartition(".")
    own = made.get_submodule(owner)._parameters
    weight = distribute_tensor(own[last].detach(), mesh, [Shard(0) if sharded else Replicate()])
    stream = made.stream(2)
    stream.step(x[:, 0])  # natively, with the plain weight
    own[last] = nn.Parameter(weight, requires_grad=False)
    for call in (
        lambda: made(x),
        lambda: made.stream(2).step(x[:, 0]),
        lambda: made.stream(2).read(x),
        lambda: stream.step(x[:, 0]),
    ):
        with pytest.raises(RuntimeError, match=r"mixed torch\.Tensor and DTensor"):
            call()
