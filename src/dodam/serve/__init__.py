"""The HTTP server: protocol, worker thread, routes, chat page. Also the command `serve`."""

import sys

from dodam import CallableModule

sys.modules[__name__].__class__ = CallableModule  # `dodam.serve(...)` is the command
