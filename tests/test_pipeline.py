"""One file both ways with a codec of integers: exact lengths, exact codes, exact repetition, damage never hidden."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import read, tone, write
from stub_codec import StubCodec

from dacfile.audio.files import AudioReader
from dacfile.audio.stereo import restore
from dacfile.blocks import decode_codes
from dacfile.container import CODED, SAME, SILENT, Reader, Writer
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.errors import (
    ChecksumError,
    ModelMismatch,
    SourceChanged,
    StructureError,
    UnsupportedAudio,
    UsageError,
)
from dacfile.material import Material
from dacfile.model.facts import SIDE
from dacfile.pipeline import CompressOptions, DecompressOptions, compress_file, decompress_file

RATE = 8000


def packed(
    path: Path | io.BytesIO,
    codec: StubCodec | None = None,
    prior: CountPrior | None = None,
    **options: object,
) -> bytes:
    out = io.BytesIO()
    done = compress_file(path, out, codec or StubCodec(), prior, CompressOptions(**options))  # type: ignore[arg-type]
    assert done.bytes_out == len(out.getvalue())
    return out.getvalue()


def unpacked(
    data: bytes, codec: StubCodec | None = None, prior: CountPrior | None = None, **options: object
) -> io.BytesIO:
    out = io.BytesIO()
    wanted = DecompressOptions(**options)  # type: ignore[arg-type]
    decompress_file(io.BytesIO(data), out, lambda head: codec or StubCodec(), lambda head: prior, wanted)
    out.seek(0)
    return out


def codes_of(data: bytes, prior: CountPrior | None = None) -> np.ndarray:
    with Reader(io.BytesIO(data)) as reader:
        blocks = decode_codes(reader.blocks(), reader.head, prior)
        parts = [block.dense(reader.head.codebooks) for block in blocks]
    return np.concatenate(parts, axis=-1)


def modes_of(data: bytes) -> list[tuple[int, ...]]:
    with Reader(io.BytesIO(data)) as reader:
        return [tuple(channel.mode for channel in block.channels) for block in reader.blocks()]


def prior_for(codes: np.ndarray, codebooks: int = 3) -> CountPrior:
    """Return one table, for all codebooks, that fits these codes well."""
    weights = np.bincount(codes[codes < 64].ravel(), minlength=64) * 1000 + 1
    return CountPrior(np.tile(normalise(weights), (codebooks, 1, 1)).astype(np.int32))


@pytest.mark.parametrize("rate", [RATE, 1, 11_025, 44_056, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("samples", [0, 1, 2, 15, 16, 17, 1603])
def test_length_rate_and_channels_come_back(tmp_path: Path, rate: int, channels: int, samples: int) -> None:
    samples = min(samples, 3) if rate == 1 else samples
    data = packed(write(tmp_path / "a.wav", tone(samples, channels, rate), rate))
    got, got_rate = read(unpacked(data))
    assert got.shape == (samples, channels)
    assert got_rate == rate


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("FLAC", "PCM_24"),
     ("FLAC", "PCM_16"), ("AIFF", "PCM_32"), ("RF64", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)  # fmt: skip
def test_the_sources_own_format_comes_back_where_it_was_lossless(tmp_path: Path, container: str, subtype: str) -> None:
    path = write(tmp_path / "a", tone(8000, 2, RATE), RATE, container, subtype)
    with AudioReader(path) as reader:
        length = sum(map(len, reader.blocks()))
    info = soundfile.info(unpacked(packed(path)))
    lossy = container in ("OGG", "MP3")
    expected = ("WAV", "PCM_16") if lossy else (container, subtype)
    if container == "RF64":  # small enough for WAV again; libsndfile gives it a channel mask
        expected = ("WAVEX", subtype)
    assert (info.format, info.subtype, info.frames) == (*expected, length)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_codes_are_those_of_the_whole_file_and_so_are_the_samples(tmp_path: Path, channels: int) -> None:
    samples = tone(20_000, channels, RATE)
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    codec, out = StubCodec(), io.BytesIO()
    done = compress_file(path, out, codec, None, CompressOptions(block_seconds=0.3))
    expected = codec.encode(done.plan.apply(samples))
    for channel, depth in enumerate(done.plan.layers):
        expected[channel, depth:] = 0xFFFF
    np.testing.assert_array_equal(codes_of(out.getvalue()), expected)
    got, _ = read(unpacked(out.getvalue()))
    decoded = codec.decode(expected)[:20_000]
    np.testing.assert_array_equal(got, restore(decoded, done.plan.gains, done.plan.mid_side))


def test_the_length_of_blocks_changes_neither_codes_nor_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(30_000, 2, RATE), subtype="FLOAT")
    files = [packed(path, block_seconds=seconds) for seconds in (0.1, 0.77, 20)]
    assert len({codes_of(data).tobytes() for data in files}) == 1
    assert len({unpacked(data).getvalue() for data in files}) == 1
    assert len({len(modes_of(data)) for data in files}) == 3


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(30_000, 2, RATE))
    assert packed(path) == packed(path) == packed(io.BytesIO(path.read_bytes()))


def test_a_prior_changes_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.tile(tone(160, 2, RATE), (250, 1)))
    raw = packed(path)
    prior = prior_for(codes_of(raw))
    coded = packed(path, prior=prior)
    assert len(coded) < 0.9 * len(raw)
    np.testing.assert_array_equal(codes_of(raw), codes_of(coded, prior))
    assert unpacked(raw).getvalue() == unpacked(coded, prior=prior).getvalue()


def test_header_and_tail_say_what_was_done(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 44_100, 2, "PCM_24") as file:
        file.title = "T"
        file.write(tone(44_100, 2, 44_100))
    data = packed(tmp_path / "a.flac")
    with Reader(io.BytesIO(data)) as reader:
        head, tail = reader.head, reader.tail
        assert (head.source_rate, head.source_samples, head.channels) == (44_100, 44_100, 2)
        assert (head.container_name, head.subtype_name) == ("FLAC", "PCM_24")
        assert (head.rate, head.hop, head.codebooks, head.codebook_size) == (8000, 16, 3, 64)
        assert head.nominal_bitrate == 8000 // 16 * 6 * sum(len(c.layers) for c in reader.block(0).channels)
        assert reader.tags == (("TITLE", "T"),)
        samples, _ = read(tmp_path / "a.flac")
        assert tail is not None
        assert tail.source_digest == hashlib.sha256(samples.astype("<f4").tobytes()).digest()[:16]


class TestSilence:
    def test_a_silent_file_costs_a_byte_a_channel_and_block(self, tmp_path: Path) -> None:
        codec = StubCodec()
        data = packed(write(tmp_path / "a.wav", np.zeros((RATE, 3), np.float32)), codec, block_seconds=0.5)
        assert modes_of(data) == [(SILENT,) * 3] * 3
        assert codec.calls == []
        np.testing.assert_array_equal(read(unpacked(data))[0], np.zeros((RATE, 3)))

    def test_silence_within_a_file_comes_back_as_zeros(self, tmp_path: Path) -> None:
        samples = tone(40_000, 1, RATE)
        samples[10_000:30_000] = 0
        data = packed(write(tmp_path / "a.wav", samples, subtype="FLOAT"), block_seconds=0.5)  # 4,000 samples a block
        assert [mode for (mode,) in modes_of(data)] == [CODED] * 3 + [SILENT] * 4 + [CODED] * 4
        got, _ = read(unpacked(data))
        assert not got[12_000 - 5 : 28_000].any()  # 5: what the first frame of a block sees of the one before
        assert got[28_000:30_000].any()
        assert got[:12_000].any()

    def test_one_silent_channel(self, tmp_path: Path) -> None:
        samples = tone(RATE, 2, RATE)
        samples[:, 0] = 0
        codec, mono = StubCodec(), StubCodec()
        data = packed(write(tmp_path / "a.wav", samples), codec)
        packed(write(tmp_path / "b.wav", samples[:, 1:]), mono)
        assert modes_of(data) == [(SILENT, CODED)]
        assert codec.calls == mono.calls
        got, _ = read(unpacked(data))
        assert not got[:, 0].any()
        assert got[:, 1].any()

    def test_the_network_does_not_run_for_what_is_not_there(self, tmp_path: Path) -> None:
        data = packed(write(tmp_path / "a.wav", np.repeat(tone(RATE, 1, RATE), 2, axis=1)))
        assert modes_of(data) == [(CODED, SILENT)]  # mid and side
        codec, mono = StubCodec(), StubCodec()
        got, _ = read(unpacked(data, codec))
        unpacked(packed(write(tmp_path / "b.wav", tone(RATE, 1, RATE))), mono)
        assert codec.calls == mono.calls != []
        np.testing.assert_array_equal(got[:, 0], got[:, 1])


def test_equal_channels_are_stored_once(tmp_path: Path) -> None:
    samples = tone(RATE, 4, RATE)[:, [0, 0, 1, 0]]
    samples[:4000] = 0
    data = packed(write(tmp_path / "a.wav", samples, subtype="FLOAT"), block_seconds=0.25)
    assert set(modes_of(data)) == {(SILENT,) * 4, (CODED, SAME, CODED, SAME)}
    got, _ = read(unpacked(data))
    np.testing.assert_array_equal(got[:, 0], got[:, 1])
    np.testing.assert_array_equal(got[:, 0], got[:, 3])
    assert (got[:, 0] != got[:, 2]).any()


class TestParts:
    @pytest.mark.parametrize(("start", "duration"), [(0, 0.5), (0.4, 0.2), (1.0, 1.7), (2.7, None), (0.0, 99), (1, 0)])
    @pytest.mark.parametrize("rate", [RATE, 11_025])
    def test_a_part_is_that_part_of_the_whole(
        self, tmp_path: Path, rate: int, start: float, duration: float | None
    ) -> None:
        samples = tone(3 * rate, 2, rate)
        samples[rate : 2 * rate] = 0
        data = packed(write(tmp_path / "a.wav", samples, rate, subtype="FLOAT"), block_seconds=0.3)
        whole, _ = read(unpacked(data))
        part, _ = read(unpacked(data, start=start, duration=duration))
        first = round(start * rate)
        expected = whole[first:] if duration is None else whole[first : first + round(duration * rate)]
        assert part.shape == expected.shape
        np.testing.assert_allclose(part, expected, atol=0 if rate == RATE else 2e-6)

    def test_damage_elsewhere_does_not_matter(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(5 * RATE, 1, RATE), subtype="FLOAT")
        data = packed(path, block_seconds=0.5)
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 1
        with pytest.raises(ChecksumError):
            unpacked(bytes(damaged))
        with pytest.raises(ChecksumError):
            unpacked(bytes(damaged), start=2.0, duration=1.0)
        assert unpacked(bytes(damaged), start=4.0).getvalue() == unpacked(data, start=4.0).getvalue()

    @pytest.mark.parametrize(("start", "duration"), [(-1, None), (0, -1), (3.0, None), (float("nan"), None)])
    def test_parts_that_are_not_there(self, tmp_path: Path, start: float, duration: float | None) -> None:
        data = packed(write(tmp_path / "a.wav", tone(3 * RATE, 1, RATE)))
        with pytest.raises(UsageError):
            unpacked(data, start=start, duration=duration)


class TestDepth:
    def test_fewer_layers_when_writing_or_when_reading_are_the_same(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(RATE, 1, RATE))
        full, cut = packed(path), packed(path, codebooks=2)
        assert unpacked(full, codebooks=2).getvalue() == unpacked(cut).getvalue()
        assert unpacked(full).getvalue() != unpacked(cut).getvalue()

    @pytest.mark.parametrize(("bitrate", "layers"), [(9, [3]), (8.9, [2]), (6, [2]), (3, [1]), (1000, [3])])
    def test_a_bit_rate_picks_the_layers(self, tmp_path: Path, bitrate: float, layers: list[int]) -> None:
        data = packed(write(tmp_path / "a.wav", tone(RATE, 1, RATE)), bitrate=bitrate)
        with Reader(io.BytesIO(data)) as reader:
            assert [len(channel.layers) for channel in reader.block(0).channels] == layers
            assert reader.head.nominal_bitrate <= bitrate * 1000

    @pytest.mark.parametrize(
        "options",
        [{"codebooks": 0}, {"codebooks": 4}, {"bitrate": 2.9}, {"bitrate": 9, "codebooks": 2}, {"stereo": "x"}]
        + [{"block_seconds": seconds} for seconds in (0, -1, float("nan"))],
    )
    def test_impossible_wishes(self, tmp_path: Path, options: dict) -> None:
        path = write(tmp_path / "a.wav", tone(RATE, 1, RATE))
        with pytest.raises(UsageError):
            packed(path, **options)

    @pytest.mark.parametrize("codebooks", [0, 4])
    def test_impossible_wishes_when_reading(self, tmp_path: Path, codebooks: int) -> None:
        data = packed(write(tmp_path / "a.wav", tone(RATE, 1, RATE)))
        with pytest.raises(UsageError):
            unpacked(data, codebooks=codebooks)


class Listener(StubCodec):
    """Keeps the numbers of the channels that it codes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: set[int] = set()
        self.decoded: set[int] = set()

    def encode_windows(self, x, first_frames, channels) -> np.ndarray:
        self.encoded.update(channels)
        return super().encode_windows(x, first_frames, channels)

    def decode_windows(self, codes, first_frames, channels) -> np.ndarray:
        self.decoded.update(channels)
        return super().decode_windows(codes, first_frames, channels)


