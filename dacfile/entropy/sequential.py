"""Decoding layers that look at their own past: frame by frame, all lanes of a layer side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacfile.entropy.network import LIMIT, Network, floored
from dacfile.entropy.rangecoder import Decoder
from dacfile.entropy.softmax import counts_of


def decode_frame_by_frame(
    network: Network, k: int, sums: Sequence[np.ndarray], decoders: Sequence[Decoder]
) -> list[np.ndarray]:
    """Return the uint16 codes [frames] of every lane; `sums`: each lane's head sums [frames, head] without the past."""
    longest_first = sorted(range(len(sums)), key=lambda i: -len(sums[i]))
    lengths = [len(sums[i]) for i in longest_first]
    ahead = _padded([sums[i] for i in longest_first], network.config.lags)
    streams = [decoders[i] for i in longest_first]
    codes = np.zeros((len(sums), lengths[0] if lengths else 0), np.uint16)
    active = len(sums)
    for t in range(codes.shape[1]):
        while lengths[active - 1] <= t:
            active -= 1
        codes[:active, t] = _decode_frame(network, k, ahead[:active, t:], streams[:active])
    out = [np.zeros(0, np.uint16)] * len(sums)
    for row, i in enumerate(longest_first):
        out[i] = codes[row, : lengths[row]]
    return out


def _padded(sums: Sequence[np.ndarray], lags: int) -> np.ndarray:
    """Stack lanes of unequal length, with room behind each for what its last codes say about frames after the end."""
    longest = max(map(len, sums), default=0)
    out = np.zeros((len(sums), longest + lags, sums[0].shape[1] if sums else 0), np.float32)
    for row, lane in zip(out, sums, strict=True):
        row[: len(lane)] = lane
    return out


def _decode_frame(network: Network, k: int, ahead: np.ndarray, streams: Sequence[Decoder]) -> np.ndarray:
    """Decode one frame of each lane and add what it says to the sums `ahead` [lanes, this frame and later, head]."""
    layer = network.layers[k]
    values = floored(ahead[:, 0].copy(), 0, LIMIT)
    groups = _take(streams, counts_of(network.group_logits(k, values)))
    members = _take(streams, counts_of(network.member_logits_each(k, values, groups)))
    codes = layer.order[groups * network.config.members + members]
    if layer.past is not None:
        ahead[:, 1 : 1 + network.config.lags] += layer.past[codes]
    return codes


def _take(streams: Sequence[Decoder], counts: np.ndarray) -> np.ndarray:
    return np.array([stream.take_one(row) for stream, row in zip(streams, counts, strict=True)])
