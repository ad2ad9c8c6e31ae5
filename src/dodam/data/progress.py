"""Progress on standard error: bytes a second, time to go; one line rewritten on a terminal, plain lines elsewhere."""

import shutil
import sys
import time

PLAIN_SECONDS = 15.0  # between two lines where there is no terminal


class Progress:
    """Tells how far some work is. Called with the bytes of each piece of it that is done."""

    def __init__(self, name: str, size: int, already: int = 0) -> None:
        self.name, self.size, self.already, self.done = name, size, already, already
        self.started = self.last = time.monotonic()
        self.live = sys.stderr.isatty()
        if already:
            print(f"{name}: goes on at {already / max(1, size):.0%}", file=sys.stderr)

    def __call__(self, num_bytes: int) -> None:
        self.done += num_bytes
        now = time.monotonic()
        line = line_of(self.name, self.done, self.size, self.done - self.already, now - self.started)
        if self.live:
            end = "\n" if self.done >= self.size else ""
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end=end, file=sys.stderr, flush=True)
        elif now - self.last >= PLAIN_SECONDS:
            self.last = now
            print(line, file=sys.stderr, flush=True)


def line_of(name: str, done: int, size: int, here: int, seconds: float) -> str:
    """One line: share, megabytes a second over the `here` bytes of these `seconds`, and the time to go."""
    rate = here / max(seconds, 1e-9)
    to_go = (size - done) / rate if rate else 0.0
    return f"{name}: {done / max(1, size):4.0%}  {done / 1e6:,.1f} MB  {rate / 1e6:,.1f} MB/s  {duration(to_go)} to go"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 3m10s, 2h05m."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