@pytest.mark.parametrize(("stereo", "numbers"), [("lr", {0, 1}), ("ms", {0, SIDE})])
def test_the_network_is_told_which_channel_is_a_side(tmp_path: Path, stereo: str, numbers: set[int]) -> None:
    listener = Listener()
    source = write(tmp_path / "a.wav", tone(RATE, 2, RATE) * np.array([1, 0.5], np.float32), RATE)
    unpacked(packed(source, listener, stereo=stereo), listener)
    assert (listener.encoded, listener.decoded) == (numbers, numbers)


def test_both_networks_number_channels_alike_where_some_are_not_coded(tmp_path: Path) -> None:
    samples = tone(RATE, 4, RATE) * np.array([1, 0, 0.7, 1], np.float32)
    samples[:, 3] = samples[:, 0]
    listener = Listener()
    unpacked(packed(write(tmp_path / "a.wav", samples, RATE), listener), listener)
    assert listener.encoded == listener.decoded == {0, 2}


def test_clipping_is_counted_and_float_is_not_clipped(tmp_path: Path) -> None:
    samples = tone(RATE, 1, RATE, 1.4)  # the stub answers with noise of up to half the coded full scale
    for subtype, clips in (("PCM_16", True), ("FLOAT", False)):
        loud = write(tmp_path / "a.wav", samples, subtype="FLOAT")
        data = bytearray(packed(loud))
        out = io.BytesIO()
        wanted = DecompressOptions(format="flac" if clips else None)
        done = decompress_file(io.BytesIO(data), out, lambda head: StubCodec(), lambda head: None, wanted)
        out.seek(0)
        got, _ = read(out)
        assert (done.clipped > 0) is clips, subtype
        assert bool(done.notes) is clips
        assert bool(np.abs(got).max() <= 1) is clips


