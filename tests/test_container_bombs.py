"""Numbers in a file never decide how much memory is taken: tried in a child process that has little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit the memory of a child")
def test_allocation_bombs() -> None:
    child = Path(__file__).parent / "bomb_child.py"
    path = [str(child.parent), str(child.parent.parent)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; import bomb_child; bomb_child.main()"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    report = json.loads(done.stdout)
    assert report["files"] > 4_000
    assert report["escaped"] == []
    assert report["grown"] < 32 << 20
