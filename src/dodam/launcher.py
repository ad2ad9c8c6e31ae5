"""A stage of a recipe on several ranks of this machine. In: how many, then a command and its config file, as arguments.

torch's launcher starts the ranks, without its own reports: what fails is said by rank 0. Out: the exit code of the rank
that failed first. If the runner dies, the launcher does, and with it the ranks.
"""

import logging
import os
import sys


def main() -> int:
    """Start the ranks and wait for them."""
    from dodam.child import leave_with_runner, stop_as_ctrl_c

    number, *words = sys.argv[1:]
    stop_as_ctrl_c()
    leave_with_runner()
    logging.disable()  # torch's launcher tells every failure, with a traceback
    os.environ["PYTHONSAFEPATH"] = "1"  # a file in the user's folder is not to stand in for a module
    try:
        from torch.distributed import run
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    except KeyboardInterrupt:
        return 1
    try:
        run.run(run.parse_args(["--standalone", "--nproc-per-node", number, "-m", "dodam.child", *words]))
    except ChildFailedError as failed:
        return max(1, failed.get_first_failure()[1].exitcode)
    except (SignalException, KeyboardInterrupt):  # the ranks have saved and ended
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
