"""What every fuzzer here does: many cases from one seed, each timed, none with an exception that nobody expects."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

MARGIN = 512 << 20
SLOW = 30.0  # seconds; a case takes milliseconds


def limit_memory() -> None:
    """Allow this process MARGIN bytes more than it has; where the system does not tell how much that is, nothing."""
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MARGIN,) * 2)


def run_cases(case: Callable[[int], str], count: int, seed: int) -> None:
    """Call `case(number)`, which returns what became of it, for `count` numbers from a billion times `seed` on.

    Raises what a case raises, and AssertionError for a slow one, after naming the case.
    """
    outcomes: Counter[str] = Counter()
    slowest, begin = 0.0, time.monotonic()
    for number in range(seed * 10**9, seed * 10**9 + count):
        began = time.monotonic()
        try:
            outcomes[case(number)] += 1
        except BaseException:
            print(f"case {number}", file=sys.stderr)
            raise
        slowest = max(slowest, time.monotonic() - began)
        if slowest > SLOW:
            raise AssertionError(f"case {number} took {slowest:.1f} s")
    print(f"{count} cases, {time.monotonic() - begin:.0f} s, slowest {slowest:.3f} s")
    print(dict(outcomes.most_common()))
