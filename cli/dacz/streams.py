"""Standard input and output, also where the caller has closed them."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from dacfile.errors import UsageError

_NAMES = ("stdin", "stdout", "stderr")


def open_missing() -> None:
    """Put the null device in place of standard streams that are closed.

    Else the next file to be opened would get a number from 0 to 2, and what others write there, and Python would have
    None for the stream.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def binary_input() -> BinaryIO:
    """Return standard input as bytes. Raises UsageError when it is closed."""
    _refuse_closed(sys.__stdin__, "input")
    return sys.stdin.buffer


def binary_output() -> BinaryIO:
    """Return standard output for bytes. Raises UsageError when it is closed, or a terminal."""
    _refuse_closed(sys.__stdout__, "output")
    if sys.stdout.isatty():
        raise UsageError("binary data are not written to a terminal; use -o FILE, or pipe them somewhere")
    return sys.stdout.buffer


def _refuse_closed(at_start: object, name: str) -> None:
    """Raise UsageError for a stream that Python has not found at its start, whatever stands in for it now."""
    if at_start is None:
        raise UsageError(f"standard {name} is closed")
