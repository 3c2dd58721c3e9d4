"""The tasks that measure random access, one file each, and the registry of their names."""

from ramgru.tasks.answers import ExactAnswers, exact_answers
from ramgru.tasks.associative_recall import AssociativeRecall
from ramgru.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.tasks.compression import Compression
from ramgru.tasks.copy import Copy
from ramgru.tasks.cycle_navigation import CycleNavigation
from ramgru.tasks.duplicate import Duplicate
from ramgru.tasks.files import FileTask, read_examples, write_examples
from ramgru.tasks.hold import Hold
from ramgru.tasks.in_context_recall import InContextRecall
from ramgru.tasks.japanese_vowels import JapaneseVowels
from ramgru.tasks.listops import ListOps
from ramgru.tasks.missing_duplicate import MissingDuplicate
from ramgru.tasks.mqar import MQAR
from ramgru.tasks.mqar_compositional import MQARCompositional
from ramgru.tasks.mqar_update import MQARUpdate
from ramgru.tasks.ngram_lookup import NgramLookup
from ramgru.tasks.noisy_recall import NoisyRecall
from ramgru.tasks.odds_first import OddsFirst
from ramgru.tasks.parity import Parity
from ramgru.tasks.phone_book import PhoneBook
from ramgru.tasks.priority_sort import PrioritySort
from ramgru.tasks.programs import Programs
from ramgru.tasks.registry import SOURCES, TASKS, from_config, from_text, get, to_config
from ramgru.tasks.repeat_copy import RepeatCopy
from ramgru.tasks.reverse import Reverse
from ramgru.tasks.selective_copy import SelectiveCopy
from ramgru.tasks.spelling import Spelling
from ramgru.tasks.stream import Chunk, Stream
from ramgru.tasks.string_copy import StringCopy
from ramgru.tasks.text import Text
from ramgru.tasks.text_lookup import TextLookup
from ramgru.tasks.tokenfile import TokenFile
from ramgru.tasks.variable_tracking import VariableTracking

__all__ = [
    "IGNORE",
    "MQAR",
    "SOURCES",
    "TASKS",
    "AssociativeRecall",
    "Batch",
    "Chunk",
    "Compression",
    "Copy",
    "CycleNavigation",
    "Duplicate",
    "ExactAnswers",
    "FileTask",
    "Hold",
    "InContextRecall",
    "JapaneseVowels",
    "ListOps",
    "MQARCompositional",
    "MQARUpdate",
    "MissingDuplicate",
    "NgramLookup",
    "NoisyRecall",
    "OddsFirst",
    "Parity",
    "PhoneBook",
    "PrioritySort",
    "Programs",
    "RepeatCopy",
    "Reverse",
    "SelectiveCopy",
    "Slice",
    "Spelling",
    "Stream",
    "StringCopy",
    "Task",
    "Text",
    "TextLookup",
    "TokenFile",
    "VariableTracking",
    "exact_answers",
    "from_config",
    "from_text",
    "get",
    "read_examples",
    "to_config",
    "write_examples",
]
