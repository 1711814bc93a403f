"""SIGINT and SIGTERM: the first one stops a program, and none breaks a save."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

import keras

#: Ctrl-C, and how clusters and containers stop a job.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """Of the process: the signal that came, if it was raised, and who holds it back."""

    number: int | None = None
    raised = False
    holders = 0


def install() -> None:
    """Lets the first signal raise `Stopped` where the program is, and no later one.

    A signal that was ignored from the start, as that of a job in the background, stays
    so.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


def ignore() -> None:
    """For a program that is done: no signal changes how it ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _handle(number, frame):
    if _State.number is None:
        _State.number = number
        if not _State.holders:
            _raise()


def _raise(note=""):
    _State.raised = True
    stop = Stopped(_State.number)
    if note:
        stop.add_note(note)
    raise stop


@contextlib.contextmanager
def held(note: str) -> Iterator[None]:
    """Holds a signal back until the block, such as a save, is done.

    Args:
        note: what the user should know then.
    """
    _State.holders += 1
    try:
        yield
    finally:
        _State.holders -= 1
    if _State.number is not None and not _State.raised and not _State.holders:
        _raise(note)


@contextlib.contextmanager
def noting(text: str) -> Iterator[None]:
    """Adds to a stop inside the block what the user should know of it."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(text)
        raise


class StopWhenAsked(keras.callbacks.Callback):
    """Stops training after the step in which a signal's exception got lost.

    Python drops those that are raised in a destructor, and Keras some of those that
    are raised while it saves.
    """

    def on_train_batch_end(self, batch, logs=None):
        if _State.number is not None:
            _raise()


def leave(error: KeyboardInterrupt, *more: str, name: str = "") -> NoReturn:
    """Ends the program with one line: 130 is SIGINT's status, 143 SIGTERM's.

    Args:
        error: its notes are part of the line.
        *more: texts that follow them.
        name: of the program, to begin the line with.
    """
    notes = "; ".join([*getattr(error, "__notes__", ()), *more])
    begin = f"{name}: interrupted" if name else "interrupted"
    sys.stderr.write(f"\n{begin}{': ' if notes else ''}{notes}\n")
    sys.exit(128 + getattr(error, "number", signal.SIGINT))
