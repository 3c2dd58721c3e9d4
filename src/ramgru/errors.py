"""What goes wrong at run time, as one family: the command line turns it into one sentence."""


class RamgruError(Exception):
    """A failure that the user can understand from its message alone."""


class CheckpointError(RamgruError):
    """A file that should hold a model or a training state is missing, broken or foreign."""


class DataError(RamgruError):
    """A data file is missing, broken, or not of the kind that was asked for."""
