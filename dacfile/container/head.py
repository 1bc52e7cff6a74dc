"""The HEAD payload: what a decoder must know before the first block (spec section 4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dacfile.errors import LimitError, StructureError, UnsupportedFeature, UnsupportedVersion
from dacfile.limits import DEFAULT_LIMITS, Limits

from .wire import Tail

MAJOR, MINOR = 1, 0
CODER_RAW, CODER_RANGE = 0, 1
TRANSFORM_NONE, TRANSFORM_MID_SIDE = 0, 1
NO_ID = bytes(16)
UNKNOWN_LENGTH = (1 << 64) - 1

# Names as libsndfile has them; a number that is not here reads as 0, "unknown" (spec appendix A).
SUBTYPES = dict(
    enumerate(
        (
            *("", "PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
            *("IMA_ADPCM", "MS_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"),
            *("ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32", "AAC", "WMA"),
        )
    )
)
CONTAINERS = dict(
    enumerate(
        (
            *("", "WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "CAF", "AU", "OGG", "MP3", "MP4", "RAW", "MATROSKA"),
            *("ASF", "AVI", "NIST", "VOC", "SVX", "PAF", "IRCAM", "MAT4", "MAT5", "PVF", "XI", "HTK", "SDS", "AVR"),
            *("WVE", "MPC2K"),
        )
    )
)

_FIXED = struct.Struct("<BBHIHHHBBHBBIIQBBHIB3s16s16s")
_FIELDS = (
    *("major", "minor", "flags", "rate", "hop", "frames_per_block", "codebook_size", "codebooks", "context"),
    *("channels", "subtype", "container", "channel_mask", "source_rate", "source_samples", "transform", "reserved"),
    *("skip", "nominal_bitrate", "coder", "reserved3", "model_id", "prior_id"),
)
FIXED_BYTES = _FIXED.size  # 80
_LENGTH_KNOWN = 0x0001
_RESERVED_FLAGS = 0x00FE
_UNUSED_FLAGS = 0xFF00

# (field, smallest value, name of its limit)
_RANGES = (
    ("rate", 1, "rate"),
    ("hop", 1, "hop"),
    ("frames_per_block", 1, "frames_per_block"),
    ("codebook_size", 2, "codebook_size"),
    ("codebooks", 1, "codebooks"),
    ("context", 0, "context"),
    ("channels", 1, "channels"),
    ("source_rate", 1, "rate"),
)
# (field, largest value that its bytes hold), for those that have no limit of their own
_WIDTHS = (("subtype", 0xFF), ("container", 0xFF), ("channel_mask", 0xFFFFFFFF), ("skip", 0xFFFF)) + (
    ("nominal_bitrate", 0xFFFFFFFF),
    ("minor", 0xFF),
)


@dataclass(frozen=True)
class Head:
    """Facts of a file, as stored in HEAD.

    Rates are in Hz, `hop` in samples at `rate`, `frames_per_block` and `context` in frames, `source_samples` per
    channel at `source_rate` (None: not known before the end of the file), `skip` in samples at `rate`,
    `nominal_bitrate` in bit/s over all channels, `gains` in 1/256 dB per coded channel: applied before encoding, so
    a decoder divides by them. `model_id` and `prior_id` have 16 bytes; a prior id of zeros means none.
    `minor`, `unused_flags` and `extra` keep what a later minor version may have added, for rewriting.
    """

    rate: int
    hop: int
    frames_per_block: int
    codebook_size: int
    codebooks: int
    context: int
    channels: int
    subtype: int
    container: int
    channel_mask: int
    source_rate: int
    source_samples: int | None
    skip: int
    nominal_bitrate: int
    coder: int
    transform: int
    model_id: bytes
    prior_id: bytes
    gains: tuple[int, ...]
    minor: int = MINOR
    unused_flags: int = 0
    extra: bytes = b""

    @property
    def bits_per_code(self) -> int:
        """Bits of one raw code."""
        return (self.codebook_size - 1).bit_length()

    def raw_layer_bytes(self, frames: int) -> int:
        """Return the bytes of one raw layer of `frames` frames; a stored layer is never longer."""
        return (frames * self.bits_per_code + 7) // 8

    @property
    def subtype_name(self) -> str:
        """Name of the source's sample format, empty if unknown."""
        return SUBTYPES.get(self.subtype, "")

    @property
    def container_name(self) -> str:
        """Name of the source's file format, empty if unknown."""
        return CONTAINERS.get(self.container, "")

    @property
    def gains_db(self) -> tuple[float, ...]:
        """Gains in dB, one per coded channel."""
        return tuple(gain / 256 for gain in self.gains)


