"""`python -m ramgru`, and `torchrun -m ramgru`: the command line."""

import os
import sys

# `python -m` puts the current folder first: its files must hide no module of the libraries.
if sys.path and sys.path[0] in ("", os.getcwd()):
    sys.path.append(sys.path.pop(0))

from ramgru.lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
