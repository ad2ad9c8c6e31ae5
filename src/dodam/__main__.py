"""`python -m dodam` is the command `dodam`. In: the command line. Out: the exit code."""

import sys

from dodam.cli import main

sys.exit(main())