def test_pipes_both_ways(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(RATE, 2, RATE))
    data = packed(path)
    reading, writing = os.pipe()
    os.write(writing, path.read_bytes()[:60_000])
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert packed(stream) == data

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for options in ({}, {"start": 0.2, "duration": 0.3}):
        out = Pipe()
        decompress_file(Pipe(data), out, lambda h: StubCodec(), lambda h: None, DecompressOptions(**options))
        assert out.getvalue() == unpacked(data, **options).getvalue()


def test_another_model_or_prior_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(RATE, 1, RATE))
    data = packed(path)
    other = StubCodec()
    other.id = bytes(16)
    with pytest.raises(ModelMismatch):
        unpacked(data, other)
    with pytest.raises(ModelMismatch):
        unpacked(data, StubCodec(hop=32))
    with pytest.raises(ModelMismatch):
        packed(path, StubCodec(codebooks=4), prior_for(np.arange(64)))


def test_a_bad_source_leaves_the_output_untouched(tmp_path: Path) -> None:
    samples = tone(RATE, 1, RATE)
    samples[-1] = np.nan
    out = io.BytesIO()
    with pytest.raises(UnsupportedAudio):
        compress_file(write(tmp_path / "a.wav", samples, subtype="FLOAT"), out, StubCodec())
    assert out.getvalue() == b""


