"""The equaliser of a channel in a block: gains at 80 frequencies that correct what its codes get wrong for a while.

Each stretch of 64 frames has its own. Their definition is in spec/dacz-v1.md, section 9.7, their bytes are in
`dacfile.equaliser_code`; how an encoder finds them is in `dacfile.model.equalise`. Numpy only.
"""

from __future__ import annotations

import math

import numpy as np

from dacfile.container.block import STRETCH
from dacfile.equaliser_code import FLAT, POINTS, unpack

# What a level means, in dB: fine where most gains are, and reaching far enough for the gaps between partials.
DECIBELS = np.array([-16, -12, -9, -6, -4.5, -3, -2, -1, 0, 1, 2, 3, 4.5, 6, 9, 12], np.float32)
NEPERS = DECIBELS * (math.log(10) / 20)


def gains(levels: np.ndarray) -> np.ndarray:
    """Return the gains float32, in nepers, of levels of any shape."""
    return NEPERS[levels]


def interpolation(frequencies: np.ndarray, rate: int) -> np.ndarray:
    """Return the matrix float64 [POINTS, n] that interpolates linearly between the points, to frequencies [n] in Hz."""
    top = 2595 * math.log10(1 + rate / 2 / 700)  # mel, O'Shaughnessy's formula
    points = 700 * (10 ** (np.linspace(0, top, POINTS) / 2595) - 1)
    above = np.clip(np.searchsorted(points, frequencies, side="right"), 1, POINTS - 1)
    share = np.clip((frequencies - points[above - 1]) / (points[above] - points[above - 1]), 0, 1)
    matrix = np.zeros((POINTS, len(frequencies)))
    columns = np.arange(len(frequencies))
    matrix[above - 1, columns] = 1 - share
    matrix[above, columns] = share
    return matrix


def bin_interpolation(hop: int, rate: int) -> np.ndarray:
    """Return `interpolation` to the middles of a frame's `hop` coefficients, [POINTS, hop]."""
    return interpolation((np.arange(hop) + 0.5) * rate / (2 * hop), rate)


class FrameGains:
    """The gains of a file's frames, from the equalisers of its blocks as they come.

    Frames are asked for in order: what lies before them is forgotten.
    """

    def __init__(self, frames_per_block: int) -> None:
        self._size = frames_per_block
        self._blocks: dict[int, np.ndarray] = {}  # of those that have any: levels uint8 [C, S, POINTS]

    def add(self, sequence: int, equalisers: tuple[bytes, ...], frames: int) -> None:
        """Take the equalisers of a block of so many frames, one for each channel, empty where it has none.

        Raises EntropyMismatch for bytes that the range coder finds invalid.
        """
        if any(equalisers):
            self._blocks[sequence] = np.stack([unpack(data, frames) for data in equalisers])

    def at(self, first_frames: np.ndarray, channels: np.ndarray, frames: int) -> np.ndarray | None:
        """Return gains float32 [B, frames, POINTS] in nepers for windows; None where all of them are 0.

        `first_frames` and `channels`, int [B], are the number of each window's first frame and its channel's place.
        """
        numbers = first_frames[:, None] + np.arange(frames)
        blocks, places = numbers // self._size, numbers % self._size // STRETCH
        self._blocks = {number: levels for number, levels in self._blocks.items() if number >= blocks.min()}
        known = sorted(self._blocks.keys() & set(np.unique(blocks).tolist()))
        if not known:
            return None
        levels = np.full((*blocks.shape, POINTS), FLAT, np.uint8)
        for number in known:
            known_levels = self._blocks[number]
            # Frames after the end of the file's last block are context that has no codes.
            rows, columns = np.nonzero((blocks == number) & (places < known_levels.shape[1]))
            levels[rows, columns] = known_levels[channels[rows], places[rows, columns]]
        return gains(levels)
