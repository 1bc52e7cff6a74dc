"""How much of a file is handed to a codec at once: as many windows as its device takes in one batch, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from dacfile.stream import Windowed
from dacfile.windows import default_size

PIECE_VALUES = 1 << 24  # samples of all channels: 64 MiB of float32


def piece_frames(codec: Windowed, context: int, channels: int) -> int:
    """Return the frames of one piece; `context` is that of the encoder or the decoder, in frames."""
    windows = -(-codec.batch // channels)
    budget = PIECE_VALUES // (codec.facts.hop * channels)
    return max(min(windows * default_size(context), budget), 1)


def regroup(parts: Iterable[np.ndarray], size: int, axis: int) -> Iterator[np.ndarray]:
    """Yield arrays of exactly `size` along `axis`, the last one shorter; nothing for no parts."""
    held: list[np.ndarray] = []
    length = 0
    for part in parts:
        held.append(part)
        length += part.shape[axis]
        if length < size:
            continue
        whole = np.concatenate(held, axis)
        cuts = range(size, length + 1, size)
        *full, rest = np.split(whole, cuts, axis)
        yield from full
        held, length = [rest], rest.shape[axis]
    if length:
        yield np.concatenate(held, axis)
