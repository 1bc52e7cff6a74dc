"""A second decoder of `lapped` models, written from section 9 of spec/dacz-v1.md alone: numpy, slow, no dacfile.

It shows that the section and a weights file suffice to turn codes into sound. `read_model` reads and checks a weights
file, `decode_channel` decodes the codes of one coded channel, and `decode_file` all channels of what independent_reader
has read, up to the samples at the model's rate. A code of ABSENT is one that the file does not hold. Everything is
computed in binary64, so what differs from the reference decoder is the rounding of the latter.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from independent_reader import File, need

ABSENT = -1
SILENT, SAME = 0, 1  # modes of section 6.1
LEVELS = [-16, -12, -9, -6, -4.5, -3, -2, -1, 0, 1, 2, 3, 4.5, 6, 9, 12]  # of an equaliser, in dB
DTYPES = {"F16": "<f2", "F32": "<f4"}


@dataclass
class Model:
    """The id, the configuration, and the tensors in binary64 by their names."""

    id: bytes
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]

    @property
    def hop(self) -> int:
        return int(self.config["hop"])

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """Map the numbers of each frame: [T, in] -> [T, out]."""
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]


def read_model(data: bytes) -> Model:
    """Sections 9.1 and 9.9: read a weights file; refused where its id is not that of its contents."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:header_end])
    texts = header.pop("__metadata__")
    digest = hashlib.sha256(texts["config"].encode("ascii") + b"\n")
    tensors = {}
    for name, entry in sorted(header.items()):
        start, end = (header_end + offset for offset in entry["data_offsets"])
        digest.update(f"{name} {entry['dtype']} {','.join(map(str, entry['shape']))}\n".encode("ascii"))
        digest.update(data[start:end])
        stored = np.frombuffer(data[start:end], DTYPES[entry["dtype"]])
        tensors[name] = stored.reshape(entry["shape"]).astype(np.float64)
    need(texts["format"] == "dacfile-model-1", "format of the weights", "ModelMismatch")
    need(digest.hexdigest()[:32] == texts["id"], "id of the weights", "ModelMismatch")
    return Model(digest.digest()[:16], json.loads(texts["config"]), tensors)


def dequantise(model: Model, codes: np.ndarray) -> np.ndarray:
    """Codes [K, T] -> z [T, d]: an absent code adds nothing, not even a bias."""
    z = np.zeros((codes.shape[1], model.config["width"]))
    for k, row in enumerate(codes):
        entries = model.tensors[f"quantizer.stages.{k}.codebook"][row]
        added = model.linear(f"quantizer.stages.{k}.project_out", entries)
        z += np.where(row[:, None] == ABSENT, 0, added)
    return z


def shifted(z: np.ndarray, taps: int) -> list[np.ndarray]:
    """z [T, d] -> for each tap j the numbers z[t + j - (taps - 1) / 2], zero outside the frames."""
    half = (taps - 1) // 2
    padded = np.pad(z, ((half, half), (0, 0)))
    return [padded[j : j + len(z)] for j in range(taps)]


def enter(model: Model, z: np.ndarray) -> np.ndarray:
    """[T, d] -> [T, d]."""
    weight = model.tensors["decoder.enter.weight"]
    taps = shifted(z, 3)
    return model.tensors["decoder.enter.bias"] + sum(x @ weight[:, :, j].T for j, x in enumerate(taps))


def gelu(v: np.ndarray) -> np.ndarray:
    """GELU of every number."""
    return v * (1 + np.vectorize(math.erf)(v / math.sqrt(2))) / 2


def block(model: Model, i: int, z: np.ndarray) -> np.ndarray:
    """Block i of the decoder: [T, d] -> [T, d]."""
    name = f"decoder.blocks.{i}"
    weight = model.tensors[f"{name}.mix.weight"]
    taps = shifted(z, model.config["kernel"])
    mixed = model.tensors[f"{name}.mix.bias"] + sum(weight[:, 0, j] * x for j, x in enumerate(taps))
    centred = mixed - mixed.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    normed = model.tensors[f"{name}.norm.weight"] * scaled + model.tensors[f"{name}.norm.bias"]
    wide = gelu(model.linear(f"{name}.widen", normed))
    return z + model.tensors[f"{name}.scale"] * model.linear(f"{name}.narrow", wide)


def band_limits(split: int, hop: int) -> list[int]:
    """Return the first bin of each band and, at the end, H."""
    limits, v = [split], 8.0
    while limits[-1] + round(v) < hop:
        limits.append(limits[-1] + round(v))
        v = min(48, 1.22 * v)
    if hop - limits[-1] < 8:
        limits.pop()
    return [*limits, hop]


