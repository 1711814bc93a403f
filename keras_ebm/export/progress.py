"""A line that says how far a program is."""

import sys
import time


class Progress:
    """Rows that are done, for the time of a block, on stderr if that is a terminal.

    Args:
        total: int, all rows.
        done: int, those that were done before.
    """

    WIDTH = 30

    def __init__(self, total: int, done: int = 0):
        self.total, self.first, self.begin = total, done, time.monotonic()
        self.is_shown = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Writes the line anew."""
        if not self.is_shown:
            return
        seconds = max(time.monotonic() - self.begin, 1e-9)
        filled = self.WIDTH * done // max(self.total, 1)
        bar = "=" * filled + "." * (self.WIDTH - filled)
        rate = (done - self.first) / seconds
        sys.stderr.write(f"\r[{bar}] {done:,} of {self.total:,} rows, {rate:,.0f}/s ")
        sys.stderr.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        """Removes the line."""
        if self.is_shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
