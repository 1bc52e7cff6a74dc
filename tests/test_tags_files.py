"""Tags and pictures: from audio file to audio file nothing gets lost, and nothing of it can fail a file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import read, tone, write
from container_files import write_file
from stub_codec import StubCodec

from dacfile.audio import tags as audio_tags
from dacfile.audio.files import AudioReader
from dacfile.audio.strings import TAG_NAMES
from dacfile.audio.tags import MOST_BYTES, read_metadata, write_metadata
from dacfile.audio.view import View
from dacfile.audio.writer import AudioWriter, OutputFormat
from dacfile.container import Picture, Reader
from dacfile.errors import UnsupportedAudio
from dacfile.limits import Limits
from dacfile.pipeline import Compressed, Decompressed, DecompressOptions, compress_file, decompress_file

mutagen = pytest.importorskip("mutagen")
from mutagen import aiff, flac, id3, mp3, oggopus, oggvorbis, wave  # noqa: E402

TAGS = (
    ("TITLE", "Übung Nr. 1"),
    ("ARTIST", "Zoë"),
    ("ARTIST", "日本語 \U0001f3b5"),
    ("ALBUM", "Al = bum"),
    ("ALBUMARTIST", "Various"),
    ("TRACKNUMBER", "3/12"),
    ("DISCNUMBER", "1"),
    ("DATE", "1999-10-02"),
    ("GENRE", "Rock"),
    ("GENRE", "Own Genre"),
    ("COMPOSER", "C"),
    ("COMMENT", "one\ntwo"),
    ("COMMENT:OTHER", "three"),
    ("LYRICS", "la\nla"),
    ("ISRC", "DEA123456789"),
    ("MUSICBRAINZ_TRACKID", "1e0eee38-a9f6-49bf-84d0-45d0647799af"),
    ("MUSICBRAINZ_ALBUMID", "2e0eee38"),
    ("REPLAYGAIN_TRACK_GAIN", "-7.35 dB"),
    ("REPLAYGAIN_TRACK_PEAK", "0.988"),
    ("R128_TRACK_GAIN", "256"),
    ("PERFORMER:GUITAR", "G. Uitar"),
    ("TKEY", "Am"),
    ("MOOD", "calm"),
    ("MY OWN", "1"),
    ("MY OWN", "1"),
)
PICTURES = (
    Picture(3, "image/png", "Hülle", b"\x89PNG not really" + bytes(range(256)) * 40),
    Picture(4, "image/jpeg", "Hülle", b"\xff\xd8\xff\0the same description"),
    Picture(0, "image/gif", "", b""),
)
FACTORY = {"FLAC": flac.FLAC, "WAV": wave.WAVE, "WAVEX": wave.WAVE, "AIFF": aiff.AIFF, "MP3": mp3.MP3}
OGG = {"VORBIS": oggvorbis.OggVorbis, "OPUS": oggopus.OggOpus}
SUBTYPES = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}


def clip(path: Path, container: str = "FLAC", subtype: str = "") -> Path:
    rate = 48_000 if container in ("OGG", "MP3") else 8000
    return write(path, tone(rate // 4, 2, rate), rate, container, subtype or SUBTYPES.get(container, "PCM_16"))


def tagged(path: Path, tags: object = TAGS, pictures: tuple[Picture, ...] = PICTURES) -> Path:
    """Put tags into a FLAC file by mutagen alone."""
    file = flac.FLAC(path)
    file.tags[:] = list(tags)
    for picture in pictures:
        file.add_picture(flac_picture(picture))
    file.save()
    return path


def flac_picture(picture: Picture) -> flac.Picture:
    block = flac.Picture()
    block.type, block.mime, block.desc, block.data = picture.kind, picture.mime, picture.description, picture.data
    return block


def packed(source: object) -> tuple[bytes, Compressed]:
    out = io.BytesIO()
    done = compress_file(source, out, StubCodec())
    return out.getvalue(), done


def unpacked(data: bytes, target: object = None, form: str | None = None) -> tuple[io.BytesIO, Decompressed]:
    out = io.BytesIO() if target is None else target
    wanted = DecompressOptions(format=form)
    done = decompress_file(io.BytesIO(data), out, lambda head: StubCodec(), lambda head: None, wanted)
    return out, done


def held(data: bytes) -> tuple[tuple[tuple[str, str], ...], tuple[Picture, ...]]:
    with Reader(io.BytesIO(data)) as reader:
        return reader.tags, reader.pictures


def metadata(source: object) -> audio_tags.Metadata:
    with AudioReader(source) as reader:
        return reader.metadata()


def without_mutagen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mutagen", None)


def test_flac_to_flac_is_all_the_same(tmp_path: Path) -> None:
    data, done = packed(tagged(clip(tmp_path / "a.flac")))
    assert done.notes == ()
    assert held(data) == (TAGS, PICTURES)
    out, again = unpacked(data)
    assert again.notes == ()
    file = flac.FLAC(io.BytesIO(out.getvalue()))
    assert tuple(file.tags) == TAGS
    assert tuple(Picture(int(p.type), p.mime, p.desc, p.data) for p in file.pictures) == PICTURES


@pytest.mark.parametrize("form", ["flac", "wav", "aiff"])
@pytest.mark.parametrize("channels", [2, 4])
def test_no_sample_changes(tmp_path: Path, form: str, channels: int) -> None:
    container = {"flac": "FLAC", "wav": "WAV", "aiff": "AIFF"}[form]
    samples = tone(5001, channels)
    outs = [io.BytesIO(), io.BytesIO()]
    for out, tags, pictures in zip(outs, ((), TAGS), ((), PICTURES), strict=True):
        mask = 0x33 if channels == 4 else 0
        shape = OutputFormat(container, "PCM_16", "")
        with AudioWriter(out, shape, 8000, channels, 5001, mask, tags, pictures) as writer:
            writer.write(samples)
    assert len(outs[1].getvalue()) > len(outs[0].getvalue()) + 10_000
    plain, full = (read(io.BytesIO(out.getvalue())) for out in outs)
    assert plain[1] == full[1] == 8000
    np.testing.assert_array_equal(plain[0], full[0])
    assert soundfile.info(io.BytesIO(outs[1].getvalue())).frames == 5001
    found = metadata(io.BytesIO(outs[1].getvalue()))
    assert sorted(found.tags) == sorted(TAGS)
    assert found.pictures == PICTURES
    assert found.notes == ()


@pytest.mark.parametrize("form", ["flac", "wav", "aiff"])
def test_files_without_samples_keep_them_too(form: str) -> None:
    out = io.BytesIO()
    container = {"flac": "FLAC", "wav": "WAV", "aiff": "AIFF"}[form]
    with AudioWriter(out, OutputFormat(container, "PCM_16", ""), 8000, 1, 0, 0, TAGS[:2], PICTURES):
        pass
    file = FACTORY[container](io.BytesIO(out.getvalue()))
    assert (file.tags.getall("APIC") if form != "flac" else file.pictures)[0].data == PICTURES[0].data


def test_wav_holds_what_players_look_for(tmp_path: Path) -> None:
    out, _ = unpacked(packed(tagged(clip(tmp_path / "a.flac")))[0], form="wav")
    tags = wave.WAVE(io.BytesIO(out.getvalue())).tags
    assert tags["TPE1"].text == ["Zoë", "日本語 \U0001f3b5"]
    assert str(tags["TDRC"]) == "1999-10-02"
    assert tags["TXXX:REPLAYGAIN_TRACK_GAIN"].text == ["-7.35 dB"]
    assert tags["UFID:http://musicbrainz.org"].data.startswith(b"1e0eee38")
    assert tags["TXXX:MusicBrainz Album Id"].text == ["2e0eee38"]
    assert tags["TKEY"].text == ["Am"]
    assert tags["TMCL"].people == [["guitar", "G. Uitar"]]
    assert [frame.text for frame in tags.getall("USLT")] == ["la\nla"]
    assert {frame.desc: frame.text for frame in tags.getall("COMM")} == {"": ["one\ntwo"], "OTHER": ["three"]}
    assert [int(frame.type) for frame in tags.getall("APIC")] == [3, 4, 0]
    with soundfile.SoundFile(io.BytesIO(out.getvalue())) as file:
        assert file.title == "Übung Nr. 1"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("DATE", ["spring"]),
        ("DATE", ["1999", "x"]),
        ("GENRE", ["17"]),
        ("MUSICBRAINZ_TRACKID", ["a", "b"]),
        ("MUSICBRAINZ_TRACKID", ["ü"]),
        ("LYRICS", ["a", "b"]),
        ("LYRICS:X", ["a"]),
        ("TDRL", ["soon"]),
        ("WEBSITE", ["ü"]),
        ("TXXX", ["a"]),
        ("COMM", ["a"]),
        ("APIC", ["a"]),
        ("WOAR", ["a"]),
        ("PERFORMER", ["a", "b"]),
        ("PERFORMER:", ["a"]),
        ("REPLAYGAIN_TRACK_GAIN", ["loud", "louder"]),
        ("../ETC/PASSWD", ["../../x"]),
        (" ", ["a"]),
        ("TITLE", ["", "a"]),
    ],
)
def test_texts_that_a_frame_cannot_hold_are_kept_all_the_same(key: str, values: list[str]) -> None:
    out = io.BytesIO()
    wanted = tuple((key, value) for value in values)
    with AudioWriter(out, OutputFormat("WAV", "PCM_16", ""), 8000, 1, 10, 0, wanted) as writer:
        writer.write(tone(10))
    assert metadata(io.BytesIO(out.getvalue())).tags == wanted


def id3_frames() -> list[id3.Frame]:
    front = PICTURES[0]
    return [
        id3.TIT2(encoding=1, text="Übung"),
        id3.TPE1(encoding=3, text=["A", "B"]),
        id3.TCON(encoding=0, text="(17)"),
        id3.COMM(encoding=0, lang="eng", desc="", text="c"),
        id3.COMM(encoding=0, lang="eng", desc="iTunNORM", text="0001"),
        id3.USLT(encoding=0, lang="deu", desc="", text="la"),
        id3.TXXX(encoding=0, desc="Rating", text="5"),
        id3.TXXX(encoding=3, desc="Größe", text="lost: no Vorbis key"),
        id3.WXXX(encoding=0, desc="Shop", url="http://x"),
        id3.TSSE(encoding=0, text="LAME"),
        id3.RVA2(desc="album", channel=1, gain=-2.5, peak=0.5),
        id3.TIPL(encoding=0, people=[["producer", "P"]]),
        id3.PRIV(owner="x", data=b"y"),
        id3.APIC(encoding=3, mime=front.mime, type=3, desc=front.description, data=front.data),
    ]


EXPECTED_FROM_ID3 = [
    ("ARTIST", "A"),
    ("ARTIST", "B"),
    ("COMMENT", "c"),
    ("COMMENT:ITUNNORM", "0001"),
    ("GENRE", "Rock"),
    ("LYRICS", "la"),
    ("PRODUCER", "P"),
    ("RATING", "5"),
    ("REPLAYGAIN_ALBUM_GAIN", "-2.500000 dB"),
    ("REPLAYGAIN_ALBUM_PEAK", "0.500000"),
    ("SHOP", "http://x"),
    ("TITLE", "Übung"),
    ("TSSE", "LAME"),
]


@pytest.mark.parametrize("container", ["MP3", "WAV", "AIFF"])
def test_id3_of_all_containers(tmp_path: Path, container: str) -> None:
    path = clip(tmp_path / "a", container)
    file = FACTORY[container](path)
    if file.tags is None:
        file.add_tags()
    for frame in id3_frames():
        file.tags.add(frame)
    file.save(path)
    data, done = packed(path)
    tags, pictures = held(data)
    assert sorted(tags) == EXPECTED_FROM_ID3
    assert pictures == PICTURES[:1]
    assert done.notes[-1] == "1 tag left out: too many, too long or with impossible names"
    out, _ = unpacked(data, form="flac")
    assert sorted(flac.FLAC(io.BytesIO(out.getvalue())).tags) == EXPECTED_FROM_ID3


def test_old_and_very_old_id3(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp3", "MP3")
    id3.ID3().save(path, v1=0)
    id3.delete(path)
    v1 = b"TAG" + b"Title".ljust(30, b"\0") + b"Artist".ljust(30, b"\0") + bytes(30) + b"1999" + b"c".ljust(30, b"\0")
    path.write_bytes(path.read_bytes() + v1 + b"\x11")
    assert set(metadata(path).tags) >= {("TITLE", "Title"), ("DATE", "1999"), ("COMMENT", "c"), ("GENRE", "Rock")}
    new = id3.ID3()
    new.add(id3.TIT2(encoding=1, text="The whole title"))
    new.add(id3.TDRC(encoding=1, text="2001-05-06"))
    new.update_to_v23()
    new.save(path, v2_version=3, v1=0)
    path.write_bytes(path.read_bytes() + v1 + b"\x11")
    assert sorted(metadata(path).tags) == [("DATE", "2001-05-06"), ("TITLE", "The whole title")]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg(tmp_path: Path, subtype: str) -> None:
    path = clip(tmp_path / "a.ogg", "OGG", subtype)
    file = OGG[subtype](path)
    file.tags[:] = [("title", "Übung"), ("Artist", "A"), ("ARTIST", "B"), ("R128_TRACK_GAIN", "-3")]
    file.tags += [(audio_tags.PICTURE_MARKS[1].decode(), base64.b64encode(flac_picture(p).write()).decode())
                  for p in PICTURES]  # fmt: skip
    file.save()
    data, done = packed(path)
    wanted = (("TITLE", "Übung"), ("ARTIST", "A"), ("ARTIST", "B"), ("R128_TRACK_GAIN", "-3"))
    assert done.notes == ()
    assert held(data) == (wanted, PICTURES)
    again = metadata(io.BytesIO(unpacked(data)[0].getvalue()))
    assert (sorted(again.tags), again.pictures) == (sorted(wanted), PICTURES)


def test_strings_beside_an_id3_chunk_are_added(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 8000, 1) as file:
        file.title, file.album = "old", "only here"
        file.write(tone(10))
    wav = wave.WAVE(tmp_path / "a.wav")
    wav.add_tags()
    wav.tags.add(id3.TIT2(encoding=3, text="new"))
    wav.save()
    assert metadata(tmp_path / "a.wav").tags == (("TITLE", "new"), ("ALBUM", "only here"))


def test_too_much_is_left_out_with_a_note(tmp_path: Path) -> None:
    large = Picture(3, "image/png", "", bytes(16 << 20))
    path = clip(tmp_path / "a.wav", "WAV")
    wav = wave.WAVE(path)
    wav.add_tags()
    for picture in (large, *PICTURES[:1] * 9):
        frame = id3.APIC(encoding=3, mime=picture.mime, type=3, desc=picture.description, data=picture.data)
        frame.salt = " " * len(wav.tags)
        wav.tags.add(frame)
    wav.tags.add(id3.TXXX(encoding=3, desc="LONG", text="x" * (1 << 20)))
    wav.tags.add(id3.TXXX(encoding=3, desc="MANY", text=["x"] * 5000))
    wav.save()
    data, done = packed(path)
    tags, pictures = held(data)
    assert tags == (("MANY", "x"),) * 4096
    assert pictures == PICTURES[:1] * 8
    assert done.notes == (
        "905 tags left out: too many, too long or with impossible names",
        "2 pictures left out: 8 of up to 16 MiB each can be kept",
    )


def test_lower_limits_are_kept(tmp_path: Path) -> None:
    stream = tagged(clip(tmp_path / "a.flac")).open("rb")
    with stream:
        found = read_metadata(View(stream), "FLAC", "PCM_16", (), Limits(tags_entries=2, pictures=1, picture_bytes=400))
    assert (found.tags, found.pictures) == (TAGS[:2], PICTURES[1:2])


def test_a_picture_too_large_for_flac(tmp_path: Path) -> None:
    pictures = (Picture(3, "image/png", "", bytes((1 << 24) - 20)), PICTURES[0])
    for form, kept, notes in (
        ("flac", pictures[1:], ("1 picture left out: too large for a FLAC file",)),
        ("wav", pictures, ()),
    ):
        out = clip(tmp_path / f"a.{form}", form.upper())
        with out.open("r+b") as stream:
            assert write_metadata(stream, form.upper(), (), pictures) == notes
        assert metadata(out).pictures == kept


@pytest.mark.parametrize("container", ["WAV", "AIFF", "MP3"])
def test_damaged_tags_fall_back(tmp_path: Path, container: str) -> None:
    path = clip(tmp_path / "a", container)
    file = FACTORY[container](path)
    file.add_tags()
    file.tags.add(id3.TIT2(encoding=0, text="T"))
    file.save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"ID3\4") + 5] |= 0x0F  # flags that no version has
    path.write_bytes(data)
    packed_data, done = packed(path)
    assert "its tags are damaged or very large: only the most common ones are kept" in done.notes
    assert set(held(packed_data)[0]) <= {("TITLE", "T")}  # as libsndfile finds them


def test_damage_anywhere_never_raises(tmp_path: Path) -> None:
    """Flip bytes in the tags of each container; what libsndfile still opens has metadata or a note."""
    random = np.random.default_rng(1)
    for container in ("FLAC", "MP3", "WAV", "AIFF"):
        path = clip(tmp_path / "a", container)
        file = FACTORY[container](path)
        if container == "FLAC":
            tagged(path)
        else:
            file.tags or file.add_tags()
            for frame in id3_frames():
                file.tags.add(frame)
            file.save(path)
        whole = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            at = random.integers(0, 3000) if container in ("FLAC", "MP3") else -random.integers(1, 12_000)
            damaged[at] = random.integers(256)
            try:
                reader = AudioReader(io.BytesIO(damaged))
            except UnsupportedAudio:
                continue
            with reader:
                reader.metadata()


def test_a_false_length_is_not_believed(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.wav", "WAV")
    huge = MOST_BYTES + 1
    header = b"ID3\4\0\0" + bytes((huge >> shift) & 127 for shift in (21, 14, 7, 0))
    data = bytearray(path.read_bytes() + b"id3 " + struct.pack("<I", huge + 10) + header)
    struct.pack_into("<I", data, 4, len(data) + huge)
    with AudioReader(io.BytesIO(data)) as reader:
        assert "damaged" in reader.metadata().notes[0]


def test_the_samples_are_read_as_before(tmp_path: Path) -> None:
    for container in ("FLAC", "OGG", "MP3", "WAV", "AIFF"):
        path = clip(tmp_path / "a", container)
        with AudioReader(path) as reader:
            blocks = reader.blocks()
            first = next(blocks)
            reader.metadata()
            reader.metadata()
            got = np.concatenate([first, *blocks])
        np.testing.assert_array_equal(got, read(path)[0])


def test_without_mutagen_it_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = packed(tagged(clip(tmp_path / "a.flac")))[0]
    without_mutagen(monkeypatch)
    data, done = packed(tmp_path / "a.flac")
    tags, pictures = held(data)
    assert {key for key, _ in tags} <= set(TAG_NAMES.values())
    assert ("TITLE", "Übung Nr. 1") in tags
    assert pictures == ()
    assert done.notes == (
        "its pictures and its less common tags are left out; to keep them: pip install 'dacfile[tags]'",
    )
    assert packed(clip(tmp_path / "b.flac"))[1].notes == ()
    out, again = unpacked(full)
    assert again.notes == ("16 tags and 3 pictures left out: pip install 'dacfile[tags]'",)
    with soundfile.SoundFile(io.BytesIO(out.getvalue())) as file:
        assert (file.title, file.artist) == ("Übung Nr. 1", "Zoë; 日本語 \U0001f3b5")


@pytest.mark.parametrize(("form", "tags"), [("w64", 25), ("caf", 16)])
def test_containers_without_a_place_for_them(tmp_path: Path, form: str, tags: int) -> None:
    data = packed(tagged(clip(tmp_path / "a.flac")))[0]
    done = unpacked(data, form=form)[1]
    why = f"{form.upper()} files have no place for them"
    assert done.notes == (f"{tags} tags and 3 pictures left out: {why}",)
    assert unpacked(packed(clip(tmp_path / "b.flac"))[0], form=form)[1].notes == ()


def test_no_room_left_in_a_file_of_four_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("w+b") as stream:
        stream.truncate((1 << 32) - 1000)
        notes = write_metadata(stream, "WAV", TAGS, PICTURES)
    assert notes == ("16 tags and 3 pictures left out: the file would be larger than 4 GiB",)


def test_through_pipes_and_write_only_files(tmp_path: Path) -> None:
    data = packed(tagged(clip(tmp_path / "a.flac")))[0]
    expected = unpacked(data)[0].getvalue()
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb") as target:
        assert unpacked(data, target)[1].notes == ()
        target.close()
        assert source.read() == expected
    with (tmp_path / "b.flac").open("wb") as target:
        unpacked(data, target)
    assert (tmp_path / "b.flac").read_bytes() == expected
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb") as target:
        target.write((tmp_path / "b.flac").read_bytes())
        target.close()
        assert held(packed(source)[0]) == (TAGS, PICTURES)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    data, _ = packed(tagged(clip(tmp_path / "a.flac")))
    assert packed(tmp_path / "a.flac")[0] == data
    for form in ("flac", "wav", "aiff"):
        digests = {hashlib.sha256(unpacked(data, form=form)[0].getvalue()).digest() for _ in range(2)}
        assert len(digests) == 1


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            if self.tell() > 40_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    data = packed(tagged(clip(tmp_path / "a.flac"), (), (Picture(3, "image/png", "", bytes(100_000)),)))[0]
    for form in ("flac", "wav"):
        with pytest.raises(OSError, match="No space left") as caught:
            unpacked(data, Full(), form)
        assert caught.value.errno == 28


def test_hostile_tags_of_a_dacz_file(tmp_path: Path) -> None:
    vector = Path(__file__).parent.parent / "spec" / "vectors"
    for name in ("good-tags.dacz", "good-tags-many.dacz", "good-pictures.dacz"):
        with Reader(vector / name) as reader:
            tags, pictures = reader.tags, reader.pictures
        for container in ("FLAC", "WAV", "AIFF"):
            out = clip(tmp_path / "a", container)
            with out.open("r+b") as stream:
                assert write_metadata(stream, container, tags, pictures) == ()
            assert len(metadata(out).pictures) == len(pictures)
            assert read(out)[0].shape == (2000, 2)


def test_texts_of_pictures_cannot_shift_their_bytes(tmp_path: Path) -> None:
    picture = Picture(255, "image/\0ü日", "a\0b", b"\0data")
    out = clip(tmp_path / "a.wav", "WAV")
    with out.open("r+b") as stream:
        write_metadata(stream, "WAV", (), (picture,))
    assert metadata(out).pictures == (Picture(255, "image/ ü?", "a b", b"\0data"),)


def test_info_shows_pictures(tmp_path: Path, dacz) -> None:
    path = tmp_path / "a.dacz"
    path.write_bytes(write_file(tags=TAGS[:1], pictures=PICTURES[:1]))
    text = dacz("info", path).out
    assert "Übung Nr. 1" in text
    assert "image/png" in text
    facts = json.loads(dacz("info", "--json", path).out)
    assert facts["tags"] == [["TITLE", "Übung Nr. 1"]]
    front = PICTURES[0]
    assert facts["pictures"] == [{"kind": 3, "mime": "image/png", "description": "Hülle", "bytes": len(front.data)}]


def test_mutagen_is_imported_late(tmp_path: Path) -> None:
    import subprocess

    code = "import sys, dacfile.api, dacfile.pipeline; sys.exit('mutagen' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