def envelope(model: Model, e: np.ndarray) -> np.ndarray:
    """Energies of the bands e [T, bands] -> E [T, H], the logarithm of the amplitude of each bin."""
    limits = band_limits(model.config["split"], model.hop)
    centres = [(p + q - 1) / 2 for p, q in pairwise(limits)]
    energies = e / model.config["energy_weight"] + model.tensors["decoder.energy_mean"]
    return np.array([np.interp(np.arange(model.hop), centres, row) for row in energies])


def expand(y: np.ndarray, a: float) -> np.ndarray:
    """Undo the companding."""
    return np.sign(y) * ((np.abs(y) / 4 + 1e-5**a) ** (1 / a) - 1e-5)


def amplitude(v: np.ndarray) -> np.ndarray:
    """exp(limit(v))."""
    return np.exp(np.minimum(3, np.maximum(-14, v)))


def equaliser_factors(model: Model, levels: list[int]) -> np.ndarray:
    """Section 9.7: what the X(k) of a frame are multiplied by, [H]."""
    rate, H = model.config["rate"], model.hop
    decibels = [LEVELS[level] for level in levels]
    points = [700 * ((1 + rate / 1400) ** (i / 79) - 1) for i in range(80)]
    return np.array(10 ** (np.interp((np.arange(H) + 0.5) * rate / (2 * H), points, decibels) / 20))


