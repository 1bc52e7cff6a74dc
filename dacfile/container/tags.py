"""Tags and pictures <-> the payloads of `tags` and `pict` chunks (spec section 5)."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from dacfile.errors import LimitError, StructureError, UsageError
from dacfile.limits import DEFAULT_LIMITS, Limits

Tags = Sequence[tuple[str, str]]

_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<HI")  # bytes of the key, bytes of the value
COUNT_BYTES, ENTRY_BYTES = _COUNT.size, _ENTRY.size  # what `tags` takes beside its texts, once and for each
_PICTURE = struct.Struct("<BBH")  # kind, bytes of the MIME type, bytes of the description
_KEY = re.compile(r"[ -<>-}]+")  # Vorbis comments: printable ASCII but "=" and "~"


@dataclass(frozen=True)
class Picture:
    """An embedded picture; `kind` as in FLAC and ID3 (3: front cover). The data are never decoded here."""

    kind: int
    mime: str
    description: str
    data: bytes


def is_valid_key(key: str) -> bool:
    """Say whether `key` may name a tag: one or more printable ASCII characters, neither "=" nor "~"."""
    return len(key) <= 0xFFFF and _KEY.fullmatch(key) is not None


def pack_tags(tags: Tags, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the `tags` payload; raises `UsageError` for invalid keys or text, `LimitError` for too much of it."""
    if len(tags) > limits.tags_entries:
        raise LimitError.over("tags: entries", len(tags), limits.tags_entries)
    parts = [_COUNT.pack(len(tags))]
    for key, value in tags:
        if not is_valid_key(key):
            raise UsageError(f"tags: {key!r} cannot be a key: only printable ASCII without '=' and '~'")
        text = _encode(value, "tags")
        parts += [_ENTRY.pack(len(key), len(text)), key.encode(), text]
    payload = b"".join(parts)
    if len(payload) > limits.tags_bytes:
        raise LimitError.over("tags: bytes", len(payload), limits.tags_bytes)
    return payload


def parse_tags(payload: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[tuple[str, str], ...]:
    """Return (key, value) pairs in the order of the file, duplicates kept; raises `StructureError`, `LimitError`."""
    if len(payload) < _COUNT.size:
        raise StructureError("tags: too short")
    (count,) = _COUNT.unpack_from(payload)
    if count > limits.tags_entries:
        raise LimitError.over("tags: entries", count, limits.tags_entries)
    tags, at = [], _COUNT.size
    for _ in range(count):
        if at + _ENTRY.size > len(payload):
            raise StructureError("tags: an entry does not fit in the chunk")
        key_end = at + _ENTRY.size + _ENTRY.unpack_from(payload, at)[0]
        end = key_end + _ENTRY.unpack_from(payload, at)[1]
        if end > len(payload):
            raise StructureError("tags: an entry does not fit in the chunk")
        key = _decode(payload[at + _ENTRY.size : key_end], "tags")
        if not is_valid_key(key):
            raise StructureError("tags: an invalid key")
        tags.append((key, _decode(payload[key_end:end], "tags")))
        at = end
    if at != len(payload):
        raise StructureError("tags: bytes after the last entry")
    return tuple(tags)


def pack_picture(picture: Picture, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the `pict` payload; raises `UsageError` for what does not fit its fields, `LimitError` for its size."""
    mime, description = _encode(picture.mime, "pict"), _encode(picture.description, "pict")
    if not 0 <= picture.kind <= 0xFF or len(mime) > 0xFF or len(description) > 0xFFFF:
        raise UsageError("pict: the kind, MIME type or description does not fit its field")
    payload = _PICTURE.pack(picture.kind, len(mime), len(description)) + mime + description + picture.data
    if len(payload) > limits.picture_bytes:
        raise LimitError.over("pict: bytes", len(payload), limits.picture_bytes)
    return payload


def parse_picture(payload: bytes) -> Picture:
    """Return the picture of a `pict` payload; raises `StructureError`."""
    if len(payload) < _PICTURE.size:
        raise StructureError("pict: too short")
    kind, mime_bytes, description_bytes = _PICTURE.unpack_from(payload)
    mime_end = _PICTURE.size + mime_bytes
    end = mime_end + description_bytes
    if end > len(payload):
        raise StructureError("pict: its texts do not fit in the chunk")
    mime, description = payload[_PICTURE.size : mime_end], payload[mime_end:end]
    return Picture(kind, _decode(mime, "pict"), _decode(description, "pict"), payload[end:])


def _encode(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: a text that is not Unicode: {error.reason}") from None


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise StructureError(f"{where}: a text that is not UTF-8: {error.reason}") from None
