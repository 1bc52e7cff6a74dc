"""Audio file to `.dacz`: measure, transform, encode, entropy code, write, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from dacfile.arguments import whole
from dacfile.audio.files import AudioReader, Source, SourceInfo
from dacfile.audio.stereo import ChannelPlan, Levels, check_stereo, plan_channels
from dacfile.blocks import BlockMaker, Silence
from dacfile.container import (
    CODER_RANGE,
    CODER_RAW,
    CONTAINERS,
    NO_ID,
    SUBTYPES,
    TRANSFORM_MID_SIDE,
    TRANSFORM_NONE,
    Block,
    Head,
    Tail,
    Writer,
)
from dacfile.entropy import Prior
from dacfile.entropy.prior import check_covers
from dacfile.equalising import Equalising
from dacfile.errors import UsageError
from dacfile.events import ProgressCallback
from dacfile.limits import DEFAULT_LIMITS
from dacfile.material import Material
from dacfile.model.facts import SIDE, Facts
from dacfile.pieces import piece_frames, regroup
from dacfile.stream import StreamEncoder, WindowCodec


@dataclass(frozen=True)
class CompressOptions:
    """What a user may choose for one file.

    `codebooks` caps the layers of every channel; `bitrate` (nominal kbit/s of all channels together) picks the cap;
    `stereo` is "auto", "lr" or "ms" and matters for two channels only; `block_seconds` is the length of a block;
    `equalise` gives blocks equalisers and attacks (`dacfile.equaliser`, `dacfile.attacks`) where models have them.
    Raises UsageError for an unknown `stereo`, or when both `codebooks` and `bitrate` are given.
    """

    codebooks: int | None = None
    bitrate: float | None = None
    stereo: str = "auto"
    block_seconds: float = 20.0
    equalise: bool = True

    def __post_init__(self) -> None:
        check_stereo(self.stereo)
        if self.codebooks is not None and self.bitrate is not None:
            raise UsageError("give either a number of codebooks or a bit rate, not both")


@dataclass(frozen=True)
class Compressed:
    """What became of one file: the source's facts, the bytes written, how the channels were coded, what was odd."""

    source: SourceInfo
    samples: int
    seconds: float
    bytes_out: int
    plan: ChannelPlan
    notes: tuple[str, ...]


