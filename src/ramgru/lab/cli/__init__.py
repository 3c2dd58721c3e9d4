"""The command line: `ramgru generate|train|evaluate|compare|report|inspect|info`."""

from ramgru.lab.cli.main import main

__all__ = ["main"]
