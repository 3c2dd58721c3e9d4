"""The contract of `torch.nn.GRU`: constructor checks, parameters, attributes, input checks.

Messages follow torch.nn.modules.rnn, so that code that relies on them keeps working.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ramgru.gru import GATES
from ramgru.keys import autocasts


class RecurrentContract(nn.Module):
    """The attributes, parameters and argument checks of `nn.GRU`, without its computation."""

    mode = "GRU"

    @property
    def qconfig(self) -> None:
        """What torch.ao.quantization sets on every module before it quantises some."""
        return None

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        warnings.warn(
            "RAMGRU: torch.ao.quantization leaves it as it is; torchao quantises its memories: "
            "torchao.quantization.quantize_(model, Int8WeightOnlyConfig())",
            stacklevel=2,
        )

    @qconfig.deleter
    def qconfig(self) -> None:  # torch removes it at the end
        pass

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        controller: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        _check_constructor(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, controller
        )
        self.input_size, self.output_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout = float(dropout)
        self.controller = controller
        gates, made = GATES[controller] * hidden_size, {"device": device, "dtype": dtype}
        for layer, suffix in self.directions():
            width = self.layer_input_size(layer)
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, width)}
            if controller != "mingru":
                shapes["weight_hh"] = (gates, hidden_size) if controller == "gru" else (gates,)
            if bias:
                shapes["bias_ih"] = (gates,)
                if controller != "mingru":
                    shapes["bias_hh"] = (gates,)
            for name, shape in shapes.items():
                parameter = nn.Parameter(torch.empty(shape, **made))
                self.register_parameter(f"{name}_{suffix}", parameter)
        self._weight_names = tuple(shapes)

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    def layer_input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.output_size * self.num_directions

    def directions(self) -> Iterator[tuple[int, str]]:
        """(layer, suffix of its parameters), in the order of h_n."""
        for layer in range(self.num_layers):
            yield layer, f"l{layer}"
            if self.bidirectional:
                yield layer, f"l{layer}_reverse"

    def weights(self, suffix: str) -> list[Tensor]:
        return [getattr(self, f"{name}_{suffix}") for name in self._weight_names]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The controller's weights, as `nn.GRU.all_weights`."""
        return [self.weights(suffix) for _, suffix in self.directions()]

    def flatten_parameters(self) -> None:
        """Does nothing; exists for code that calls it."""

    def reset_controller(self) -> None:
        """Uniform ±1/√hidden_size, as `nn.GRU` and in its order."""
        bound = 1.0 / math.sqrt(self.output_size)
        for weights in self.all_weights:
            for weight in weights:
                nn.init.uniform_(weight, -bound, bound)
            if self.controller == "diagonal":  # a unit has one recurrent weight in place of many
                nn.init.uniform_(weights[1], -1.0, 1.0)

    def extra_repr(self) -> str:
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        parts = [f"{self.input_size}, {self.output_size}"]
        parts += [
            f"{name}={value}"
            for name, default in defaults.items()
            if (value := getattr(self, name)) != default
        ]
        return ", ".join(parts)

    def check_input(self, input: Tensor, hx: Tensor | None, packed: bool) -> None:
        if not isinstance(input, Tensor):
            raise TypeError(
                f"input: expected a tensor or a PackedSequence, got {type(input).__name__}"
            )
        weight = getattr(self, f"{self._weight_names[0]}_l0")
        if input.dtype != weight.dtype and not autocasts(input.device.type):
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), "
                f"or convert model: model.to({input.dtype})"
            )
        if packed and input.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {input.dim()}")
        if not packed and input.dim() not in (2, 3):
            raise ValueError(f"GRU: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if not packed and hx is not None and hx.dim() != input.dim():
            kind = "unbatched 2-D" if input.dim() == 2 else "batched 3-D"
            raise RuntimeError(
                f"For {kind} input, hx should also be {input.dim()}-D but got {hx.dim()}-D tensor"
            )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {input.shape[-1]}"
            )

    def check_hidden(self, hx: Tensor, batch: int) -> None:
        expected = (self.num_layers * self.num_directions, batch, self.output_size)
        if tuple(hx.shape) != expected:
            raise RuntimeError(f"Expected hidden size {expected}, got {list(hx.shape)}")
        weight = getattr(self, f"{self._weight_names[0]}_l0")
        if hx.dtype != weight.dtype and not autocasts(hx.device.type):
            raise RuntimeError(f"Expected hidden dtype {weight.dtype}, got {hx.dtype}")


def _check_constructor(
    input_size: Any,
    hidden_size: Any,
    num_layers: Any,
    bias: Any,
    batch_first: Any,
    dropout: Any,
    controller: Any,
) -> None:
    if (
        not isinstance(dropout, numbers.Number)
        or isinstance(dropout, bool)
        or not 0 <= dropout <= 1  # type: ignore[operator]
    ):
        raise ValueError(
            "dropout should be a number in range [0, 1] "
            f"representing the probability of an element being zeroed, got {dropout!r}"
        )
    if dropout > 0 and num_layers == 1:  # type: ignore[operator]
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and num_layers=1",
            stacklevel=4,
        )
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    for name, value in (
        ("input_size", input_size),
        ("hidden_size", hidden_size),
        ("num_layers", num_layers),
    ):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if controller not in GATES:
        raise ValueError(f"controller: expected one of {tuple(GATES)}, got {controller!r}")
