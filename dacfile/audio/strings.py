"""The ten texts that libsndfile knows: what a source has of them, and what an output gets."""

from __future__ import annotations

import contextlib

import soundfile

from dacfile.container.tags import Tags

TAG_NAMES = {  # attribute of soundfile -> Vorbis comment
    "title": "TITLE",
    "artist": "ARTIST",
    "album": "ALBUM",
    "tracknumber": "TRACKNUMBER",
    "date": "DATE",
    "genre": "GENRE",
    "comment": "COMMENT",
    "copyright": "COPYRIGHT",
    "license": "LICENSE",
    "software": "SOFTWARE",
}
PLAIN_KEYS = {  # of those, what libsndfile writes into containers that have no room for all
    "AIFF": ("TITLE", "ARTIST", "COMMENT", "COPYRIGHT"),
    "W64": (),
    "WAV": ("TITLE", "ARTIST", "ALBUM", "TRACKNUMBER", "DATE", "GENRE", "COMMENT", "COPYRIGHT"),
}
PLAIN_KEYS |= {"WAVEX": PLAIN_KEYS["WAV"], "RF64": PLAIN_KEYS["WAV"]}
LONGEST = {"AIFF": 8_000}  # bytes of one text; with one of 8190 libsndfile could not open its own file again
MOST = {"CAF": 15_000}  # bytes of all texts and their names; beyond 16 KiB libsndfile drops them
NO_LIMIT = 1 << 62
PROGRAM_TAGS = ("SOFTWARE",)  # names the program that wrote the file, which is another one for an output


def strings_of(sound: soundfile.SoundFile) -> tuple[tuple[str, str], ...]:
    """Return the tags that libsndfile has found in a source."""
    return tuple((key, value) for name, key in TAG_NAMES.items() if (value := _string_of(sound, name)))


def fitting_strings(container: str, tags: Tags) -> dict[str, str]:
    """Return the tags that libsndfile writes into a container, and finds there again.

    One text for each upper-case key, none of them empty. Those that are too long are left out.
    """
    plain = PLAIN_KEYS.get(container, tuple(TAG_NAMES.values()))
    values: dict[str, list[str]] = {}
    for key, value in tags:
        if key.upper() in plain and key.upper() not in PROGRAM_TAGS:
            values.setdefault(key.upper(), []).append(value)
    longest, left = LONGEST.get(container, NO_LIMIT), MOST.get(container, NO_LIMIT)
    fitting = {}
    for key, found in values.items():
        text = "; ".join(found)
        size = len(text.encode(errors="replace"))
        if text and size <= longest and size + len(key) + 2 <= left:
            left -= size + len(key) + 2
            fitting[key] = text
    return fitting


def give_strings(sound: soundfile.SoundFile, container: str, tags: Tags) -> None:
    """Give libsndfile the tags that it writes: for players of WAV without ID3, and where mutagen is missing."""
    names = {key: name for name, key in TAG_NAMES.items()}
    for key, text in fitting_strings(container, tags).items():
        with contextlib.suppress(soundfile.SoundFileError):  # a container without strings
            setattr(sound, names[key], text)


def _string_of(sound: soundfile.SoundFile, name: str) -> str:
    """Return a text; soundfile takes all for UTF-8, and has no public call for the bytes of others."""
    text = str(getattr(sound, name))
    if "\ufffd" not in text:
        return text
    try:
        pointer = soundfile._snd.sf_get_string(sound._file, soundfile._str_types[name])
        return decode_text(soundfile._ffi.string(pointer))
    except (AttributeError, LookupError, TypeError, RuntimeError):  # another version, with other private names
        return text


def decode_text(data: bytes) -> str:
    """Return a text in UTF-8, also one cut short, or else in Windows-1252 or Latin 1: older programs use these."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and not data[: error.start].isascii():
            return data.decode(errors="replace")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")
