"""Checks of what a caller gives that more than one function makes. Standard library only."""

from __future__ import annotations

import operator
from typing import SupportsIndex, cast

from dacfile.errors import UsageError


def whole(value: object, what: str) -> int:
    """Return an argument as int, be it Python's or numpy's. Raises UsageError for anything else, 2.0 included."""
    try:
        return operator.index(cast(SupportsIndex, value))
    except TypeError:
        raise UsageError(f"{what}: {value!r} is not a whole number") from None
