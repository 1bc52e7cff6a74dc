"""Codes to learn a prior from: files of codes, channel pairs, crops, and an order that puts alike codes in groups."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# What channel 1 of a pair is called beside its channel 0 in a file of codes.
PARTNERS = {"mid": "side", "left": "right", "0": "1"}
MISSING = -1  # stands for the codes of a layer that a channel does not have; such layers are left out of the training
_FEATURES = 24  # dimensions in which codes are compared when they are grouped
_GROUPING_FRAMES = 1_000_000  # more are thinned out
_BUCKETS = 512  # contexts are hashed into so many columns


@dataclass(frozen=True)
class Piece:
    """A stretch of sound: uint16 codes [layers, frames] of one channel and, for a pair, of the one coded after it."""

    name: str
    first: np.ndarray
    second: np.ndarray | None = None

    @property
    def frames(self) -> int:
        """Return the length in frames."""
        return self.first.shape[1]

    @property
    def channels(self) -> list[np.ndarray]:
        """Return the codes of both channels, or of the only one."""
        return [self.first] if self.second is None else [self.first, self.second]


def channels_of(pieces: Iterable[Piece]) -> list[np.ndarray]:
    """Return the codes of all channels of all pieces, uint16 [layers, frames] each."""
    return [codes for piece in pieces for codes in piece.channels]


def frames_in(pieces: Iterable[Piece]) -> int:
    """Return the frames of all channels of all pieces together."""
    return sum(codes.shape[1] for codes in channels_of(pieces))


def load_pieces(path: Path) -> list[Piece]:
    """Read an .npz of uint16 arrays [layers, frames] whose names end in :mono, :mid and :side (or :left and :right)."""
    with np.load(path) as file:
        return pair_up({name: file[name] for name in file.files})


def pair_up(arrays: Mapping[str, np.ndarray]) -> list[Piece]:
    """Join the channels that are coded together; a partner without its first channel stands alone."""
    pieces, taken = [], set()
    for name, codes in arrays.items():
        base, _, label = name.rpartition(":")
        partner = f"{base}:{PARTNERS.get(label, '')}"
        if partner in arrays and arrays[partner].shape[1] == codes.shape[1]:
            pieces.append(Piece(base, codes, arrays[partner]))
            taken |= {name, partner}
    pieces += [Piece(name, codes) for name, codes in arrays.items() if name not in taken]
    return [piece for piece in pieces if piece.frames]


def split(pieces: Sequence[Piece], share: float = 0.05) -> tuple[list[Piece], list[Piece]]:
    """Return (training, held out) pieces; which is which depends on the names alone."""
    held = {piece.name for piece in pieces if _place(piece) % 1000 < 1000 * share}
    if not held and len(pieces) > 1:
        least = min(map(_place, pieces))
        held = {piece.name for piece in pieces if _place(piece) == least}
    kept = [piece for piece in pieces if piece.name not in held]
    return kept or list(pieces), [piece for piece in pieces if piece.name in held] or list(pieces)


def _place(piece: Piece) -> int:
    """Return a hash of the recording that a piece is from: copies of one, "name:0", "name:1"..., stay together."""
    return zlib.crc32(re.sub(r":\d$", "", piece.name).encode())


class Sampler:
    """Draws batches of crops, every frame equally likely."""

    def __init__(
        self, pieces: Sequence[Piece], length: int, phases: int, seed: int = 0, codebooks: int | None = None
    ) -> None:
        """`codebooks`: the depth of what is drawn, by default that of the deepest piece."""
        self._pieces = list(pieces)
        self._length, self._phases = length, phases
        self._codebooks = codebooks or max(len(codes) for codes in channels_of(pieces))
        frames = np.array([piece.frames for piece in pieces], float)
        self._share = frames / frames.sum()
        self._random = np.random.default_rng(seed)

    def draw(self, crops: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (first codes [B, K, L], phases [B, L], indices of crops that are pairs [P], their second codes).

        Layers that a piece does not have are MISSING.
        """
        chosen = self._random.choice(len(self._pieces), crops, p=self._share)
        firsts, seconds, pairs, phases = [], [], [], []
        for index, number in enumerate(chosen):
            piece = self._pieces[number]
            start = int(self._random.integers(0, max(1, piece.frames - self._length + 1)))
            frames = (start + np.arange(self._length)) % piece.frames
            firsts.append(self._deep(piece.first[:, frames]))
            phases.append((start + np.arange(self._length)) % self._phases)
            if piece.second is not None:
                pairs.append(index)
                seconds.append(self._deep(piece.second[:, frames]))
        second = np.array(seconds) if seconds else np.zeros((0, *firsts[0].shape))
        return np.array(firsts), np.array(phases), np.array(pairs, np.int64), second.astype(np.int64)

    def _deep(self, codes: np.ndarray) -> np.ndarray:
        missing = ((0, self._codebooks - len(codes)), (0, 0))
        return np.pad(codes.astype(np.int64), missing, constant_values=MISSING)


