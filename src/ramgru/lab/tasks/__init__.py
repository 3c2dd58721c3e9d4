"""The tasks that measure random access, one file each, and the registry of their names."""

from ramgru.lab.tasks.answers import ExactAnswers, exact_answers
from ramgru.lab.tasks.associative_recall import AssociativeRecall
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.compression import Compression
from ramgru.lab.tasks.copy import Copy
from ramgru.lab.tasks.cycle_navigation import CycleNavigation
from ramgru.lab.tasks.duplicate import Duplicate
from ramgru.lab.tasks.files import FileTask, read_examples, write_examples
from ramgru.lab.tasks.hold import Hold
from ramgru.lab.tasks.in_context_recall import InContextRecall
from ramgru.lab.tasks.japanese_vowels import JapaneseVowels
from ramgru.lab.tasks.listops import ListOps
from ramgru.lab.tasks.missing_duplicate import MissingDuplicate
from ramgru.lab.tasks.mqar import MQAR
from ramgru.lab.tasks.mqar_compositional import MQARCompositional
from ramgru.lab.tasks.mqar_update import MQARUpdate
from ramgru.lab.tasks.ngram_lookup import NgramLookup
from ramgru.lab.tasks.noisy_recall import NoisyRecall
from ramgru.lab.tasks.odds_first import OddsFirst
from ramgru.lab.tasks.parity import Parity
from ramgru.lab.tasks.phone_book import PhoneBook
from ramgru.lab.tasks.priority_sort import PrioritySort
from ramgru.lab.tasks.programs import Programs
from ramgru.lab.tasks.registry import SOURCES, TASKS, from_config, from_text, get, to_config
from ramgru.lab.tasks.repeat_copy import RepeatCopy
from ramgru.lab.tasks.reverse import Reverse
from ramgru.lab.tasks.selective_copy import SelectiveCopy
from ramgru.lab.tasks.spelling import Spelling
from ramgru.lab.tasks.stream import Chunk, Stream
from ramgru.lab.tasks.string_copy import StringCopy
from ramgru.lab.tasks.text import Text
from ramgru.lab.tasks.text_lookup import TextLookup
from ramgru.lab.tasks.tokenfile import TokenFile
from ramgru.lab.tasks.variable_tracking import VariableTracking

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
