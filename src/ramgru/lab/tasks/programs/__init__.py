"""Programs over named registers: the language, its interpreter, and the task to run programs.

A program is a sequence of statements, each ended by `$`. `#` begins a number; `>` is the tab:

    r1 #12$              write a number into a register
    r2 abC$              write a word (letters only)
    r1>#12$              read a register back; what follows the tab is the answer
    r4 #5$
    SUBTRACT r4 r1>#-7$  combine two registers: ADD, SUBTRACT, MULTIPLY, DIVIDE, MAX, MIN
    UPPERCASE r2>ABC$    the same over words: UPPERCASE, LOWERCASE, CONCATENATE
    r1 ADD r4 r1>#17$    … and keep the result in a register (here r1, which is overwritten)
    r1>#17$

As a grammar:

    program   = { statement "$" }
    statement = register SPACE value                                        a write
              | register TAB [value]                                        a read-back
              | [register SPACE] operator SPACE register [SPACE register] TAB [value]
    value     = NUMBER ["-"] digit {digit}  |  letter {letter}

Numbers are exact integers; DIVIDE rounds toward zero. Dividing by zero, reading a register that was
never written, and an operator over values of the wrong type are errors. A register takes values of
either type. The interpreter also runs programs without answers.

>>> [answer.value for answer in Interpreter().run("r1 #12$r4 #5$SUBTRACT r4 r1\\t$")]
[-7]
"""

from ramgru.lab.tasks.programs.interpreter import Answer, Interpreter, ProgramError
from ramgru.lab.tasks.programs.language import Vocabulary
from ramgru.lab.tasks.programs.task import Programs

__all__ = ["Answer", "Interpreter", "ProgramError", "Programs", "Vocabulary"]
