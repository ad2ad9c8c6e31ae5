"""The bundled corpus: a small Korean-English world made from a seed; nothing is stored. Also the command `sample`."""

import sys

from dodam import CallableModule

sys.modules[__name__].__class__ = CallableModule  # `dodam.sample(...)` is the command
