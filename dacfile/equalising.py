"""The equalisers of a file that is being encoded: a few stretches of each block are decoded and compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacfile.equaliser import pack
from dacfile.stream import WindowDecoder

STRETCH = 64  # frames that are decoded in one piece
EDGE = 4  # of them at each end that are not compared: what lies beyond is missing there, and they feel it most
MOST_STRETCHES = 4  # in a block
SHORTEST = 1024  # samples that a comparison takes: its largest window


class Equalising:
    """Find the equalisers of blocks whose samples and codes come one after the other.

    `channels` are the numbers of the coded channels, SIDE among them.
    """

    def __init__(self, codec: WindowDecoder, channels: Sequence[int]) -> None:
        self._codec, self._channels = codec, np.array(channels)
        self._parts: list[np.ndarray] = []
        self._first = 0  # sample of the file that the parts begin with

    def push(self, samples: np.ndarray) -> None:
        """Take the coded channels' samples float32 [n, C]."""
        self._parts.append(samples)

    def of_block(self, first_frame: int, codes: np.ndarray, wanted: Sequence[int]) -> dict[int, bytes]:
        """Return the stored equalisers of the wanted channels of a block, by their places.

        `codes` are those of all coded channels, uint16 [C, K, n], ABSENT where layers are left out. Blocks are asked
        for in order; the samples of the past are dropped.
        """
        facts = self._codec.facts
        end = (first_frame + codes.shape[-1]) * facts.hop
        samples = np.concatenate(self._parts)
        self._parts, origin, self._first = [samples[end - self._first :]], self._first, end
        starts = stretches(codes.shape[-1], facts.hop)
        if not starts or not len(wanted):
            return dict.fromkeys(wanted, b"")
        firsts = [first_frame + start for start in starts]
        original = _parts_of(samples, [first * facts.hop - origin for first in firsts], facts.hop)
        decoded = self._decoded(codes, wanted, starts, firsts)
        return {place: pack(_levels(original[place], y, facts.rate)) for place, y in zip(wanted, decoded, strict=True)}

    def _decoded(self, codes: np.ndarray, wanted: Sequence[int], starts: list[int], firsts: list[int]) -> np.ndarray:
        """Return what the stretches of the wanted channels decode to, without their edges, [wanted, S, n]."""
        windows = np.concatenate([codes[place, None, :, a : a + STRETCH] for place in wanted for a in starts])
        numbers = np.repeat(self._channels[list(wanted)], len(starts)).tolist()
        samples = self._codec.decode_windows(windows, firsts * len(wanted), numbers)
        hop = self._codec.facts.hop
        return samples.reshape(len(wanted), len(starts), -1)[..., EDGE * hop : (STRETCH - EDGE) * hop]


def stretches(frames: int, hop: int) -> list[int]:
    """Return the first frames of the stretches of a block, spread evenly; none where they would be too short."""
    if (STRETCH - 2 * EDGE) * hop < SHORTEST:
        return []
    count = min(frames // STRETCH, MOST_STRETCHES)
    return [(2 * i + 1) * frames // (2 * count) - STRETCH // 2 for i in range(count)]


def _parts_of(samples: np.ndarray, starts: list[int], hop: int) -> np.ndarray:
    """Return the stretches, which begin at `starts` in samples [n, C], without their edges: [C, S, length]."""
    return np.stack([samples[start + EDGE * hop : start + (STRETCH - EDGE) * hop].T for start in starts], 1)


def _levels(wanted: np.ndarray, decoded: np.ndarray, rate: int) -> np.ndarray:
    import torch

    from dacfile.model.equalise import find_levels

    return find_levels(torch.from_numpy(wanted), torch.from_numpy(decoded), rate)
