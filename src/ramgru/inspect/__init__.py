"""Looking inside a trained model: what one input wrote, where, and where answers came from."""

from ramgru.inspect.main import InspectConfig, inspect

__all__ = ["InspectConfig", "inspect"]
