"""One task on a worker. In: a function of a module and its task. Out: an outcome, the same on every engine.

Run as a module it is a process that takes tasks from its standard input and writes outcomes to its standard output.
It imports what the functions import and no torch, and leaves at once, however its parent ended.
"""

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from dodam.errors import DodamError

Attempt = tuple[str, Any]
"""("result", what the function returned), ("refused", a DodamError in parts) or ("failed", another exception)."""


def attempt(function: Callable[[Any], Any], task: Any) -> Attempt:
    """Call the function. An error is handed back as a value, so that every engine tells it alike."""
    try:
        return "result", function(task)
    except DodamError as error:
        return "refused", (type(error), error.what, error.where, error.mend)
    except (OSError, MemoryError) as error:
        return "failed", error
    except Exception:  # ours; not every exception can be sent to another process
        return "failed", RuntimeError(traceback.format_exc())


def result_of(outcome: Attempt) -> Any:
    """What the function returned; raises what it raised."""
    kind, value = outcome
    if kind == "result":
        return value
    if kind == "refused":
        error, what, where, mend = value
        raise error(what, where=where, mend=mend)
    raise value


def serve() -> None:
    """Do tasks until standard input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the results
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()
    while True:
        function, task = tasks.get()
        pickle.dump(attempt(function, task), results)
        results.flush()


def _receive(stream: BinaryIO, tasks: queue.SimpleQueue) -> None:
    try:
        while True:
            tasks.put(pickle.load(stream))
    except (EOFError, pickle.UnpicklingError):  # the parent is gone, or needs nothing more
        os._exit(0)
    except Exception:  # a task that means nothing here: the parent is told by our end, and must not wait
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    serve()
