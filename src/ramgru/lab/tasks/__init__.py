"""The tasks that measure random access, and the registry of their names.

Each import below names the file that defines a task.
"""

# ruff: noqa: F401 (the package exports all that it imports)

from ramgru.lab.tasks.base import (
    IGNORE,
    Batch,
    ExactAnswers,
    Slice,
    Task,
    exact_answers,
    is_asked,
)
from ramgru.lab.tasks.bit_vectors import AssociativeRecall, Copy, PrioritySort, RepeatCopy
from ramgru.lab.tasks.feature_recall import FeatureRecall
from ramgru.lab.tasks.files import FileTask, read_examples, write_examples
from ramgru.lab.tasks.fuzzy_recall import FuzzyRecall
from ramgru.lab.tasks.hold import Hold
from ramgru.lab.tasks.json_lines import Lines
from ramgru.lab.tasks.lag_recall import LagRecall
from ramgru.lab.tasks.length_generalisation import (
    CycleNavigation,
    Duplicate,
    MissingDuplicate,
    OddsFirst,
    Parity,
    Reverse,
)
from ramgru.lab.tasks.letters import NgramLookup, StringCopy
from ramgru.lab.tasks.listops import ListOps
from ramgru.lab.tasks.mad import Compression, InContextRecall, NoisyRecall, SelectiveCopy
from ramgru.lab.tasks.mqar import MQAR, MQARUpdate
from ramgru.lab.tasks.mqar_compositional import MQARCompositional
from ramgru.lab.tasks.packaged import JapaneseVowels, Spelling
from ramgru.lab.tasks.phone_book import PhoneBook
from ramgru.lab.tasks.programs import Programs
from ramgru.lab.tasks.registry import SOURCES, TASKS, from_config, from_text, get, to_config
from ramgru.lab.tasks.stream import Chunk, Stream
from ramgru.lab.tasks.table import Table
from ramgru.lab.tasks.text import Text, TokenFile
from ramgru.lab.tasks.text_lookup import TextLookup
from ramgru.lab.tasks.variable_tracking import VariableTracking
