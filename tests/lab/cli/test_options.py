"""The options of every command, frozen: a change here is a change for everyone who types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramgru.lab import tasks
from ramgru.lab.cli.generate import GenerateConfig
from ramgru.lab.cli.parse import options
from ramgru.lab.compare.compare import CompareConfig, ReportConfig
from ramgru.lab.evaluate import EvaluateConfig
from ramgru.lab.show.inspect import InspectConfig
from ramgru.lab.train import TrainConfig

TASK = tasks.get("mqar")
DEFAULTS = {
    "generate": GenerateConfig(task=TASK),
    "train": TrainConfig(task=TASK),
    "evaluate": EvaluateConfig(),
    "compare": CompareConfig(task=TASK),
    "report": ReportConfig(Path("runs")),
    "inspect": InspectConfig(),
}
FROZEN = Path(__file__).with_name("options.txt")


def listed() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in FROZEN.read_text().splitlines():
        command, option = line.rsplit(maxsplit=1)
        found.setdefault(command, []).append(option)
    return found


@pytest.mark.parametrize("command", DEFAULTS)
def test_options_are_as_listed(command):
    default = DEFAULTS[command]
    found = options(type(default), default)
    assert found == listed()[command], "change options.txt and the CHANGELOG along with the options"