def pack_head(head: Head, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the HEAD payload, 80 + 2 channels bytes (longer for a rewritten file of a later minor version).

    Raises `StructureError`, `UnsupportedFeature` or `LimitError` for fields that no reader would accept.
    """
    _check(head, limits)
    known = head.source_samples is not None
    derived = {
        "major": MAJOR,
        "flags": (_LENGTH_KNOWN if known else 0) | head.unused_flags,
        "source_samples": head.source_samples if known else UNKNOWN_LENGTH,
        "reserved": 0,
        "reserved3": bytes(3),
    }
    fixed = _FIXED.pack(*(derived[name] if name in derived else getattr(head, name) for name in _FIELDS))
    return fixed + struct.pack(f"<{head.channels}h", *head.gains) + head.extra


def parse_head(payload: bytes, limits: Limits = DEFAULT_LIMITS) -> Head:
    """Return the fields of a HEAD payload whose CRC is right.

    Raises `UnsupportedVersion` for another major version, `UnsupportedFeature` for reserved bits, coders and
    transforms that v1.0 does not know, `LimitError` above `limits`, `StructureError` for what contradicts itself.
    """
    if not payload:
        raise StructureError("HEAD is empty")
    if payload[0] != MAJOR:
        raise UnsupportedVersion(f"format version {payload[0]}: this program reads version {MAJOR}; update it")
    if len(payload) < FIXED_BYTES:
        raise StructureError(f"HEAD has {len(payload)} bytes, fewer than {FIXED_BYTES}")
    fields = dict(zip(_FIELDS, _FIXED.unpack_from(payload), strict=True))
    flags, reserved = fields.pop("flags"), fields.pop("reserved") or any(fields.pop("reserved3"))
    del fields["major"]
    if flags & _RESERVED_FLAGS or reserved:
        raise UnsupportedFeature("HEAD uses reserved bits: the file needs a newer version of this program")
    end = FIXED_BYTES + 2 * fields["channels"]
    if len(payload) < end:
        raise StructureError(f"HEAD has {len(payload)} bytes, too few for the gains of {fields['channels']} channels")
    known = bool(flags & _LENGTH_KNOWN)
    if known == (fields["source_samples"] == UNKNOWN_LENGTH):
        raise StructureError("HEAD: the source length and the flag that it is known disagree")
    if not known:
        fields["source_samples"] = None
    gains = struct.unpack_from(f"<{fields['channels']}h", payload, FIXED_BYTES)
    head = Head(**fields, gains=gains, unused_flags=flags & _UNUSED_FLAGS, extra=payload[end:])
    _check(head, limits)
    return head


def _check(head: Head, limits: Limits) -> None:
    for name, smallest, limit_name in _RANGES:
        value, limit = getattr(head, name), getattr(limits, limit_name)
        if value < smallest:
            raise StructureError(f"HEAD: {name} is {value}, less than {smallest}")
        if value > limit:
            raise LimitError.over(f"HEAD: {name}", value, limit)
    for name, limit in _WIDTHS:
        if not 0 <= getattr(head, name) <= limit:
            raise StructureError(f"HEAD: {name} is {getattr(head, name)}, not in 0..{limit}")
    _check_coding(head)
    _check_source(head, limits)


def _check_coding(head: Head) -> None:
    if head.coder not in (CODER_RAW, CODER_RANGE):
        raise UnsupportedFeature(f"HEAD: coder {head.coder} is unknown; the file needs a newer version of this program")
    if head.transform not in (TRANSFORM_NONE, TRANSFORM_MID_SIDE):
        raise UnsupportedFeature(f"HEAD: channel transform {head.transform} is unknown; update this program")
    if head.skip:
        raise UnsupportedFeature("HEAD: a codec delay; the file needs a newer version of this program")
    if head.transform == TRANSFORM_MID_SIDE and head.channels < 2:
        raise StructureError("HEAD: mid/side needs two channels")
    if len(head.model_id) != len(NO_ID) or len(head.prior_id) != len(NO_ID):
        raise StructureError("HEAD: an id does not have 16 bytes")
    if (head.coder == CODER_RAW) != (head.prior_id == NO_ID):
        raise StructureError("HEAD: a prior is named without the range coder, or the range coder without a prior")
    if len(head.gains) != head.channels or any(not -32768 <= gain <= 32767 for gain in head.gains):
        raise StructureError("HEAD: not one gain of 16 bits per channel")


def _check_source(head: Head, limits: Limits) -> None:
    if head.channel_mask.bit_count() > head.channels:
        raise StructureError(f"HEAD: the channel mask names more than {head.channels} channels")
    if head.unused_flags & ~_UNUSED_FLAGS:
        raise StructureError("HEAD: flags outside the unused bits")
    samples = head.source_samples
    if samples is not None and samples < 0:
        raise StructureError("HEAD: the source length is negative")
    if samples is not None and samples > limits.source_samples:
        raise LimitError.over("HEAD: source samples", samples, limits.source_samples)


def check_tail(tail: Tail, head: Head, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise `StructureError` or `LimitError` if TAIL contradicts HEAD or promises more audio than its frames hold."""
    if tail.blocks > limits.blocks:
        raise LimitError.over("TAIL: blocks", tail.blocks, limits.blocks)
    if tail.source_samples > limits.source_samples:
        raise LimitError.over("TAIL: source samples", tail.source_samples, limits.source_samples)
    if head.source_samples not in (None, tail.source_samples):
        raise StructureError("TAIL and HEAD disagree on the source length")
    full = tail.blocks * head.frames_per_block
    if not full - head.frames_per_block < tail.total_frames <= full and (tail.blocks or tail.total_frames):
        raise StructureError("TAIL: the numbers of frames and blocks disagree")
    # One frame of slack for the rounding of resampled lengths; without this check a file of a few bytes could ask
    # for 2^40 samples of output.
    if tail.source_samples * head.rate > (tail.total_frames + 1) * head.hop * head.source_rate:
        raise StructureError("TAIL: the source is longer than the frames of the file")
