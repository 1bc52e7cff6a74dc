"""Decoding frame by frame, for layers that look at their own past: a row for each layer of each channel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from dacfile.entropy.network import LIMIT, Network
from dacfile.entropy.softmax import shares_of
from dacfile.entropy.streams import Streams


class FrameDecoder:
    """Decodes rows side by side; `layers[row]` is the layer of a row, in ascending order, `streams` has their bytes."""

    def __init__(self, network: Network, layers: Sequence[int], streams: Streams) -> None:
        c = network.config
        self._network, self._streams = network, streams
        bounds = [0, *(np.flatnonzero(np.diff(layers)) + 1).tolist(), len(layers)]
        self._runs = [(network.layers[layers[a]].group, a, b) for a, b in itertools.pairwise(bounds)]
        rows = np.array(layers)
        self._first_group = rows * c.groups  # where a row's layer begins in arrays of all layers
        self._first_code = rows * c.codebook_size
        self._first_past = np.array([network.with_past.index(k) for k in layers]) * c.codebook_size
        self._group_bias = network.group_biases[rows]
        self._group_logits = np.empty_like(self._group_bias)

    def decode(self, sums: np.ndarray, spills: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return uint16 codes [rows, frames] and new spills.

        `sums`: head sums [rows, frames, head] without own past; `spills` [rows, lags, head]: what codes before them
        say about the first frames, and in the result, what these codes say about frames to come.
        """
        lags, frames = self._network.config.lags, sums.shape[1]
        ahead = np.concatenate([sums, np.zeros_like(spills)], 1)
        ahead[:, :lags] += spills
        codes = np.empty((len(sums), frames), np.uint16)
        for t in range(frames):
            codes[:, t] = self._frame(ahead[:, t : t + 1 + lags])
        return codes, ahead[:, frames:]

    def _frame(self, ahead: np.ndarray) -> np.ndarray:
        """Decode one frame and add what it says to the sums `ahead` [rows, this frame and later, head]."""
        network = self._network
        values = np.floor(ahead[:, 0])
        np.minimum(np.maximum(values, 0, out=values), LIMIT, out=values)
        groups = self._streams.take(shares_of(self._groups(values)))
        at = self._first_group + groups
        logits = np.matmul(values[:, None], network.members.take(at, 0))[:, 0]
        logits += network.member_biases.take(at, 0)
        members = self._streams.take(shares_of(np.floor(logits, out=logits)))
        codes = network.orders.take(self._first_code + groups * network.config.members + members)
        ahead[:, 1:] += network.pasts.take(self._first_past + codes, 0)
        return codes

    def _groups(self, values: np.ndarray) -> np.ndarray:
        logits = self._group_logits
        for group, a, b in self._runs:
            np.matmul(values[a:b], group, out=logits[a:b])
        logits += self._group_bias
        return np.floor(logits, out=logits)