def compress_file(
    source: Source,
    target: BinaryIO,
    codec: WindowCodec,
    prior: Prior | None = None,
    options: CompressOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Compressed:
    """Compress an audio file (path or binary stream) to the stream `target`, which is only written to.

    Without `prior` the codes are stored raw. Raises UnsupportedAudio, LimitError, SourceChanged for the source,
    UsageError for impossible options, ModelMismatch when the prior is not for this model's codebooks, OSError.
    """
    options = options or CompressOptions()
    check_covers(prior, codec.facts, "the model")
    with AudioReader(source) as reader:
        material = Material(reader, codec.facts.rate)
        depth = choose_depth(material.levels, codec.facts, options)
        plan = plan_channels(material.levels, depth, options.stereo)
        head = make_head(codec, prior, reader.info, material.samples, plan, options)
        metadata = reader.metadata()
        writer = Writer(target, head, metadata.tags, metadata.pictures)
        coder = _BlockCoder(codec, head, plan, codec.facts.frames(material.length), prior, options.equalise)
        tail = _write_blocks(material, writer, codec, coder, progress)
        reader.check_unchanged()  # a later change must not look older than the output
        notes = tuple(dict.fromkeys((*reader.warnings, *metadata.notes)))
        return Compressed(reader.info, material.samples, material.seconds, tail.file_size, plan, notes)


def choose_depth(levels: Levels, facts: Facts, options: CompressOptions) -> int:
    """Return how many layers the strongest channel gets.

    Raises UsageError when the number of codebooks or the bit rate is not possible with this model.
    """
    if options.bitrate is None:
        check_codebooks(options, facts)
        return facts.codebooks if options.codebooks is None else options.codebooks
    for depth in range(facts.codebooks, 0, -1):
        rate = nominal_bitrate(plan_channels(levels, depth, options.stereo), facts)
        if rate <= options.bitrate * 1000:
            return depth
    raise UsageError(f"{options.bitrate:g} kbit/s: these channels need {rate / 1000:.3g} kbit/s at least")


def check_codebooks(options: CompressOptions, facts: Facts) -> None:
    """Raise UsageError when a number of codebooks is asked for that the model does not have."""
    if options.codebooks is not None and not 1 <= whole(options.codebooks, "codebooks") <= facts.codebooks:
        raise UsageError(f"{options.codebooks} codebooks: this model has 1 to {facts.codebooks}")


def nominal_bitrate(plan: ChannelPlan, facts: Facts) -> float:
    """Return the bits a second of the raw codes of all channels."""
    layers = sum(plan.layers[channel] for channel in plan.coded)
    return facts.rate / facts.hop * facts.bits_per_code * layers


def make_head(
    codec: WindowCodec,
    prior: Prior | None,
    info: SourceInfo,
    samples: int,
    plan: ChannelPlan,
    options: CompressOptions,
) -> Head:
    """Return the HEAD of a file; nothing in it depends on time, place or name."""
    facts = codec.facts
    return Head(
        rate=facts.rate,
        hop=facts.hop,
        frames_per_block=frames_per_block(facts, options.block_seconds),
        codebook_size=facts.codebook_size,
        codebooks=facts.codebooks,
        context=facts.decoder_context,
        channels=info.channels,
        subtype=_number(SUBTYPES, info.subtype),
        container=_number(CONTAINERS, info.container),
        channel_mask=info.channel_mask,
        source_rate=info.rate,
        source_samples=samples,
        skip=0,
        nominal_bitrate=round(nominal_bitrate(plan, facts)),
        coder=CODER_RANGE if prior else CODER_RAW,
        transform=TRANSFORM_MID_SIDE if plan.mid_side else TRANSFORM_NONE,
        model_id=codec.id,
        prior_id=prior.id if prior else NO_ID,
        gains=plan.gains,
    )


def frames_per_block(facts: Facts, seconds: float) -> int:
    """Return the frames of a block of about `seconds`; raises UsageError unless that is positive."""
    if not seconds > 0:
        raise UsageError(f"blocks of {seconds:g} seconds")
    return min(max(round(min(seconds, 1e6) * facts.rate / facts.hop), 1), DEFAULT_LIMITS.frames_per_block)


def _number(names: dict[int, str], name: str) -> int:
    return next((number for number, known in names.items() if known == name), 0)


class _BlockCoder:
    """The samples of one file, as they come, to its blocks. Attribute: coded (how many channels have codes)."""

    def __init__(
        self, codec: WindowCodec, head: Head, plan: ChannelPlan, frames: int, prior: Prior | None, equalise: bool
    ) -> None:
        numbers = [SIDE if plan.mid_side and channel == 1 else channel for channel in plan.coded]
        self._plan = plan
        self.coded = len(numbers)
        self._silence = Silence(codec.facts, len(numbers))
        self._equalising = Equalising(codec, numbers) if numbers and equalise and codec.facts.equalises else None
        self._maker = BlockMaker(head, frames, plan.layers, plan.same, self._silence, prior, self._equalising)
        self._encoder = StreamEncoder(codec, numbers)

    def push(self, block: np.ndarray) -> Iterator[Block]:
        """Take the source's samples float32 [n, C]; yield the blocks that are ready."""
        samples = self._plan.apply(block)[:, self._plan.coded]
        self._silence.push(samples)
        if self._equalising:
            self._equalising.push(samples)
        yield from self._maker.push(self._encoder.push(samples))

    def finish(self) -> Iterator[Block]:
        """Yield the rest of the blocks."""
        self._silence.finish()
        if not self._plan.coded:
            yield from self._maker.silent_file()
            return
        yield from self._maker.push(self._encoder.finish())
        yield from self._maker.finish()


def _write_blocks(
    material: Material, writer: Writer, codec: WindowCodec, coder: _BlockCoder, progress: ProgressCallback | None
) -> Tail:
    facts, done = codec.facts, 0
    size = piece_frames(codec, facts.encoder_context, max(coder.coded, 1)) * facts.hop
    for block in regroup(material.blocks(), size, axis=0) if coder.coded else ():
        for ready in coder.push(block):
            writer.write_block(ready)
        done += len(block)
        if progress:
            progress(done / facts.rate, material.seconds)
    for ready in coder.finish():
        writer.write_block(ready)
    return writer.finish(material.samples, material.digest)
