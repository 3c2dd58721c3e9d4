"""What can be wrong with a program; every message names the statement that it is about."""


class ProgramError(ValueError):
    """A program that cannot be run."""


class ProgramSyntaxError(ProgramError):
    """A statement that is none of the four kinds."""


class UnknownRegisterError(ProgramError):
    """A register was read before anything was written into it."""


class TypeMismatchError(ProgramError):
    """An operator over numbers was given a word, or the other way round."""


class DivideByZeroError(ProgramError):
    """DIVIDE by a register that holds 0."""


class WrongAnswerError(ProgramError):
    """The program states an answer that is not what it computes."""


class TooLongError(ProgramError):
    """A value has more characters than an interpreter keeps."""
