"""Measuring models: bits per byte, tasks with checkable answers, the report. Also the command `evaluate`."""

import sys

from dodam import CallableModule

sys.modules[__name__].__class__ = CallableModule  # `dodam.evaluate(...)` is the command
