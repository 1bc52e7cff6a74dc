"""The context-network prior: which codes look at which, and in which order symbols enter the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dacfile.entropy.network import KIND, LIMIT, Network, NetworkConfig, check_tensors, floored, parse_config
from dacfile.entropy.prior import Channels, Known, content_id
from dacfile.entropy.rangecoder import Decoder, Encoder
from dacfile.entropy.sequential import decode_frame_by_frame
from dacfile.entropy.softmax import counts_of
from dacfile.errors import UnsafeWeights


class Lane:
    """One coded channel of one block while it is coded: its codes so far and what the network makes of them."""

    def __init__(self, network: Network, codes: np.ndarray, first_frame: int, reference: Lane | None) -> None:
        self.codes = codes  # uint16 [layers, frames]
        self.reference = reference
        self._network = network
        frames = codes.shape[1] if len(codes) else 0
        self._state = network.start(0 if reference is None else 1, first_frame, frames)
        self.x = network.activation(self._state)
        self.is_reference = False
        if reference is not None:
            reference.is_reference = True

    def sums(self, k: int) -> np.ndarray:
        """Return the head's sums of layer k, own past excluded; channel 0 must have done its layer k."""
        return self._network.head_sums(k, self.x, self.reference.x if self.reference else None)

    def learn(self, k: int) -> None:
        """Take in the codes of layer k, which are known now, unless nothing will look at them."""
        if self.is_reference or k + 1 < len(self.codes):
            self._network.update(k, self._state, self.codes[k])
            self.x = self._network.activation(self._state)


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
        self._network = Network(sizes, tensors, exponents)

    def encode_layers(self, blocks: Sequence[Channels], first_frames: Sequence[int]) -> list[list[list[bytes]]]:
        """Return the range-coded bytes `[block][channel][layer]`; see `Prior`."""
        return [self._encode_block(block, first) for block, first in zip(blocks, first_frames, strict=True)]

    def _encode_block(self, block: Channels, first: int) -> list[list[bytes]]:
        lanes = self._lanes([np.zeros((0, 0), np.uint16) if codes is None else codes for codes in block], first)
        streams: list[list[bytes]] = [[] for _ in block]
        for k in range(max((len(lane.codes) for lane in lanes), default=0)):
            for lane, out in zip(lanes, streams, strict=True):
                if k < len(lane.codes):
                    out.append(self._encode_layer(lane, k))
                    lane.learn(k)
        return streams

    def _lanes(self, channels: Sequence[np.ndarray], first: int) -> list[Lane]:
        lanes: list[Lane] = []
        for codes in channels:
            looks = bool(lanes) and len(lanes[0].codes) > 0
            lanes.append(Lane(self._network, codes, first, lanes[0] if looks else None))
        return lanes

    def _encode_layer(self, lane: Lane, k: int) -> bytes:
        layer = self._network.layers[k]
        positions = layer.position[lane.codes[k]]
        groups, members = positions // self.sizes.members, positions % self.sizes.members
        sums = lane.sums(k)
        self._network.add_past(k, sums, lane.codes[k])
        values = floored(sums, 0, LIMIT)
        group_counts = counts_of(self._network.group_logits(k, values))
        member_counts = counts_of(self._network.member_logits(k, values, groups))
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
            self._lanes([np.zeros((len(layers), count), np.uint16) for layers in block], first)
            for block, count, first in zip(payloads, frames, first_frames, strict=True)
        ]
        lanes = [lane for block in blocks for lane in block]
        known = [layers for block in payloads for layers in block]
        for k in range(max(map(len, known), default=0)):
            for looks in (False, True):
                deep = [
                    i for i, lane in enumerate(lanes) if k < len(known[i]) and (lane.reference is not None) == looks
                ]
                self._decode_layer(k, [lanes[i] for i in deep], [known[i][k] for i in deep])
        return [[lane.codes for lane in block] for block in blocks]

    def _decode_layer(self, k: int, lanes: Sequence[Lane], known: Sequence[Known]) -> None:
        sequential: list[tuple[Lane, bytes]] = []
        for lane, layer in zip(lanes, known, strict=True):
            if isinstance(layer, np.ndarray):
                lane.codes[k] = layer
            elif self._network.layers[k].past is None:
                lane.codes[k] = self._decode_parallel(k, lane, layer)
            else:
                sequential.append((lane, layer))
        if sequential:
            sums = [lane.sums(k) for lane, _ in sequential]
            decoded = decode_frame_by_frame(self._network, k, sums, [Decoder(data) for _, data in sequential])
            for (lane, _), codes in zip(sequential, decoded, strict=True):
                lane.codes[k] = codes
        for lane in lanes:
            lane.learn(k)

    def _decode_parallel(self, k: int, lane: Lane, data: bytes) -> np.ndarray:
        decoder = Decoder(data)
        values = floored(lane.sums(k), 0, LIMIT)
        groups = decoder.take(counts_of(self._network.group_logits(k, values)))
        members = decoder.take(counts_of(self._network.member_logits(k, values, groups)))
        return self._network.layers[k].order[groups * self.sizes.members + members]


def from_file(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], info: Mapping[str, str]) -> NetworkPrior:
    """Build the prior of a file. Raises UnsafeWeights when tensors are missing or break the rules."""
    if "exponents" not in config:
        raise UnsafeWeights("network prior: no exponents in the configuration")
    return NetworkPrior(config, tensors, info)
