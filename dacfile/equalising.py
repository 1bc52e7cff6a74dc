"""The equalisers and attacks of a file that is being encoded: blocks are decoded and compared with what was coded.

At first only a few stretches of a block are. Only where they differ so much that each should have gains of its own,
all are; and then all of the next block, too, until one is steady again. Then, with these gains, what is around steep
rises of the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dacfile.attack_search import find_attacks
from dacfile.container import Attack
from dacfile.container.block import STRETCH
from dacfile.equaliser import gains
from dacfile.equaliser_code import FLAT, POINTS, pack
from dacfile.stream import WindowPreview
from dacfile.windows import ABSENT

if TYPE_CHECKING:
    from dacfile.model.equalise import Statistics

EDGE = 4  # frames on each side of what is compared that are decoded, too: what lies beyond is missing, hardly heard
LONGEST = 456  # frames that are decoded in one piece
SHORTEST = 1024  # samples of a stretch: the window of a comparison
SOME = 4  # stretches of a block that are compared at first


class Correction(NamedTuple):
    """What a channel of a block tells beside its codes."""

    equaliser: bytes
    attacks: tuple[Attack, ...]


class Equalising:
    """Find the equalisers and attacks of blocks whose samples and codes come one after the other.

    `channels` are the numbers of the coded channels, SIDE among them.
    """

    def __init__(self, codec: WindowPreview, channels: Sequence[int]) -> None:
        self._codec, self._channels = codec, channels
        self._parts: list[np.ndarray] = []
        self._first = 0  # sample of the file that the parts begin with
        self._moving: set[int] = set()  # places of the channels whose stretches had gains of their own last

    def push(self, samples: np.ndarray) -> None:
        """Take the coded channels' samples float32 [n, C]."""
        self._parts.append(samples)

    def of_block(self, first_frame: int, codes: np.ndarray, wanted: Sequence[int]) -> dict[int, Correction]:
        """Return the corrections of the wanted channels of a block, by their places.

        `codes` are those of all coded channels, uint16 [C, K, n], ABSENT where layers are left out. Blocks are asked
        for in order; the samples of the past are dropped.
        """
        hop, frames = self._codec.facts.hop, codes.shape[-1]
        samples = np.concatenate(self._parts)
        start, end = (hop * frame - self._first for frame in (first_frame, first_frame + frames))
        self._parts, self._first = [samples[end:]], self._first + end
        originals = np.pad(samples[start:end], ((0, max(0, end - len(samples))), (0, 0))).T
        parts = {place: _Part(self._codec, codes[place], first_frame, self._channels[place]) for place in wanted}
        return {place: self._correction(originals[place], part, place) for place, part in parts.items()}

    def _correction(self, original: np.ndarray, part: _Part, place: int) -> Correction:
        """Return the correction of a channel, from its samples [n x hop] and its codes."""
        hop, long_enough = part.facts.hop, part.frames >= STRETCH and STRETCH * part.facts.hop >= SHORTEST
        levels = self._levels(original, part, place) if long_enough else np.full((1, POINTS), FLAT, np.uint8)
        return Correction(pack(levels), find_attacks(original, hop, partial(part.around, levels)))

    def _levels(self, original: np.ndarray, part: _Part, place: int) -> np.ndarray:
        """Return the levels uint8 [S, POINTS] of a channel's stretches, from its samples [n x hop] and its codes."""
        from dacfile.model.equalise import choose_levels, find_levels, solve, steady_levels

        rate, starts, moving = part.facts.rate, stretch_starts(part.frames), place in self._moving
        solved = solve(part.compared(original, starts if moving else spread(starts), not moving), rate)
        own = choose_levels(*solved)
        steady = steady_levels(*solved, own)
        if steady is not None:
            self._moving.discard(place)
            return np.repeat(steady[None], len(starts), 0)
        self._moving.add(place)
        return own if moving else find_levels(part.compared(original, starts, False), rate)


class _Part:
    """One channel of a block: its codes uint16 [K, n], the number of its first frame, and its own number."""

    def __init__(self, codec: WindowPreview, codes: np.ndarray, first_frame: int, channel: int) -> None:
        self.facts, self.frames = codec.facts, codes.shape[-1]
        self._codec, self._codes, self._first, self._channel = codec, codes, first_frame, channel

    def decoded(self, starts: Sequence[int], frames: int, levels: np.ndarray | None = None) -> np.ndarray:
        """Return the samples [pieces, frames x hop] of so many frames from each of `starts` on, within the block.

        `levels` uint8 [S, POINTS] are those of an equaliser.
        """
        around = np.pad(self._codes, ((0, 0), (EDGE, EDGE + frames)), constant_values=ABSENT)
        windows = np.stack([around[:, start : start + frames + 2 * EDGE] for start in starts])
        firsts = [self._first + start - EDGE for start in starts]
        others = () if levels is None else (self._gains(levels, starts, frames),)
        samples = self._codec.preview_windows(windows, firsts, [self._channel] * len(starts), *others)
        return samples[:, EDGE * self.facts.hop : (EDGE + frames) * self.facts.hop]

    def _gains(self, levels: np.ndarray, starts: Sequence[int], frames: int) -> np.ndarray:
        """Return the gains of the frames that `decoded` decodes, float32 [pieces, frames + 2 EDGE, POINTS]."""
        of_frames = gains(np.repeat(levels, STRETCH, 0)[: self.frames])
        around = np.pad(of_frames, ((EDGE, EDGE + frames), (0, 0)))
        return np.stack([around[start : start + frames + 2 * EDGE] for start in starts])

    def whole(self, levels: np.ndarray | None = None) -> np.ndarray:
        """Return the samples [n x hop] of all frames."""
        count = -(-self.frames // (LONGEST - 2 * EDGE))
        size = -(-self.frames // count)
        return self.decoded(range(0, count * size, size), size, levels).reshape(-1)[: self.frames * self.facts.hop]

    def around(self, levels: np.ndarray, starts: Sequence[int], frames: int) -> np.ndarray:
        """Return what `decoded` does: from all of the block, where so many pieces have more frames than that."""
        if len(starts) * (frames + 2 * EDGE) <= self.frames:
            return self.decoded(starts, frames, levels)
        return _pieces(self.whole(levels), starts, self.facts.hop, frames)

    def compared(self, original: np.ndarray, starts: Sequence[int], apart: bool) -> Statistics:
        """Return the statistics of the stretches that begin with these frames, from what was coded, [n x hop].

        They are decoded `apart`, or all of the block is.
        """
        from dacfile.model.equalise import gather

        hop = self.facts.hop
        decoded = self.decoded(starts, STRETCH) if apart else _pieces(self.whole(), starts, hop)
        return gather(_pieces(original, starts, hop), decoded, self.facts.rate)


def spread(starts: Sequence[int]) -> list[int]:
    """Return SOME of the stretches, or fewer, spread evenly."""
    return sorted({starts[(2 * i + 1) * len(starts) // (2 * SOME)] for i in range(SOME)})


def stretch_starts(frames: int) -> list[int]:
    """Return the first frames of a block's stretches; in place of a last one that is short, of its last frames."""
    return [min(start, frames - STRETCH) for start in range(0, frames, STRETCH)]


def _pieces(samples: np.ndarray, starts: Sequence[int], hop: int, frames: int = STRETCH) -> np.ndarray:
    """Return the samples [S, frames x hop] from each of these frames on."""
    return np.stack([samples[start * hop : (start + frames) * hop] for start in starts])
