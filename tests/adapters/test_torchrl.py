"""The layer in torchrl's `GRUModule`: one step at a time equals whole trajectories."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("torchrl")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from tensordict import TensorDict  # noqa: E402
from torchrl.modules import GRUModule, set_recurrent_mode  # noqa: E402

from ramgru import Memory  # noqa: E402
from ramgru.adapters.torchrl import GRU  # noqa: E402

MEMORY = Memory(cells=16, heads="key key:2 learned lag tape")
B, T, F, C = 3, 12, 4, 5


def made(**options) -> GRUModule:
    gru = GRU(F, C, 2, memory=MEMORY, dtype=torch.float64, **options)
    return GRUModule(gru=gru, in_keys=["x", "rs"], out_keys=["y", ("next", "rs")])


def rollout() -> TensorDict:
    """Trajectories that begin anew at other steps in every row."""
    begins = torch.rand(B, T, 1) < 0.25
    begins[:, 0] = True
    x = torch.randn(B, T, F, dtype=torch.float64)
    return TensorDict({"x": x, "is_init": begins}, batch_size=[B, T])


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
def test_stepwise_equals_sequence(controller):
    module, data = made(controller=controller), rollout()
    with set_recurrent_mode(True):
        whole = module(data.clone())
    state, ends = None, data["is_init"].roll(-1, 1).index_fill(1, torch.tensor([T - 1]), True)
    for t in range(T):
        step = TensorDict({"x": data["x"][:, t], "is_init": data["is_init"][:, t]}, [B])
        if state is not None:
            step["rs"] = state
        step = module(step)
        state = step["next", "rs"]
        torch.testing.assert_close(step["y"], whole["y"][:, t], rtol=0, atol=1e-12)
        at_end = ends[:, t, 0]
        torch.testing.assert_close(
            state[at_end], whole["next", "rs"][at_end, t], rtol=0, atol=1e-12
        )


def test_all_parameters_learn_through_a_rollout_with_resets():
    module = made()
    with set_recurrent_mode(True):
        module(rollout())["y"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_primer_knows_the_width_of_the_state():
    module = made()
    (spec,) = module.make_tensordict_primer().primers.values()
    assert spec.shape[-2:] == (2, module.gru.hidden_size)


@pytest.mark.parametrize(
    ("name", "value"), [("batch_first", False), ("carry", "state"), ("bidirectional", True)]
)
def test_options_that_the_module_needs(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .* in torchrl, got {value!r}"):
        made(**{name: value})
