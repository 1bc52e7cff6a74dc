"""The equalisers of a file that is being encoded: a few stretches of each block are decoded and compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacfile.equaliser import pack
from dacfile.stream import WindowDecoder

STRETCH = 64  # frames that are decoded in one piece
EDGE = 4  # frames of it at both ends that are not compared: what they depend on is not all there
MOST_STRETCHES = 4  # in a block


class Equalising:
    """Find the equalisers of blocks whose samples and codes come one after the other.

    `channels` are the numbers of the coded channels, SIDE among them.
    """

    def __init__(self, codec: WindowDecoder, channels: Sequence[int]) -> None:
        self._codec, self._channels = codec, channels
        self._held = np.zeros((0, len(channels)), np.float32)
        self._first = 0  # sample of the file that _held begins with

    def push(self, samples: np.ndarray) -> None:
        """Take the coded channels' samples float32 [n, C]."""
        self._held = np.concatenate([self._held, samples])

    def of_block(self, first_frame: int, codes: np.ndarray) -> list[bytes]:
        """Return the stored equaliser of each channel of a block, from its codes uint16 [C, K, n], ABSENT where cut.

        Blocks are asked for in order; the samples of the past are dropped.
        """
        facts = self._codec.facts
        starts = stretches(codes.shape[-1])
        wanted, decoded = self._wanted(first_frame, starts), self._decoded(first_frame, starts, codes)
        end = (first_frame + codes.shape[-1]) * facts.hop
        self._held, self._first = self._held[end - self._first :], end
        return [pack(_levels(x, y, facts.rate)) if starts else b"" for x, y in zip(wanted, decoded, strict=True)]

    def _wanted(self, first_frame: int, starts: list[int]) -> np.ndarray:
        """Return the samples of the stretches without their edges, [C, S, n], with zeros after the end of the file."""
        hop = self._codec.facts.hop
        length = (STRETCH - 2 * EDGE) * hop
        out = np.zeros((len(self._channels), len(starts), length), np.float32)
        for number, start in enumerate(starts):
            first = (first_frame + start + EDGE) * hop - self._first
            part = self._held[first : first + length].T
            out[:, number, : part.shape[1]] = part
        return out

    def _decoded(self, first_frame: int, starts: list[int], codes: np.ndarray) -> np.ndarray:
        """Return what the stretches decode to, without their edges, [C, S, n]."""
        hop = self._codec.facts.hop
        if not starts:
            return np.zeros((len(codes), 0, 0), np.float32)
        windows = np.stack([codes[..., start : start + STRETCH] for start in starts], 1)
        firsts = [first_frame + start for start in starts] * len(codes)
        numbers = np.repeat(self._channels, len(starts)).tolist()
        samples = self._codec.decode_windows(windows.reshape(-1, *windows.shape[2:]), firsts, numbers)
        return samples.reshape(len(codes), len(starts), -1)[..., EDGE * hop : (STRETCH - EDGE) * hop]


def stretches(frames: int) -> list[int]:
    """Return the first frames of the stretches of a block, spread evenly; none where it is shorter than one."""
    count = min(frames // STRETCH, MOST_STRETCHES)
    return [(2 * i + 1) * frames // (2 * count) - STRETCH // 2 for i in range(count)]


def _levels(wanted: np.ndarray, decoded: np.ndarray, rate: int) -> np.ndarray:
    import torch

    from dacfile.model.equalise import find_levels

    return find_levels(torch.from_numpy(wanted), torch.from_numpy(decoded), rate)