def coefficients(model: Model, z: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The network's last z [T, d] and the noise [T, H] of the frames -> X [T, H], not yet equalised."""
    H = model.hop
    y, g, e = np.split(model.linear("decoder.project", z), [H, 2 * H], axis=1)
    E, below = envelope(model, e), np.arange(H) < model.config["split"]
    tone = np.where(below, expand(y, model.config["exponent"]), amplitude(E) * y)
    return tone + amplitude(E + 4 * g + np.where(below, -2, 0)) * noise


def transform(H: int) -> np.ndarray:
    """What turns the 2 H samples of a frame into H coefficients, [2 H, H]."""
    j, k = np.arange(2 * H)[:, None] + 0.5, np.arange(H) + 0.5
    return math.sqrt(2 / H) * np.sin(np.pi * j / (2 * H)) * np.cos(np.pi / H * (j + H / 2) * k)


def overlap_add(X: np.ndarray) -> np.ndarray:
    """Coefficients X [T, H] -> (T + 1) H samples, the first of frame 0 to the last of frame T - 1."""
    T, H = X.shape
    samples = np.zeros((T + 1) * H)
    for t, frame in enumerate(X @ transform(H).T):
        samples[t * H : (t + 2) * H] += frame
    return samples


def post_gains(model: Model, magnitudes: np.ndarray) -> np.ndarray:
    """Magnitudes |S| [windows, M/2 + 1] -> gains; rows before the first and after the last count as silence."""
    rows, bins = magnitudes.shape
    level = np.log(magnitudes + 1e-4)
    a = np.array([level[:, max(0, b - 8) : b + 9].mean(axis=1) for b in range(bins)]).T
    r = np.pad(level - a, ((6, 6), (6, 6)))
    weight = {name: model.tensors[f"decoder.post.{name}.weight"] for name in ("enter", "place", "middle", "leave")}
    bias = {name: model.tensors[f"decoder.post.{name}.bias"] for name in ("enter", "middle", "leave")}
    h = bias["enter"] + sum(
        r[2 * m : 2 * m + rows, n : n + bins, None] * weight["enter"][:, 0, m, n] for m in range(7) for n in range(13)
    )
    h += (0.3 * a + 1)[..., None] * weight["place"][:, 0, 0, 0]
    h += (4 * np.arange(bins) / (2 * bins - 2) - 1)[:, None] * weight["place"][:, 1, 0, 0]
    h = gelu(gelu(h) @ weight["middle"][:, :, 0, 0].T + bias["middle"])
    return np.exp(np.clip((h @ weight["leave"][:, :, 0, 0].T + bias["leave"])[..., 0], -3, 1))


def post_filter(model: Model, X: np.ndarray) -> np.ndarray:
    """Coefficients [T, H] -> [T, H], the lowest of them filtered."""
    B, M = model.config.get("post_bins", 0), model.config.get("post_window", 0)
    if not B:
        return X
    w = np.sin(np.pi * np.arange(M) / M)
    s = np.pad(overlap_add(X[:, :B]), M - B)
    starts = range(0, len(s) - M + 1, B)
    S = np.fft.rfft([s[start : start + M] * w for start in starts])
    filtered = np.zeros(len(s))
    for start, window in zip(starts, np.fft.irfft(S * post_gains(model, abs(S)), M), strict=True):
        filtered[start : start + M] += 2 * B / M * w * window
    inner = filtered[M - B : len(s) - (M - B)]
    low = np.array([inner[t * B : (t + 2) * B] for t in range(len(X))]) @ transform(B)
    return np.concatenate([low, X[:, B:]], axis=1)


def decode_channel(
    model: Model, codes: np.ndarray, first: int = 0, q: int = 0, c: int = 0, factors: np.ndarray | float = 1.0
) -> np.ndarray:
    """Codes [K, T] of the frames from `first` on -> (T - 1) H samples from `first` H on; q and c choose the noise.

    `factors`, [T, H], are those of the frames' equalisers.
    """
    z = enter(model, dequantise(model, codes))
    for i in range(model.config["decoder_blocks"]):
        z = block(model, i, z)
    rows = (first + np.arange(codes.shape[1]) + 389 * c) % model.config["noise_frames"]
    X = post_filter(model, coefficients(model, z, model.tensors["decoder.noise"][q, rows])) * factors
    return overlap_add(X)[model.hop : -model.hop]


def codes_of(file: File, channel: int, frames: int) -> np.ndarray:
    """Return the codes [K, frames] of a coded channel of a file, ABSENT where none are stored."""
    codes = np.full((file.head["K"], sum(file.frames)), ABSENT)
    for number, channels in enumerate(file.blocks):
        first = number * file.head["F"]
        for k, row in enumerate(channels[channel].codes):
            codes[k, first : first + len(row)] = row
    return codes[:, :frames]


def factors_of(model: Model, file: File, channel: int, frames: int) -> np.ndarray:
    """Return the factors [frames, H] of the equalisers of a coded channel of a file, 1 where there is none."""
    factors = np.ones((sum(file.frames), model.hop))
    for number, channels in enumerate(file.blocks):
        first = number * file.head["F"]
        end = first + file.frames[number]
        for s, levels in enumerate(channels[channel].levels):
            factors[first + 64 * s : min(first + 64 * (s + 1), end)] = equaliser_factors(model, levels)
    return factors[:frames]


def attack_factors(file: File, channel: int, hop: int, samples: int) -> np.ndarray:
    """Section 9.8: what the samples [S] of a coded channel are multiplied by for its attacks."""
    fall = np.zeros(samples)
    for number, channels in enumerate(file.blocks):
        for position, depth in channels[channel].attacks:
            P = number * file.head["F"] * hop + position * hop // 16
            for s in range(max(0, P - 2 * hop), min(P, samples)):
                r = min(1, (s - P + 2 * hop + 0.5) / hop, 16 * (P - s - 0.5) / hop)
                fall[s] = max(fall[s], depth * r)
    return np.array(10 ** (-fall / 20))


def replace(coded: np.ndarray, file: File, hop: int) -> None:
    """Section 9.2: put silence, then copies of channel 0, into samples [C, S] where blocks say so."""
    for wanted in (SILENT, SAME):
        for number, channels in enumerate(file.blocks):
            first = number * file.head["F"]
            where = slice(max(0, (first - 1) * hop), (first + file.frames[number]) * hop)
            for samples, channel in zip(coded, channels, strict=True):
                if channel.mode == wanted:
                    samples[where] = 0 if wanted == SILENT else coded[0, where]


def decode_file(model: Model, file: File, layers: int = 64) -> np.ndarray:
    """Sections 9.1 to 9.8: return samples [C, S] of at most `layers` layers, at the model's rate, not rounded."""
    head, hop = file.head, model.hop
    numbers = [model.config[key] for key in ("rate", "hop", "codebook_size", "codebooks")]
    need([model.id, *numbers] == [head[key] for key in ("model", "rate", "hop", "N", "K")], "model", "ModelMismatch")
    S = -(-file.source_samples * head["rate"] // head["source_rate"])
    frames = -(-(S + hop) // hop) if S else 0
    need(sum(file.frames) >= frames, "frames")
    coded = np.zeros((head["C"], S))
    for channel in range(head["C"] if S else 0):
        q, c = (1, 0) if head["transform"] == 1 and channel == 1 else (0, channel)
        codes, factors = codes_of(file, channel, frames)[:layers], factors_of(model, file, channel, frames)
        decoded = decode_channel(model, codes, 0, q, c, factors)[:S]
        coded[channel] = decoded * attack_factors(file, channel, hop, S)
    replace(coded, file, hop)
    coded /= 10 ** (np.array(head["gains"])[:, None] / 5120)
    if head["transform"] == 1:
        coded[0], coded[1] = coded[0] + coded[1], coded[0] - coded[1]
    return coded
