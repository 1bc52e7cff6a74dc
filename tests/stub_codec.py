"""A codec without torch for fast tests: integer arithmetic with lead, tail and contexts, so that wrong windows show.

"Encoder": frame t sums the samples of frames t-2..t+1 with different weights and zero padding at the window's ends that
differs from zero samples (as biased convolutions do); "decoder": every sample mixes codes of five frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacfile.model.facts import Facts
from dacfile.stream import StreamDecoder, StreamEncoder
from dacfile.windows import ABSENT


class StubCodec:
    """Same interface as `dacfile.codec.Codec`; codes and samples are exact, at any window size and batch."""

    def __init__(self, rate: int = 8000, hop: int = 16, codebooks: int = 3, lead: int = 5, tail: int = 3) -> None:
        self.facts = Facts("dac", rate, hop, codebooks, 64, lead, tail, encoder_context=2, decoder_context=2)
        self.name = "stub"
        self.id = bytes(range(16))
        self.batch = 1
        self.calls: list[tuple[str, tuple[int, ...]]] = []  # what was asked, for tests of batching

    @property
    def rate(self) -> int:
        return self.facts.rate

    def encode(self, audio: np.ndarray, rate: int | None = None) -> np.ndarray:
        encoder = StreamEncoder(self, audio.shape[1])
        return np.concatenate([encoder.push(audio), encoder.finish()], axis=-1)

    def decode(self, codes: np.ndarray, samples: int | None = None) -> np.ndarray:
        decoder = StreamDecoder(self, codes.shape[0], samples)
        return np.concatenate([decoder.push(codes), decoder.finish()])

    def encode_windows(self, x: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        facts = self.facts
        frames = (x.shape[1] - facts.lead) // facts.hop
        self.calls.append(("encode", x.shape))
        whole = np.rint(x * 32768).astype(np.int64)
        weights = np.arange(1, facts.lead + facts.hop + 1)
        starts = range(0, frames * facts.hop, facts.hop)
        sums = np.stack([whole[:, s : s + facts.lead + facts.hop] @ weights for s in starts], axis=1) + 1
        padded = np.pad(sums, ((0, 0), (2, 2)))  # the + 1 above makes a padded frame differ from a silent one
        mixed = padded[:, :-4] + 3 * padded[:, 1:-3] + 5 * padded[:, 2:-2] + 7 * padded[:, 3:-1] + 11 * padded[:, 4:]
        place = np.asarray(first_frames)[:, None] + np.arange(frames) + np.asarray(channels)[:, None]
        layers = [(mixed // 7**k + k) % facts.codebook_size for k in range(facts.codebooks)]
        layers[0] = (layers[0] + place // 8 % 2) % facts.codebook_size
        return np.stack(layers, axis=1).astype(np.uint16)

    def decode_windows(self, codes: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        facts = self.facts
        self.calls.append(("decode", codes.shape))
        values = np.where(codes == ABSENT, 0, codes.astype(np.int64) + 1)
        scaled = values * (facts.codebook_size ** np.arange(codes.shape[1]))[None, :, None]
        summed = scaled.sum(axis=1) + 1
        index = np.asarray(first_frames)[:, None] + np.arange(codes.shape[2])
        summed += 13 * (index % 1024) + 17 * np.asarray(channels)[:, None]
        padded = np.pad(summed, ((0, 0), (2, 2)))
        mixed = padded[:, :-4] - 2 * padded[:, 1:-3] + 3 * padded[:, 2:-2] - 4 * padded[:, 3:-1] + 5 * padded[:, 4:]
        within = np.arange(facts.hop) + 1
        samples = (mixed[:, :, None] * within) % 65536 - 32768
        flat = samples.reshape(len(codes), -1)[:, : facts.decoded(codes.shape[2])]
        return (flat / 65536).astype(np.float32)

    def preview_windows(self, codes: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        return self.decode_windows(codes, first_frames, channels)
