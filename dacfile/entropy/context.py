"""The context-network prior: which codes look at which, and in which order symbols enter the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacfile.entropy import wavefront
from dacfile.entropy.lanes import Lane, lanes_of
from dacfile.entropy.network import KIND, LIMIT, Network, NetworkConfig, check_tensors, floored, parse_config
from dacfile.entropy.prior import Channels, Known, content_id
from dacfile.entropy.rangecoder import Decoder, Encoder
from dacfile.entropy.softmax import counts_of


class NetworkPrior:
    """See spec/priors.md. Raises UnsafeWeights if configuration and tensors do not make an exact network."""

    def __init__(
        self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], info: Mapping[str, str] | None = None
    ) -> None:
        sizes, exponents = parse_config(config)
        check_tensors(sizes, exponents, tensors)
        rows = [list(row.values()) for row in exponents]
        self.config: dict[str, Any] = {"kind": KIND, "version": 1, **sizes.as_dict(), "exponents": rows}
        self.sizes: NetworkConfig = sizes
        self.codebooks, self.codebook_size = sizes.codebooks, sizes.codebook_size
        self.tensors = dict(tensors)
        self.info = dict(info or {})
        self.id = content_id(self.config, self.tensors)
        self.network = Network(sizes, tensors, exponents)

    def encode_layers(self, blocks: Sequence[Channels], first_frames: Sequence[int]) -> list[list[list[bytes]]]:
        """Return the range-coded bytes `[block][channel][layer]`; see `Prior`."""
        return [self._encode_block(block, first) for block, first in zip(blocks, first_frames, strict=True)]

    def _encode_block(self, block: Channels, first: int) -> list[list[bytes]]:
        channels = [np.zeros((0, 0), np.uint16) if codes is None else codes for codes in block]
        lanes = lanes_of(self.network, channels, first)
        streams: list[list[bytes]] = [[] for _ in block]
        for k in range(max((lane.depth for lane in lanes), default=0)):
            for lane, out in zip(lanes, streams, strict=True):
                if k < lane.depth:
                    out.append(self._encode_layer(lane, k))
                    lane.learn(k, 0, lane.frames)
            lanes[0].forget(k)
        return streams

    def _encode_layer(self, lane: Lane, k: int) -> bytes:
        layer = self.network.layers[k]
        positions = layer.position[lane.codes[k]]
        groups, members = positions // self.sizes.members, positions % self.sizes.members
        sums = lane.sums(k, 0, lane.frames)
        self.network.add_past(k, sums, lane.codes[k])
        values = floored(sums, 0, LIMIT)
        group_counts = counts_of(self.network.group_logits(k, values))
        member_counts = counts_of(self.network.member_logits(k, values, groups))
        encoder = Encoder()
        if layer.past is None:
            encoder.put(groups, group_counts)
            encoder.put(members, member_counts)
        else:
            both = np.stack([group_counts, member_counts], 1).reshape(-1, self.sizes.members)
            encoder.put(np.stack([groups, members], 1).reshape(-1), both)
        return encoder.finish()

    def decode_layers(
        self, payloads: Sequence[Sequence[Sequence[Known]]], frames: Sequence[int], first_frames: Sequence[int]
    ) -> list[list[np.ndarray]]:
        """Return uint16 codes [layers, frames] for each block and channel; see `Prior`."""
        blocks = [
            lanes_of(self.network, [np.zeros((len(layers), count), np.uint16) for layers in block], first)
            for block, count, first in zip(payloads, frames, first_frames, strict=True)
        ]
        lanes = [lane for block in blocks for lane in block]
        known = [layers for block in payloads for layers in block]
        depth, k = max(map(len, known), default=0), 0
        while k < depth:
            end = self._end_of_run(k, min(depth, k + max(1, wavefront.ROWS // len(lanes))))
            if self.network.layers[k].past is None:
                self._decode_at_once(k, lanes, known)
            else:
                wavefront.decode_run(self.network, lanes, known, k, end)
            k = end
            for lane in lanes:
                lane.forget(k)
        return [[lane.codes for lane in block] for block in blocks]

    def _end_of_run(self, k: int, most: int) -> int:
        """Return where the layers end that are decoded together with layer k: all of them have own past, or k alone."""
        end = k + 1
        while end < most and self.network.layers[k].past is not None and self.network.layers[end].past is not None:
            end += 1
        return end

    def _decode_at_once(self, k: int, lanes: Sequence[Lane], known: Sequence[Sequence[Known]]) -> None:
        """Decode a layer without own past: all frames of a channel at once, channels in order."""
        for lane, layers in zip(lanes, known, strict=True):
            if k < lane.depth:
                layer = layers[k]
                lane.codes[k] = layer if isinstance(layer, np.ndarray) else self._decode_parallel(k, lane, layer)
                lane.learn(k, 0, lane.frames)

    def _decode_parallel(self, k: int, lane: Lane, data: bytes) -> np.ndarray:
        decoder = Decoder(data)
        values = floored(lane.sums(k, 0, lane.frames), 0, LIMIT)
        groups = decoder.take(counts_of(self.network.group_logits(k, values)))
        members = decoder.take(counts_of(self.network.member_logits(k, values, groups)))
        return self.network.layers[k].order[groups * self.sizes.members + members]
