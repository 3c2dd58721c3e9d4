"""`python -m ramgru`, and `torchrun -m ramgru`: the command line."""

import sys

from ramgru.lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
