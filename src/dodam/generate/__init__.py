"""Token ids in, token ids out: the engine and its parts. Also the commands `generate` and `chat`."""

import sys

from dodam import CallableModule

sys.modules[__name__].__class__ = CallableModule  # `dodam.generate(...)` is the command
