"""The command `dacz` with the stub codec as its only model, for tests that need a process of its own.

`STUB_DELAY` slows down every call of the codec, in seconds, so that a test can interrupt it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from stub_codec import StubCodec

from dacfile.installed import Codecs
from dacz.app import main


class SlowStub(StubCodec):
    """Waits in every call."""

    def encode_windows(self, x, first_frames, channels):
        time.sleep(float(os.environ.get("STUB_DELAY", "0")))
        return super().encode_windows(x, first_frames, channels)


if __name__ == "__main__":
    stub = SlowStub()
    Codecs.load = lambda self, key: stub  # type: ignore[method-assign]
    main()
