"""The options of every command, frozen: a change here is a change for everyone who types them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ramgru.lab import tasks
from ramgru.lab.cli.completion import DEFAULTS as COMMANDS
from ramgru.lab.cli.options import options

TASK = tasks.get("mqar")
DEFAULTS = {
    name: dataclasses.replace(default, task=TASK) if hasattr(default, "task") else default
    for name, default in COMMANDS.items()
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
    found = [flag for one in options(type(default), default) for flag in one.flags]
    assert found == listed()[command], "change options.txt and the CHANGELOG along with the options"