def test_a_file_with_too_few_frames_for_its_length(tmp_path: Path) -> None:
    data = packed(write(tmp_path / "a.wav", tone(16 * 20, 1, RATE)), block_seconds=0.02)
    out = io.BytesIO()
    with Reader(io.BytesIO(data)) as reader:
        writer = Writer(out, reader.head)
        blocks = list(reader.blocks())
        assert [block.frames for block in blocks] == [10, 10, 1]
        writer.write_block(blocks[0])
        writer.write_block(type(blocks[1])(1, 10, True, blocks[1].channels))
        writer.finish(16 * 20)
    with pytest.raises(StructureError, match="1 frames too few"):
        unpacked(out.getvalue())


class TestMaterial:
    def test_reading_twice_gives_the_same(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(300_000, 2, 11_025), 11_025)
        with AudioReader(path) as reader:
            kept, again = Material(reader, RATE), Material(reader, RATE, keep_bytes=0)
            assert kept.digest == again.digest
            assert kept.length == again.length == -(-300_000 * RATE // 11_025)
            np.testing.assert_array_equal(np.concatenate(list(kept.blocks())), np.concatenate(list(again.blocks())))

    def test_other_samples_in_the_second_pass(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", tone(300_000, 2, RATE))
        times = os.stat(path)
        with AudioReader(path) as reader:
            material = Material(reader, RATE, keep_bytes=0)
            with path.open("r+b") as file:
                file.seek(100_001)
                file.write(b"\x55")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            with pytest.raises(SourceChanged):
                list(material.blocks())


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(30 * 11_025, 2, 11_025), 11_025)
    seen: list[tuple[float, float | None]] = []
    out = io.BytesIO()
    compress_file(path, out, StubCodec(), progress=lambda done, total: seen.append((done, total)))
    out.seek(0)
    decompress_file(out, io.BytesIO(), lambda h: StubCodec(), lambda h: None, progress=lambda *x: seen.append(x))
    done = [seconds for seconds, _ in seen]
    middle = done.index(max(done[: len(done) // 2 + 1])) + 1
    assert done[:middle] == sorted(done[:middle])
    assert done[-1] == pytest.approx(30)
    assert {total for _, total in seen} == {30.0}


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Material.__init__, "__defaults__", (0,))

    def peak(seconds: int) -> int:
        path = write(tmp_path / "a.wav", np.tile(tone(RATE, 2, RATE), (seconds, 1)))
        with (tmp_path / "a.dacz").open("w+b") as packed_file, (tmp_path / "b.wav").open("w+b") as back:
            tracemalloc.start()
            compress_file(path, packed_file, StubCodec(hop=64), options=CompressOptions(block_seconds=1))
            packed_file.seek(0)
            codec = StubCodec(hop=64)
            decompress_file(packed_file, back, lambda h: codec, lambda h: None)
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return size

    peak(3)
    assert peak(160) < peak(40) + (1 << 20)
