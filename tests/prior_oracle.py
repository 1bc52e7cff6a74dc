"""A decoder of priors in plain Python, written from spec/priors.md alone: no numpy, no dacfile, very slow."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from range_oracle import Decoder

FORMATS = {"I8": "b", "U16": "H", "I32": "i"}
EXPONENTIAL = [max(1, math.floor(65536 * math.exp(-i / 32) + 0.5)) for i in range(384)]


def nested(flat: list[int], shape: list[int]) -> Any:
    """Return a flat list as nested lists."""
    if len(shape) <= 1:
        return flat
    step = len(flat) // shape[0]
    return [nested(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def read_prior(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (config, tensors as nested lists) of a prior file's bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header.pop("__metadata__")["config"])
    tensors = {}
    for name, entry in header.items():
        a, b = (8 + length + offset for offset in entry["data_offsets"])
        flat = [value for (value,) in struct.iter_unpack("<" + FORMATS[entry["dtype"]], data[a:b])]
        tensors[name] = nested(flat, entry["shape"])
    return config, tensors


def rounded(a: int, e: int) -> int:
    """R(a, e) of section 5.1."""
    return (a + ((1 << e) >> 1)) >> e


def clip(a: int, low: int, high: int) -> int:
    return max(low, min(high, a))


def dot(a: list[int], b: list[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def counts_of(logits: list[int]) -> list[int]:
    """Section 5.4."""
    total = (1 << 24) - len(logits)
    weights = [EXPONENTIAL[min(max(logits) - value, 383)] for value in logits]
    factor = (total << 20) // sum(weights)
    counts = [(weight * factor) >> 20 for weight in weights]
    counts[0] += total - sum(counts)
    return counts


class Channel:
    """The state of one coded channel of a block, sections 5.2 and 5.3."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Any], role: int, first: int, frames: int) -> None:
        self.config, self.tensors, self.role, self.frames = config, tensors, role, frames
        self.state = [list(tensors["start"][role][(first + t) % config["phases"]]) for t in range(frames)]
        self.codes: list[list[int]] = []
        self.activate()

    def activate(self) -> None:
        self.x = [[clip(rounded(s, 4), -127, 127) for s in row] for row in self.state]

    def exponent(self, k: int, name: str) -> int:
        return self.config["exponents"][k][["table", "mix", "back", "head", "group", "member"].index(name)]

    def learn(self, k: int, codes: list[int]) -> None:
        get, taps, width = self.tensors, self.config["taps"], self.config["width"]
        self.codes.append(codes)
        shift = 9 - self.exponent(k, "table")
        for row, code in zip(self.state, codes, strict=True):
            row[:] = [s + (value << shift) for s, value in zip(row, get[f"{k}.table"][code], strict=True)]
        self.activate()
        outside = [[0] * width] * (taps // 2)
        padded = outside + self.x + outside
        for t in range(self.frames):
            window = [value for row in padded[t : t + taps] for value in row]
            sums = [dot(w, window) + b for w, b in zip(get[f"{k}.mix"], get[f"{k}.mix_bias"], strict=True)]
            hidden = [clip(rounded(a, self.exponent(k, "mix")), 0, 127) for a in sums]
            change = [rounded(dot(w, hidden), self.exponent(k, "back") - 4) for w in get[f"{k}.back"]]
            self.state[t] = [clip(s + c, -32767, 32767) for s, c in zip(self.state[t], change, strict=True)]
        self.activate()

    def head(self, k: int, t: int, reference: Channel | None, own: list[int]) -> list[int]:
        get = self.tensors
        sums = [dot(w, self.x[t]) + b for w, b in zip(get[f"{k}.head"], get[f"{k}.head_bias"], strict=True)]
        if reference is not None:
            sums = [a + dot(w, reference.x[t]) for a, w in zip(sums, get[f"{k}.reference"], strict=True)]
        if k in self.config["own_past"]:
            for lag in range(1, min(self.config["lags"], t) + 1):
                recent, matrix = get[f"{k}.recent"][own[t - lag]], get[f"{k}.past"][lag - 1]
                sums = [a + sum(r * row[j] for r, row in zip(recent, matrix, strict=True)) for j, a in enumerate(sums)]
        return [clip(rounded(a, self.exponent(k, "head")), 0, 127) for a in sums]

    def group_counts(self, k: int, y: list[int]) -> list[int]:
        rows = zip(self.tensors[f"{k}.group"], self.tensors[f"{k}.group_bias"], strict=True)
        return counts_of([rounded(dot(w, y) + b, self.exponent(k, "group")) for w, b in rows])

    def member_counts(self, k: int, y: list[int], group: int) -> list[int]:
        rows = zip(self.tensors[f"{k}.member"][group], self.tensors[f"{k}.member_bias"][group], strict=True)
        return counts_of([rounded(dot(w, y) + b, self.exponent(k, "member")) for w, b in rows])


def decode_layer(channel: Channel, k: int, data: bytes, reference: Channel | None) -> list[int]:
    """Section 5.5."""
    order, size = channel.tensors[f"{k}.order"], channel.config["groups"]
    coder, own = Decoder(data), []
    if k in channel.config["own_past"]:
        for t in range(channel.frames):
            y = channel.head(k, t, reference, own)
            group = coder.symbol(channel.group_counts(k, y))
            own.append(order[group * size + coder.symbol(channel.member_counts(k, y, group))])
        return own
    heads = [channel.head(k, t, reference, own) for t in range(channel.frames)]
    groups = [coder.symbol(channel.group_counts(k, y)) for y in heads]
    members = [coder.symbol(channel.member_counts(k, y, g)) for y, g in zip(heads, groups, strict=True)]
    return [order[g * size + i] for g, i in zip(groups, members, strict=True)]


def unpack_raw(data: bytes, frames: int, size: int) -> list[int]:
    """Section 1, raw layers."""
    bits, number = max(1, (size - 1).bit_length()), int.from_bytes(data, "little")
    return [number >> t * bits & ((1 << bits) - 1) for t in range(frames)]


def decode_block(prior: bytes, streams: list[list[bytes]], frames: int, first: int) -> list[list[list[int]]]:
    """Return codes [channel][layer][frame] of one block; `streams` holds its layers' bytes, [] for uncoded channels."""
    config, tensors = read_prior(prior)
    size = config["codebook_size"]
    raw = -(-frames * max(1, (size - 1).bit_length()) // 8)
    looks = len(streams[0]) > 0
    channels = [Channel(config, tensors, int(c > 0 and looks), first, frames) for c in range(len(streams))]
    for k in range(max(map(len, streams))):
        for c, channel in enumerate(channels):
            if k < len(streams[c]):
                data = streams[c][k]
                reference = channels[0] if channel.role else None
                plain = len(data) == raw
                channel.learn(k, unpack_raw(data, frames, size) if plain else decode_layer(channel, k, data, reference))
    return [channel.codes for channel in channels]
