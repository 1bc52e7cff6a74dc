"""The count-table prior: one table of integer counts per codebook (and phase of the frame index), no context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacfile.entropy.prior import Channels, Known, content_id
from dacfile.entropy.rangecoder import Decoder, Encoder, total_count
from dacfile.errors import UnsafeWeights

KIND = "counts"


def normalise(weights: np.ndarray) -> np.ndarray:
    """Scale non-negative integer `weights` [..., N], each sum in 1..2**31, to int64 counts that sum to 2**24 - N.

    `floor(weight * (2**24 - N) / sum)`, and what the rounding leaves over goes to the first symbol.
    """
    weights = np.asarray(weights, np.int64)
    total = total_count(weights.shape[-1])
    counts = weights * total // weights.sum(-1, keepdims=True)
    counts[..., 0] += total - counts.sum(-1)
    return counts


class CountPrior:
    """Order-0 probabilities. `tables`: int32 [codebooks, phases, N], each row summing to 2**24 - N.

    Frame t of the file uses phase `t % phases`. Raises UnsafeWeights if the tables break these rules.
    """

    def __init__(self, tables: np.ndarray, info: Mapping[str, str] | None = None) -> None:
        _check(tables)
        self._tables = tables.astype(np.float32)
        self.codebooks, self.phases, self.codebook_size = tables.shape
        self.config: dict[str, Any] = {
            "kind": KIND,
            "version": 1,
            "codebooks": self.codebooks,
            "codebook_size": self.codebook_size,
            "phases": self.phases,
        }
        self.tensors = {"counts": tables.astype(np.int32)}
        self.info = dict(info or {})
        self.id = content_id(self.config, self.tensors)

    def encode_layers(self, blocks: Sequence[Channels], first_frames: Sequence[int]) -> list[list[list[bytes]]]:
        """Return the range-coded bytes `[block][channel][layer]`; see `Prior`."""
        return [
            [[] if codes is None else self._encode_channel(codes, first) for codes in block]
            for block, first in zip(blocks, first_frames, strict=True)
        ]

    def decode_layers(
        self, payloads: Sequence[Sequence[Sequence[Known]]], frames: Sequence[int], first_frames: Sequence[int]
    ) -> list[list[np.ndarray]]:
        """Return uint16 codes [layers, frames] for each block and channel; see `Prior`."""
        return [
            [self._decode_channel(layers, count, first) for layers in block]
            for block, count, first in zip(payloads, frames, first_frames, strict=True)
        ]

    def _rows(self, layer: int, frames: int, first: int) -> np.ndarray:
        return self._tables[layer, (first + np.arange(frames)) % self.phases]

    def _encode_channel(self, codes: np.ndarray, first: int) -> list[bytes]:
        streams = []
        for layer, symbols in enumerate(codes.astype(np.int32)):
            encoder = Encoder()
            counts = self._tables[layer, 0] if self.phases == 1 else self._rows(layer, len(symbols), first)
            encoder.put(symbols, counts)
            streams.append(encoder.finish())
        return streams

    def _decode_channel(self, layers: Sequence[Known], frames: int, first: int) -> np.ndarray:
        out = np.empty((len(layers), frames), np.uint16)
        for layer, known in enumerate(layers):
            if isinstance(known, np.ndarray):
                out[layer] = known
            elif self.phases == 1:
                out[layer] = Decoder(known).take_same(self._tables[layer, 0], frames)
            else:
                out[layer] = Decoder(known).take(self._rows(layer, frames, first))
        return out


def from_file(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], info: Mapping[str, str]) -> CountPrior:
    """Build the prior of a file. Raises UnsafeWeights when tensors are missing or break the rules."""
    if set(tensors) != {"counts"}:
        raise UnsafeWeights("count-table prior: expected one tensor named counts")
    return CountPrior(tensors["counts"], info)


def _check(tables: np.ndarray) -> None:
    if tables.ndim != 3 or 0 in tables.shape or tables.dtype.kind not in "iu":
        raise UnsafeWeights("count-table prior: counts must be integers [codebooks, phases, codebook size]")
    sums = tables.astype(np.int64).sum(-1)
    if tables.min() < 0 or (sums != total_count(tables.shape[-1])).any():
        raise UnsafeWeights("count-table prior: counts must be at least 0 and sum to 2^24 - N")
