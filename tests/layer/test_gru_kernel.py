"""`gru_kernel`: the native GRU and torch's own are one and the same layer, within rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ramgru import RAMGRU, controller
from ramgru.kernels import native

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_bias": {"bias": False},
    "two_layers": {"num_layers": 2},
    "two_way": {"bidirectional": True},
    "all": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}
MEMORY = {"memory_size": 64, "num_heads": 2, "top_k": 3}


def pair(**options: Any) -> tuple[RAMGRU, RAMGRU]:
    layers = [RAMGRU(5, 17, **options, **MEMORY, gru_kernel=k) for k in ("native", "torch")]
    layers[1].load_state_dict(layers[0].state_dict())
    return layers[0], layers[1]


def run(layer: RAMGRU, x: Tensor, hx: Tensor, options: dict[str, Tensor]) -> list[Tensor]:
    output, h_n = layer(x, hx, **options)
    loss = output.sin().sum() + h_n.cos().sum()
    return [output, h_n, *torch.autograd.grad(loss, list(layer.parameters()))]


@pytest.mark.parametrize("given", ["nothing", "reset", "lengths", "both"])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_both_kernels_give_the_same_numbers(options: dict[str, Any], given: str) -> None:
    ours, theirs = pair(**options, dtype=torch.float64)
    x = torch.randn(9, 6, 5, dtype=torch.float64)
    B, T = (9, 6) if ours.batch_first else (6, 9)
    hx = torch.randn(ours.num_layers * ours.num_directions, B, 17, dtype=torch.float64)
    cut: dict[str, Tensor] = {}
    if given in ("reset", "both"):
        cut["reset"] = torch.rand(9, 6) < 0.2
    if given in ("lengths", "both"):
        cut["lengths"] = torch.randint(T + 1, (B,))
    for a, b in zip(run(ours, x, hx, cut), run(theirs, x, hx, cut), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_float32_agrees_within_rounding(options: dict[str, Any]) -> None:
    gru = nn.GRU(5, 17, **options)
    layer = RAMGRU.from_gru(gru, **MEMORY, gru_kernel="native")
    x = torch.randn(9, 6, 5)
    for a, b in zip(layer(x), gru(x), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_default_is_native_and_an_upgraded_gru_stays_with_torch() -> None:
    assert RAMGRU(3, 4, **MEMORY).gru_kernel == "native"
    assert RAMGRU.from_gru(nn.GRU(3, 4), **MEMORY).gru_kernel == "torch"
    assert RAMGRU.from_gru(nn.GRU(3, 4), **MEMORY, gru_kernel="native").gru_kernel == "native"


def test_unknown_kernel_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"gru_kernel: expected one of .*, got 'fast'"):
        RAMGRU(3, 4, gru_kernel="fast")


@pytest.mark.skipif(not native.supported(), reason="the native kernels are not built")
def test_native_code_runs_exactly_where_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("gru_walk", "torch_gru"):
        real = getattr(controller, name)

        def spy(*args: Any, real: Any = real, name: str = name) -> Any:
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(controller, name, spy)

    x, hidden = torch.randn(2, 3, 5), torch.zeros(1, 2, 4)
    weights = [[torch.randn(12, 5), torch.randn(12, 4)]]

    def taken(**isa: str) -> str:
        calls.clear()
        with native.use(isa.get("isa", native.supported()[0])):
            controller.gru(x, hidden, weights)
        return calls[0]

    assert taken() == "gru_walk"
    assert taken(isa="portable") == "torch_gru"
    x = x[:, :1]  # a single step does not repay packing weights
    assert taken() == "torch_gru"
