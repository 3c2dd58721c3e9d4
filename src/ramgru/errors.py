"""Errors at run time, as one family: the command line prints their message as one sentence."""


class RamgruError(Exception):
    """An error that the user can understand from its message alone."""


class CheckpointError(RamgruError):
    """A file of a model or a training state is missing, broken or foreign."""


class DataError(RamgruError):
    """A data file is missing, broken or of the wrong kind."""
