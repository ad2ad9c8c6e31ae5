"""What a training will take before it is begun: memory, time, energy, cost, also on thousands of devices. Also the
command `plan`."""

import sys

from dodam import CallableModule

sys.modules[__name__].__class__ = CallableModule  # `dodam.plan(...)` is the command