@dataclass(frozen=True)
class Likeness:
    """What the codes of a corpus say about codes, before any training.

    Attributes: order (int64 [codebooks, N]: codes so arranged that runs of N / groups are alike), features (float32
    [codebooks, N, 24], unit deviation: nearby for codes that are alike), counts (int64 [codebooks, N]).
    """

    order: np.ndarray
    features: np.ndarray
    counts: np.ndarray


def likeness(arrays: Sequence[np.ndarray], codebook_size: int, groups: int, codebooks: int | None = None) -> Likeness:
    """Compare codes by the company they keep: codes of the layers around theirs and of the frames before and after.

    Counted, square roots taken, reduced to principal components; for the order, halved again and again at the median.
    Layers up to `codebooks` that no array has come out in an arbitrary order.
    """
    layers = codebooks or max(len(array) for array in arrays)
    if sum(array.shape[1] for array in arrays) > _GROUPING_FRAMES:
        share = -(-sum(array.shape[1] for array in arrays) // _GROUPING_FRAMES)
        arrays = arrays[::share]
    features = np.array([_features(_company(arrays, k, codebook_size)) for k in range(layers)])
    order = np.array([_order_of(rows, groups) for rows in features])
    seen = [[array[k] for array in arrays if len(array) > k] or [np.zeros(0, np.uint16)] for k in range(layers)]
    counts = np.array([np.bincount(np.concatenate(rows), minlength=codebook_size) for rows in seen])
    return Likeness(order, (features / max(features.std(), 1e-9)).astype(np.float32), counts)


def _company(arrays: Sequence[np.ndarray], k: int, codebook_size: int) -> np.ndarray:
    tables = [np.zeros((codebook_size, 1), np.float32)]
    deep = [array for array in arrays if len(array) > k]
    for layer, lag in ((k - 1, 0), (k + 1, 0), (k, 1), (k, -1), (0, 0)):
        usable = [array for array in deep if 0 <= layer < len(array) and (layer, lag) != (k, 0)]
        if not usable:
            continue
        own = np.concatenate([array[k] for array in usable]).astype(np.int64)
        other = np.concatenate([np.roll(array[layer], lag) for array in usable]) % _BUCKETS
        counts = np.bincount(own * _BUCKETS + other, minlength=codebook_size * _BUCKETS)
        rows = np.sqrt(counts.reshape(codebook_size, _BUCKETS) + 0.01).astype(np.float32)
        tables.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    joined = np.concatenate(tables, 1)
    return joined - joined.mean(0)


def _features(company: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(company @ company.T)
    features = np.zeros((len(company), _FEATURES))
    found = min(_FEATURES, len(company))
    features[:, :found] = vectors[:, -found:] * np.sqrt(values[-found:].clip(0))
    return features / max(features.std(), 1e-9)


def _order_of(features: np.ndarray, groups: int) -> np.ndarray:
    parts = [np.arange(len(features))]
    while len(parts) < groups:
        parts = [half for part in parts for half in _halves(part, features[part])]
    return np.concatenate(parts)


def _halves(part: np.ndarray, features: np.ndarray) -> list[np.ndarray]:
    centred = features - features.mean(0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    ranked = part[np.argsort(centred @ direction, kind="stable")]
    return [ranked[: len(ranked) // 2], ranked[len(ranked) // 2 :]]
