"""The sizes that an evaluation has measured so far, in a file: it goes on after a kill."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ramgru import files
from ramgru.lab.train.measure import Tally
from ramgru.version import __version__

FILE = "evaluation.part.json"
_GROUPS = ("distance", "kind", "exact_of")  # of a tally, by numbers, which are text in JSON


class Part:
    """What is measured of one model with one effort. What another one left is ignored.

    asked: JSON values, of all that the results depend on besides the weights
    """

    def __init__(self, run: Path, model: nn.Module, asked: dict[str, Any]) -> None:
        weights = hashlib.sha256()
        for name, value in model.state_dict().items():
            weights.update(name.encode())
            numbers = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            weights.update(numbers.numpy().data)
        self.path = run / FILE
        key = files.digest([asked, weights.hexdigest(), __version__])
        self.values: dict[str, Any] = {"of": key, "sizes": {}}
        try:
            found = files.read_json(self.path, with_digest=True)
            if found["of"] == key:
                self.values = found
        except (OSError, ValueError, KeyError, TypeError):
            pass  # missing or broken: measured again

    def get(self, number: int) -> tuple[Tally, int] | None:
        """The tally and the longest sequence of size `number`, if it was measured."""
        found = self.values["sizes"].get(str(number))
        if found is None:
            return None
        tally = Tally(**found["tally"])
        for name in _GROUPS:
            setattr(tally, name, {int(k): v for k, v in getattr(tally, name).items()})
        return tally, found["longest"]

    def add(self, number: int, tally: Tally, longest: int) -> None:
        self.values["sizes"][str(number)] = {"tally": asdict(tally), "longest": longest}
        files.write_json(self.path, self.values, with_digest=True)

    def remove(self) -> None:
        """Remove the file: the evaluation is complete."""
        self.path.unlink(missing_ok=True)
