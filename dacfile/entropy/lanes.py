"""One coded channel of one block while it is coded: its codes so far and what the network makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacfile.entropy import network as numbers
from dacfile.entropy.network import Network


class Lane:
    """The codes uint16 [layers, frames] of a channel, and the network's state for each of its frames.

    `reference` is the lane of channel 0 for channels that look at it. Layers are learned in order, each frame by frame
    from the first, in steps of any size: what comes out does not depend on the steps.
    """

    def __init__(self, network: Network, codes: np.ndarray, first_frame: int, reference: Lane | None) -> None:
        self.codes = codes
        self.reference = reference
        self.frames = codes.shape[1] if len(codes) else 0
        self._network = network
        self._state = network.start(0 if reference is None else 1, first_frame, self.frames)
        self._kept: dict[int, np.ndarray] = {}
        self._is_reference = False
        self._side = network.config.taps // 2
        self._tails: dict[int, np.ndarray] = {}
        self.ready = [0] * len(codes)  # frames whose state has taken in the codes of this layer
        if reference is not None:
            reference._is_reference = True

    @property
    def depth(self) -> int:
        """Return the number of layers."""
        return len(self.codes)

    def sums(self, k: int, a: int, b: int) -> np.ndarray:
        """Return the head's sums of layer k for frames [a, b), own past excluded, once they are `available`."""
        x = self._network.activation(self._state[a:b])
        return self._network.head_sums(k, x, self.reference.kept(k, a, b) if self.reference else None)

    def available(self, k: int) -> int:
        """Return how many frames of layer k have all that their sums need."""
        own = self.ready[k - 1] if k else self.frames
        if self.reference is None:
            return own
        return min(own, self.reference.ready[min(k, self.reference.depth - 1)])

    def kept(self, k: int, a: int, b: int) -> np.ndarray:
        """Return the activations of frames [a, b) after layer k, or after the last one if there are fewer."""
        return self._kept[min(k, self.depth - 1)][a:b].astype(numbers.CARRIER)

    def learn(self, k: int, a: int, b: int) -> None:
        """Take in the codes of layer k in frames [a, b), which follow those taken in before."""
        if not self._is_reference and k + 1 == self.depth:
            return  # nothing will look at them
        state, side = self._state, self._side
        state[a:b] += self._network.layers[k].table[self.codes[k, a:b]]
        head = self._tails.pop(k) if a else self._zeros(side)
        parts = [head, self._network.activation(state[a:b])]
        if b == self.frames:
            parts.append(self._zeros(side))
        seen = np.concatenate(parts)
        done, begin = max(0, len(seen) - 2 * side), self.ready[k]
        self._network.mix(k, seen, state[begin : begin + done])
        self._tails[k] = seen[done:]
        self.ready[k] = begin + done
        if self._is_reference:
            self._keep(k, begin, begin + done)

    def _zeros(self, rows: int) -> np.ndarray:
        return np.zeros((rows, self._state.shape[1]), numbers.CARRIER)

    def _keep(self, k: int, a: int, b: int) -> None:
        if k not in self._kept:
            self._kept[k] = np.empty(self._state.shape, np.int8)
        self._kept[k][a:b] = self._network.activation(self._state[a:b])

    def forget(self, k: int) -> None:
        """Drop what is kept of layers before k."""
        for old in [layer for layer in self._kept if layer < min(k, self.depth - 1)]:
            del self._kept[old]


def lanes_of(network: Network, channels: Sequence[np.ndarray], first_frame: int) -> list[Lane]:
    """Return the lanes of a block, uint16 codes [layers, frames] each; those after a coded channel 0 look at it."""
    lanes: list[Lane] = []
    for codes in channels:
        looks = bool(lanes) and lanes[0].depth > 0
        lanes.append(Lane(network, codes, first_frame, lanes[0] if looks else None))
    return lanes
