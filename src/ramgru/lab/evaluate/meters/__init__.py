"""Meters of memory: past inputs in the units, bits in the weights, bits in the state."""

from ramgru.lab.evaluate.meters.delays import ShortTermMemory, short_term_memory
from ramgru.lab.evaluate.meters.drive import through_layer, through_model
from ramgru.lab.evaluate.meters.information import information, recalled_bits
from ramgru.lab.evaluate.meters.memorise import Memorised, memorise
from ramgru.lab.evaluate.meters.recall import Recalled, recall

__all__ = [
    "Memorised",
    "Recalled",
    "ShortTermMemory",
    "information",
    "memorise",
    "recall",
    "recalled_bits",
    "short_term_memory",
    "through_layer",
    "through_model",
]
