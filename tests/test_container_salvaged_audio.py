"""A salvaged file plays: what was not lost is sample-identical, what was lost is silent, the length is right."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from container_files import chunk_spans
from stub_codec import StubCodec

from dacfile.container import Reader, salvage, wire
from dacfile.decoder import Decoder
from dacfile.pipeline import CompressOptions, compress_file

SAMPLES, RATE = 19_000, 8_000
CODEC = StubCodec()


def compressed() -> bytes:
    """Return a stereo file in blocks of half a second."""
    rng = np.random.default_rng(0)
    wav, target = io.BytesIO(), io.BytesIO()
    soundfile.write(wav, rng.uniform(-0.5, 0.5, (SAMPLES, 2)), RATE, format="WAV", subtype="PCM_16")
    wav.seek(0)
    compress_file(wav, target, CODEC, options=CompressOptions(stereo="lr", block_seconds=0.5))
    return target.getvalue()


DATA = compressed()
SPANS = [(start, end) for kind, start, end in chunk_spans(DATA) if kind == wire.BLOCK]


def audio(data: bytes) -> np.ndarray:
    with Reader(io.BytesIO(data)) as reader:
        return np.concatenate(list(Decoder(reader, CODEC).samples()))


def saved(data: bytes) -> bytes:
    target = io.BytesIO()
    salvage(io.BytesIO(data), target)
    return target.getvalue()


@pytest.mark.parametrize("lost", range(len(SPANS)))
def test_a_lost_block_costs_its_own_time_and_the_context(lost: int) -> None:
    start, end = SPANS[lost]
    middle = (start + end) // 2
    fixed = saved(DATA[:middle] + b"\0\0\0\0" + DATA[middle + 4 :])
    before, after = audio(DATA), audio(fixed)
    facts, frames = CODEC.facts, 250
    assert after.shape == before.shape == (SAMPLES, 2)
    low = max((lost * frames - facts.decoder_context) * facts.hop, 0)
    high = min(((lost + 1) * frames + facts.decoder_context) * facts.hop, SAMPLES)
    np.testing.assert_array_equal(after[:low], before[:low])
    np.testing.assert_array_equal(after[high:], before[high:])
    silent = after[lost * frames * facts.hop : (lost + 1) * frames * facts.hop]
    assert np.abs(silent).max() == 0
    assert np.abs(before[low:high]).max() > 0


@pytest.mark.parametrize("whole", range(1, len(SPANS)))
def test_a_file_that_was_cut_off_plays_to_the_cut(whole: int) -> None:
    fixed = saved(DATA[: SPANS[whole - 1][1] + 20])
    before, after = audio(DATA), audio(fixed)
    assert after.shape == before.shape
    until = (whole * 250 - CODEC.facts.decoder_context) * CODEC.facts.hop
    np.testing.assert_array_equal(after[:until], before[:until])
    assert np.abs(after[whole * 250 * CODEC.facts.hop :]).max() == 0


def test_a_file_of_unknown_length_plays_what_its_blocks_hold() -> None:
    head = bytearray(DATA)
    start = next(start for kind, start, _ in chunk_spans(DATA) if kind == wire.HEAD)
    payload = bytearray(DATA[start + 8 : start + 8 + 84])
    payload[2:4], payload[28:36] = b"\0\0", b"\xff" * 8
    head[start : start + 12 + 84] = wire.pack_chunk(wire.HEAD, bytes(payload))
    after = audio(saved(bytes(head[: SPANS[1][1]])))
    assert 2 * 250 * CODEC.facts.hop - CODEC.facts.hop <= len(after) <= 2 * 250 * CODEC.facts.hop
    np.testing.assert_array_equal(after[:7_900], audio(DATA)[:7_900])
