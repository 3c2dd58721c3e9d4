"""ramgru: GRU layers with a random-access memory."""

from ramgru.version import __version__

__all__ = ["__version__"]
