"""Codes that a program holds in an array, as a `.dacz` file: what `DaczFile.codes` gives, the other way round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from dacfile.arguments import whole
from dacfile.audio.files import SourceInfo
from dacfile.audio.resample import resampled_length
from dacfile.audio.stereo import GAIN_MAX, GAIN_MIN, GAIN_STEPS, ChannelPlan
from dacfile.blocks import CodedBlock, encode_codes, grouped
from dacfile.compressor import CompressOptions, make_head
from dacfile.container import CODED, SILENT, Head, Tail, Writer
from dacfile.entropy import Prior
from dacfile.entropy.prior import check_covers
from dacfile.errors import UsageError
from dacfile.limits import DEFAULT_LIMITS
from dacfile.model.facts import Facts
from dacfile.stream import WindowCodec
from dacfile.windows import ABSENT


@dataclass(frozen=True)
class Origin:
    """What codes alone do not tell of their sound.

    `samples` per channel at `rate` Hz: None for all that the codes give, and for the model's rate. `gains_db` were
    applied to the channels before the encoder (None: none were). With `mid_side` channels 0 and 1 are mid and side.
    """

    samples: int | None = None
    rate: int | None = None
    gains_db: tuple[float, ...] | None = None
    mid_side: bool = False
    tags: tuple[tuple[str, str], ...] = ()


def write_codes(codes: np.ndarray, target: BinaryIO, codec: WindowCodec, prior: Prior | None, origin: Origin) -> Tail:
    """Write codes uint16 [channels, n, T] of a codec, n <= K, to a stream that is only written to.

    65,535 stands for what is not stored: the deeper layers of a channel, or all of them where it is silent, each for
    whole blocks of about 20 s. Raises UsageError for anything else that is no code of this codec, and for an `origin`
    that no file can name, ModelMismatch for the prior.
    """
    check_covers(prior, codec.facts, "the model")
    check_codes(codes, codec.facts)
    check_tags(origin.tags)
    head = head_of(codes, codec, prior, origin)
    writer = Writer(target, head, origin.tags)
    for group in grouped(cut(codes, head.frames_per_block)):
        for block in encode_codes(group, head, codes.shape[-1], prior):
            writer.write_block(block)
    return writer.finish(head.source_samples or 0)


def check_codes(codes: np.ndarray, facts: Facts) -> None:
    """Raise UsageError unless these are codes of a model: shape, type and values."""
    if codes.ndim != 3 or codes.dtype != np.uint16:
        raise UsageError(f"codes must be uint16 [channels, codebooks, frames], not {codes.dtype} {codes.shape}")
    channels, layers, _ = codes.shape
    if not 1 <= channels <= DEFAULT_LIMITS.channels:
        raise UsageError(f"{channels} channels: a file has 1 to {DEFAULT_LIMITS.channels}")
    if not 1 <= layers <= facts.codebooks:
        raise UsageError(f"{layers} codebooks: this model has {facts.codebooks}")
    wrong = (codes >= facts.codebook_size) & (codes != ABSENT)
    if wrong.any():
        raise UsageError(f"the code {codes[wrong][0]}: this model has 0 to {facts.codebook_size - 1}")


def check_tags(tags: Iterable[object]) -> None:
    """Raise UsageError unless every tag is a pair of texts."""
    for tag in tags:
        if not isinstance(tag, tuple | list) or len(tag) != 2 or not all(isinstance(text, str) for text in tag):
            raise UsageError(f"the tag {tag!r}: a tag is a pair of texts, its key and its value")


def cut(codes: np.ndarray, size: int) -> Iterator[CodedBlock]:
    """Yield the blocks of `size` frames, the last one perhaps shorter, of codes uint16 [C, n, T]."""
    for sequence, first in enumerate(range(0, codes.shape[-1], size)):
        part = codes[..., first : first + size]
        depths = [depth(channel) for channel in part]
        modes = tuple(CODED if deep else SILENT for deep in depths)
        stored = tuple(channel[:deep] if deep else None for channel, deep in zip(part, depths, strict=True))
        yield CodedBlock(sequence, first, part.shape[-1], modes, stored)


def depth(codes: np.ndarray) -> int:
    """Return how many layers of one channel's block [n, T] are there; raises UsageError unless they are complete."""
    present = codes != ABSENT
    deep = int(present.any(1).sum())
    if not present[:deep].all():
        raise UsageError("codes are missing within a block: only the deeper layers of a whole block may be left out")
    return deep


def head_of(codes: np.ndarray, codec: WindowCodec, prior: Prior | None, origin: Origin) -> Head:
    """Return the HEAD of a file of these codes. Raises UsageError when they are not as long as their sound."""
    facts, channels = codec.facts, len(codes)
    samples = sound_length(codes.shape[-1], facts, origin)
    info = SourceInfo("", sound_rate(facts, origin), channels, samples, "", "", 0, origin.tags, 0)
    layers = tuple((codes != ABSENT).any(2).sum(1).tolist())
    plan = ChannelPlan(origin.mid_side, gain_steps(channels, origin), layers, (False,) * channels)
    return make_head(codec, prior, info, samples, plan, CompressOptions())


def sound_rate(facts: Facts, origin: Origin) -> int:
    """Return the source's rate, Hz. Raises UsageError for one that no file can name."""
    rate = facts.rate if origin.rate is None else whole(origin.rate, "rate")
    if not 1 <= rate <= DEFAULT_LIMITS.rate:
        raise UsageError(f"a rate of {rate:,} Hz: a file holds 1 to {DEFAULT_LIMITS.rate:,} Hz")
    return rate


def sound_length(frames: int, facts: Facts, origin: Origin) -> int:
    """Return the samples per channel at the source's rate. Raises UsageError when they need more or fewer frames."""
    rate = sound_rate(facts, origin)
    if origin.samples is None:
        return facts.decoded(frames) * rate // facts.rate
    samples = whole(origin.samples, "samples")
    needed = facts.frames(resampled_length(samples, rate, facts.rate))
    if needed != frames or samples < 0:
        raise UsageError(f"{samples} samples at {rate} Hz have {needed} frames of codes, not {frames}")
    return samples


def gain_steps(channels: int, origin: Origin) -> tuple[int, ...]:
    """Return the gains in 1/256 dB. Raises UsageError for gains that no file holds, or not one for each channel."""
    if origin.mid_side and channels < 2:
        raise UsageError("mid and side are two channels")
    gains = (0.0,) * channels if origin.gains_db is None else origin.gains_db
    if len(gains) != channels:
        raise UsageError(f"{len(gains)} gains for {channels} channels")
    for gain in gains:
        if not GAIN_MIN <= gain * GAIN_STEPS <= GAIN_MAX:  # nor is NaN
            raise UsageError(f"a gain of {gain:g} dB: a file holds -128 to 127.996 dB")
    return tuple(round(gain * GAIN_STEPS) for gain in gains)
