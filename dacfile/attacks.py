"""What is decoded before an attack is turned down: in a transform codec it would be heard as a burst of noise.

A frame of the transform is longer than an attack is, and what its codes get wrong is spread over all of it, also over
the silence before the attack. So a file tells where attacks are, and by how much samples before them come too loud.
Defined in spec/dacz-v1.md, section 9.8; how an encoder finds them is in `dacfile.attack_search`. Numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dacfile.container import Attack
from dacfile.container.block import ATTACK_STEPS

REACH = 2  # hops before an attack that are turned down: as far as a frame reaches
FALL = 1  # hops in which the level falls at first


def curve(hop: int) -> np.ndarray:
    """Return the share of an attack's depth, in dB, by which samples before it are turned down: float64 [2 hop]."""
    to_attack = REACH * hop - 0.5 - np.arange(REACH * hop)
    return np.minimum(1, np.minimum((REACH * hop - to_attack) / (FALL * hop), to_attack * ATTACK_STEPS / hop))


class Attacks:
    """The attacks of a file's channels, as blocks come, and what they do to the samples, as these pass.

    `start` is the first of the samples. A block has to come before the last two hops in front of its first frame pass.
    """

    def __init__(self, hop: int, start: int) -> None:
        self._hop, self._position, self._curve = hop, start, curve(hop)
        self._known: list[tuple[int, int, int]] = []  # sample, channel, depth

    def add(self, first_frame: int, channels: Iterable[tuple[Attack, ...]]) -> None:
        """Take the attacks of each channel of a block."""
        for channel, attacks in enumerate(channels):
            for attack in attacks:
                sample = first_frame * self._hop + attack.position * self._hop // ATTACK_STEPS
                self._known.append((sample, channel, attack.depth))

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Return the next samples float32 [n, C], those before attacks turned down."""
        low, high = self._position, self._position + len(samples)
        now = [known for known in self._known if known[0] - len(self._curve) < high]
        self._position, self._known = high, [known for known in self._known if known[0] > high]
        if not now:
            return samples
        fall = np.zeros(samples.shape)  # dB
        for sample, channel, depth in now:
            first = sample - len(self._curve)
            part = slice(max(first - low, 0), max(sample - low, 0))
            share = self._curve[max(low - first, 0) :][: len(fall[part])]
            fall[part, channel] = np.maximum(fall[part, channel], depth * share)
        lowered, places = samples.copy(), np.nonzero(fall)  # powers of so few take no time
        lowered[places] *= (10 ** (fall[places] / -20)).astype(np.float32)
        return lowered
