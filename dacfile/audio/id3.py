"""ID3 frames <-> tags with Vorbis keys and pictures, by the names of mutagen's EasyID3.

What EasyID3 does not know: a comment or lyrics with a description are `COMMENT:description` and `LYRICS:description`,
a free text frame (TXXX) or URL goes by its description, any other text frame by its four letters. Frames that are
neither text nor picture (ratings, play counts, private data, chapters) have no place in a `.dacz` file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from mutagen import id3
from mutagen.easyid3 import EasyID3

from dacfile.container.tags import Picture, Tags

UTF_8 = 3  # as ID3v2.4 numbers encodings
LANGUAGE = "XXX"  # of comments and lyrics: unknown
PERFORMER, GAIN = "performer:*", "replaygain_*_gain"  # patterns of EasyID3: musicians (TMCL), volume (RVA2)
DESCRIBED = {"COMM": "COMMENT", "USLT": "LYRICS"}
NO_DESCRIPTION = ("", "ID3v1 Comment")  # the latter by mutagen, for tags of version 1


def from_id3(frames: Any) -> tuple[list[tuple[str, str]], list[Picture]]:
    """Return the texts of an ID3 tag (mutagen.id3.ID3) in its order, and its pictures."""
    known = _keys()
    tags: list[tuple[str, str]] = []
    for name, frame in frames.items():
        key = known.get(name)
        found = [(key, text) for text in EasyID3.Get[key.lower()](frames, key.lower())] if key else _texts(frame)
        tags += [(key.upper(), str(text)) for key, text in found]
    tags += _gains(frames, {key for key, _ in tags})
    return tags, [Picture(int(p.type), p.mime, p.desc, p.data) for p in frames.getall("APIC")]


def into_id3(frames: Any, tags: Tags, pictures: Sequence[Picture]) -> None:
    """Add tags with upper-case keys and pictures to an ID3 tag (mutagen.id3.ID3)."""
    values: dict[str, list[str]] = {}
    for key, value in tags:
        values.setdefault(key, []).append(value)
    for key, texts in values.items():
        _add(frames, key, texts)
    for picture in pictures:
        frame = _apic(picture)
        while frame.HashKey in frames:  # ID3 allows each description once, mutagen and all players more often
            frame.salt += " "
        frames.add(frame)


@cache
def _keys() -> dict[str, str]:
    """Return the frames that EasyID3 has a single key for: {"TIT2": "TITLE", "TXXX:ASIN": "ASIN", ...}."""
    keys = {}
    for key, setter in EasyID3.Set.items():
        if "*" not in key and key != "website":  # its frame goes by its value
            probe = id3.ID3()
            setter(probe, key, ["1"])
            keys.update(dict.fromkeys(probe.keys(), key.upper()))
    return keys


def _texts(frame: Any) -> Iterator[tuple[str, str]]:
    """Yield the tags of a frame that EasyID3 has no key for."""
    kind, description = type(frame), getattr(frame, "desc", "")
    if frame.FrameID in DESCRIBED:
        key = DESCRIBED[frame.FrameID] + ("" if description in NO_DESCRIPTION else f":{description}")
        for text in [frame.text] if isinstance(frame.text, str) else frame.text:
            yield key, text
    elif issubclass(kind, id3.TextFrame):
        for text in frame.text:
            yield description or frame.FrameID, text
    elif issubclass(kind, id3.PairedTextFrame):
        for role, person in frame.people:
            yield (f"PERFORMER:{role}" if frame.FrameID == "TMCL" else role), person
    elif issubclass(kind, id3.UrlFrame):
        yield description or "WEBSITE", frame.url


def _gains(frames: Any, present: set[str]) -> Iterator[tuple[str, str]]:
    """Yield ReplayGain tags for volumes in RVA2 frames, unless there are texts of that name."""
    for key in EasyID3.List[GAIN](frames, GAIN):
        getter = EasyID3.Get[GAIN if key.endswith("_gain") else "replaygain_*_peak"]
        if key.upper() not in present:
            yield key.upper(), getter(frames, key)[0]


def _add(frames: Any, key: str, texts: list[str]) -> None:
    """Add the frame that players look for, or a free text where that would not hold these very texts."""
    base, _, description = key.partition(":")
    if base == "COMMENT":
        frames.add(id3.COMM(encoding=UTF_8, lang=LANGUAGE, desc=description, text=texts))
    elif base == "LYRICS" and len(texts) == 1:
        frames.add(id3.USLT(encoding=UTF_8, lang=LANGUAGE, desc=description, text=texts[0]))
    elif base == "PERFORMER" and description:
        EasyID3.Set[PERFORMER](frames, key.lower(), texts)
    elif not _add_known(frames, key, texts):
        frames.add(id3.TXXX(encoding=UTF_8, desc=key, text=texts))


def _add_known(frames: Any, key: str, texts: list[str]) -> bool:
    """Add texts to the frame made for them, by EasyID3's key or by its four letters; say whether it holds them."""
    probe, name = id3.ID3(), key.lower()
    kind = id3.Frames.get(key)
    try:
        if key in _keys().values():
            EasyID3.Set[name](probe, name, texts)
            kept = EasyID3.Get[name](probe, name)
        elif kind is not None and key != "TXXX" and issubclass(kind, id3.TextFrame) and not hasattr(kind(), "desc"):
            probe.add(kind(encoding=UTF_8, text=texts))
            kept = [str(text) for text in probe[key].text]
        else:
            return False
    except ValueError:  # a date that is none, an identifier that is not ASCII
        return False
    if kept != texts:
        return False
    for frame in probe.values():
        frames.add(frame)
    return True


def _apic(picture: Picture) -> Any:
    """Return the frame; NUL ends its texts, and its MIME type is Latin 1."""
    mime = picture.mime.replace("\0", " ").encode("latin-1", "replace").decode("latin-1")
    description = picture.description.replace("\0", " ")
    return id3.APIC(encoding=UTF_8, mime=mime, type=picture.kind, desc=description, data=picture.data)
