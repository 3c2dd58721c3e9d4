"""A step of a stream in onnxruntime beside `RAMGRU.stream`: python benchmarks/onnx_step.py

Needs `pip install ".[onnx]"`. One sequence, one thread; the numbers are the best of several
rounds, which alternate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import onnxruntime
import torch

from ramgru import RAMGRU, Memory
from ramgru.kernels import native
from ramgru.onnx import Step

WIDTH, CELLS, ROUNDS, STEPS = 64, 4096, 15, 30


def exported(step: Step) -> Any:
    names = step.names()
    program = torch.onnx.export(
        step,
        (torch.randn(2, WIDTH), *step.start(2)),
        dynamo=True,
        verbose=False,
        dynamic_shapes=step.dynamic_shapes(),
        input_names=["x", *names],
        output_names=["y", *(f"next_{name}" for name in names)],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options)


def in_place(session: Any, step: Step, x: torch.Tensor) -> Callable[[], None]:
    """Steps whose rows stay where they are: input and output are one buffer."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", value(x.numpy()))
    binding.bind_ortvalue_output("y", value(torch.zeros(1, WIDTH).numpy()))
    pairs = []
    for name, start in zip(step.names(), step.start(1), strict=True):
        now, after = value(start.numpy().copy()), value(start.numpy().copy())
        if name.endswith("rows"):
            binding.bind_ortvalue_input(name, now)
            binding.bind_ortvalue_output(f"next_{name}", now)
        else:
            pairs.append([name, now, after])

    def run() -> None:
        for pair in pairs:
            name, now, after = pair
            binding.bind_ortvalue_input(name, now)
            binding.bind_ortvalue_output(f"next_{name}", after)
            pair[1:] = after, now
        session.run_with_iobinding(binding)

    return run


def copied(session: Any, step: Step, x: torch.Tensor) -> Callable[[], None]:
    """Steps that pass the state in and out as arrays."""
    names, state = ["x", *step.names()], [t.numpy() for t in step.start(1)]

    def run() -> None:
        _, *state[:] = session.run(None, dict(zip(names, [x.numpy(), *state], strict=True)))

    return run


def main() -> None:
    torch.set_num_threads(1)
    layer, x = RAMGRU(WIDTH, WIDTH, memory=Memory(CELLS)).eval(), torch.randn(1, WIDTH)
    step, stream = Step(layer).eval(), layer.stream(1)
    session = exported(step)
    other = layer.stream(1)

    def portable() -> None:
        with native.use(native.PORTABLE):
            other.step(x)

    runs: dict[str, Callable[[], Any]] = {
        "RAMGRU.stream": lambda: stream.step(x),
        "the same without native code": portable,
        "onnxruntime, rows in place": in_place(session, step, x),
        "onnxruntime, state copied": copied(session, step, x),
    }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.process_time()
            for _ in range(STEPS):
                run()
            best[name] = min(best[name], (time.process_time() - began) / STEPS * 1e6)
    for name, spent in best.items():
        print(f"{name:28} {spent:6.0f} us a step, {spent / best['RAMGRU.stream']:.1f} x")


if __name__ == "__main__":
    main()
