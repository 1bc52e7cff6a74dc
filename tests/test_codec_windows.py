"""Windows and streams: cutting a file anywhere, pushing it in any pieces, must change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_codec import StubCodec

from dacfile.errors import UsageError
from dacfile.model.facts import Facts
from dacfile.stream import StreamDecoder, StreamEncoder, decode_jobs, encode_jobs
from dacfile.windows import ABSENT, DecodeJob, EncodeBuffer, EncodeJob, frames_for

SHAPES = [(16, 5, 3), (16, 0, 0), (16, 0, 8), (16, 16, 16), (1, 0, 0)]  # hop, lead, tail
LENGTHS = [0, 1, 13, 15, 16, 17, 79, 80, 81, 500, 1003]


def noise(samples: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, channels)).astype(np.float32)


def whole_codes(codec: StubCodec, audio: np.ndarray) -> np.ndarray:
    """Codes of a file in one window, written without any of the code under test."""
    facts = codec.facts
    frames = -(-(len(audio) + facts.tail) // facts.hop) if len(audio) else 0
    padded = np.zeros((audio.shape[1], facts.lead + frames * facts.hop), np.float32)
    used = min(len(audio), frames * facts.hop)
    padded[:, facts.lead : facts.lead + used] = audio[:used].T
    if not frames:
        return np.zeros((audio.shape[1], facts.codebooks, 0), np.uint16)
    return codec.encode_windows(padded, [0] * audio.shape[1], range(audio.shape[1]))


def whole_samples(codec: StubCodec, codes: np.ndarray, samples: int) -> np.ndarray:
    channels = codes.shape[0]
    if not samples:
        return np.zeros((0, channels), np.float32)
    return codec.decode_windows(codes, [0] * channels, range(channels))[:, :samples].T


def facts_with(context: int) -> Facts:
    """Return facts where every sample is a frame."""
    return Facts("stub", 8000, 1, 3, 64, 0, 0, context, context)


@given(frames=st.integers(0, 200), context=st.integers(0, 6), extra=st.integers(1, 40))
def test_jobs_keep_every_frame_once_with_context(frames: int, context: int, extra: int) -> None:
    size = 2 * context + extra
    buffer = EncodeBuffer(facts_with(context), [0], size)
    jobs = buffer.push(np.arange(frames)[:, None]) + buffer.finish()
    assert [frame for job in jobs for frame in job.samples[0, job.keep]] == list(range(frames))
    for job in jobs:
        assert job.samples.shape == (1, min(size, frames))
        assert job is jobs[0] or job.keep.start >= context
        assert job is jobs[-1] or size - job.keep.stop >= context


def test_windows_that_are_all_context_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 8"):
        EncodeBuffer(facts_with(4), [0], 8)


@pytest.mark.parametrize(("hop", "lead", "tail"), SHAPES)
@pytest.mark.parametrize("window", [5, 6, 11, 64])
@pytest.mark.parametrize("samples", LENGTHS)
def test_windows_equal_whole_file(hop: int, lead: int, tail: int, window: int, samples: int) -> None:
    codec = StubCodec(hop=hop, lead=lead, tail=min(tail, 2 * hop))
    audio = noise(samples)
    expected = whole_codes(codec, audio)
    encoder = StreamEncoder(codec, 2, window)
    codes = np.concatenate([encoder.push(audio), encoder.finish()], axis=-1)
    np.testing.assert_array_equal(codes, expected)
    decoder = StreamDecoder(codec, 2, samples, window=window)
    decoded = np.concatenate([decoder.push(codes), decoder.finish()])
    assert decoded.shape == (samples, 2)
    np.testing.assert_array_equal(decoded, whole_samples(codec, codes, samples))


@settings(deadline=None, max_examples=60)
@given(pieces=st.lists(st.integers(0, 150), max_size=12), window=st.integers(5, 30), shape=st.sampled_from(SHAPES[:4]))
def test_streams_do_not_depend_on_the_pieces(pieces: list[int], window: int, shape: tuple[int, int, int]) -> None:
    hop, lead, tail = shape
    codec = StubCodec(hop=hop, lead=lead, tail=tail)
    audio = noise(sum(pieces), 3)
    encoder = StreamEncoder(codec, 3, window)
    parts = [encoder.push(piece) for piece in np.split(audio, np.cumsum(pieces))]
    codes = np.concatenate([*parts, encoder.finish()], axis=-1)
    np.testing.assert_array_equal(codes, whole_codes(codec, audio))
    decoder = StreamDecoder(codec, 3, None, window=window)  # the length is known at the end only
    cuts = list(range(0, codes.shape[-1], 7))
    outputs = [decoder.push(piece) for piece in np.split(codes, cuts, axis=-1)]
    decoded = np.concatenate([*outputs, decoder.finish(len(audio))])
    np.testing.assert_array_equal(decoded, whole_samples(codec, codes, len(audio)))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), shape=st.sampled_from(SHAPES[:4]), window=st.integers(5, 40))
def test_a_range_equals_the_same_part_of_the_file(
    data: st.DataObject, shape: tuple[int, int, int], window: int
) -> None:
    hop, lead, tail = shape
    codec = StubCodec(hop=hop, lead=lead, tail=tail)
    total = data.draw(st.integers(1, 1000))
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    codes = whole_codes(codec, noise(total))
    first, end = frames_for(codec.facts, start, stop, total)
    decoder = StreamDecoder(codec, 2, stop, first, start, window)
    part = np.concatenate([decoder.push(codes[..., first:end]), decoder.finish()])
    np.testing.assert_array_equal(part, whole_samples(codec, codes, total)[start:stop])


def test_jobs_of_many_files_share_batches() -> None:
    codec = StubCodec()
    codec.batch = 64
    files = [
        noise(samples, channels, samples) for samples, channels in [(400, 1), (1000, 2), (90, 3), (400, 1), (0, 1)]
    ]
    buffers = [EncodeBuffer(codec.facts, range(audio.shape[1]), 12) for audio in files]
    jobs = [buffer.push(audio) + buffer.finish() for buffer, audio in zip(buffers, files, strict=True)]
    flat = encode_jobs(codec, [job for part in jobs for job in part])
    assert len(codec.calls) == 2  # windows of 12 frames, and the file that is shorter
    for audio, part in zip(files, jobs, strict=True):
        mine, flat = flat[: len(part)], flat[len(part) :]
        if part:
            np.testing.assert_array_equal(np.concatenate(mine, axis=-1), whole_codes(StubCodec(), audio))
    assert decode_jobs(codec, []) == []


def test_absent_layers_decode_as_fewer_layers() -> None:
    codec = StubCodec()
    codes = whole_codes(codec, noise(600))
    fewer = codes.copy()
    fewer[:, 2:, :] = ABSENT
    mixed = codes.copy()
    mixed[1, 1:, 10:20] = ABSENT
    np.testing.assert_array_equal(codec.decode(fewer, 600), codec.decode(codes[:, :2], 600))
    expected = whole_samples(codec, mixed, 600)
    decoder = StreamDecoder(codec, 2, 600, window=9)
    np.testing.assert_array_equal(np.concatenate([decoder.push(mixed), decoder.finish()]), expected)


def test_wrong_shapes_are_refused() -> None:
    codec = StubCodec()
    with pytest.raises(UsageError):
        StreamEncoder(codec, 2).push(np.zeros((10, 3), np.float32))
    with pytest.raises(UsageError):
        StreamDecoder(codec, 2, 100).push(np.zeros((2, 4, 1), np.uint16))
    with pytest.raises(UsageError):
        StreamDecoder(codec, 2, 100).push(np.zeros((1, 3, 1), np.uint16))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (312, 1), (313, 2), (320, 2), (632, 2), (633, 3)])
def test_frames_cover_the_tail(samples: int, frames: int) -> None:
    facts = Facts("dac", 16000, 320, 12, 1024, 0, 8, 9, 11)
    assert facts.frames(samples) == frames
    assert facts.decoded(frames) >= samples


def test_a_codec_without_batches_is_spared_what_the_last_window_repeats() -> None:
    facts = Facts("stub", 16000, 16, 3, 64, 5, 3, 2, 3)
    samples = np.arange(5 + 12 * 16, dtype=np.float32)[None]
    job = EncodeJob(samples, [0], 40, slice(9, 12)).shortened(facts)
    assert (job.first_frame, job.keep) == (47, slice(2, 5))
    assert np.array_equal(job.samples, samples[:, 7 * 16 :])
    codes = np.arange(12, dtype=np.uint16)[None, None]
    cut = DecodeJob(codes, 30, slice(9 * 16 + 4, 11 * 16)).shortened(facts)
    assert (cut.first_frame, cut.keep) == (36, slice(3 * 16 + 4, 5 * 16))
    assert np.array_equal(cut.codes, codes[..., 6:])
    assert EncodeJob(samples, [0], 0, slice(1, 12)).shortened(facts).samples.shape == samples.shape
