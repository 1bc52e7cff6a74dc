"""Equalisers: their bytes, gains between points, gains of frames; files keep them, and decode the same in any piece."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from container_files import chunk_spans, equalised, equaliser, make_head, raw_layer, write_file
from hypothesis import given
from hypothesis import strategies as st
from independent_reader import WEIGHTS, levels_of
from small_models import SMALL_LAPPED
from stub_codec import StubCodec

import dacfile
from dacfile.blocks import decode_codes
from dacfile.codec import Codec, load_codec
from dacfile.container import CODED, SILENT, Block, ChannelBlock, Reader, drop_layers, salvage, wire
from dacfile.container.block import count_stretches, raw_equaliser_bytes
from dacfile.decoder import Decoder
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.entropy.files import save_prior
from dacfile.equaliser import DECIBELS, FrameGains, bin_interpolation, gains, interpolation
from dacfile.equaliser_code import FIRST, FLAT, LEVELS, POINTS, bits, pack, unpack
from dacfile.errors import EntropyMismatch, StructureError
from dacfile.installed import PRIOR_FOLDER
from dacfile.model.checkpoint import save_native
from dacfile.model.facts import SIDE
from dacfile.model.lapped import Lapped
from dacfile.plan import Task
from dacfile.recode import recode
from dacfile.repack import Repack, RepackSettings
from dacfile.stream import WindowCodec

BLOCK = 100  # frames: two stretches, the second of 36
SPEC = Path(__file__).parent.parent / "spec" / "dacz-v1.md"
CLOSE = 1e-5  # of samples of about 1
RATES = [(8000, 64), (16_000, 320), (24_000, 320), (44_100, 512), (48_000, 37)]


def frequencies_of_points(rate: int) -> np.ndarray:
    return 700 * ((1 + rate / 1400) ** (np.arange(POINTS) / (POINTS - 1)) - 1)


@st.composite
def levels_that_last(draw: st.DrawFn) -> np.ndarray:
    """Return levels uint8 [S, POINTS] that are 0 dB at first, and a few of which change in every stretch."""
    change = st.tuples(st.integers(0, POINTS - 1), st.integers(0, LEVELS - 1))
    rows, row = [], np.full(POINTS, FLAT, np.uint8)
    for changes in draw(st.lists(st.lists(change, max_size=6), min_size=1, max_size=5)):
        row = row.copy()
        for point, level in changes:
            row[point] = level
        rows.append(row)
    return np.stack(rows)


@given(levels_that_last(), st.integers(0, 63))
def test_levels_that_last_come_back_from_few_bytes(levels: np.ndarray, missing: int) -> None:
    frames = 64 * len(levels) - missing
    data = pack(levels)
    assert len(data) < raw_equaliser_bytes(frames)
    assert bool(data) == (levels != FLAT).any()
    found = unpack(data, frames)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, levels)
    if data:
        assert levels_of(data, frames) == levels.tolist()


@given(st.integers(1, 300), st.integers(0))
def test_any_bytes_of_the_raw_length_are_levels(frames: int, seed: int) -> None:
    data = random.Random(seed).randbytes(raw_equaliser_bytes(frames))
    levels = unpack(data, frames)
    assert levels.shape == (count_stretches(frames), POINTS)
    assert levels_of(data, frames) == levels.tolist()
    assert pack(levels) == data  # random ones cannot be made shorter


@given(st.binary(min_size=1, max_size=39))
def test_fewer_bytes_are_levels_or_impossible(data: bytes) -> None:
    try:
        levels = unpack(data, 64)
    except EntropyMismatch:
        return
    assert levels_of(data, 64) == levels.tolist()
    assert len(pack(levels)) <= 40
    np.testing.assert_array_equal(unpack(pack(levels), 64), levels)


@pytest.mark.parametrize("size", [8, 39])
def test_impossible_bytes_are_refused(size: int) -> None:
    with pytest.raises(EntropyMismatch):
        unpack(b"\xff" * size, 64)
    with pytest.raises(EntropyMismatch):
        FrameGains(64).add(0, (b"", b"\xff" * size), 64)


def test_what_changes_nothing_has_no_bytes() -> None:
    for frames, count in [(1, 1), (64, 1), (65, 2), (1723, 27)]:
        levels = unpack(b"", frames)
        assert levels.shape == (count, POINTS) == (count_stretches(frames), POINTS)
        assert (levels == FLAT).all()
        assert not gains(levels).any()
        assert pack(levels) == b""
        raw = b"\x88" * raw_equaliser_bytes(frames)  # no program writes it, but it is valid
        np.testing.assert_array_equal(unpack(raw, frames), levels)


def test_the_lowest_levels_are_zeros_of_any_number() -> None:
    lowest = np.zeros((3, POINTS), np.uint8)
    data = pack(lowest)
    assert data == bytes(len(data))
    assert 0 < len(data) <= 120
    for size in (1, len(data), 119, 120):
        np.testing.assert_array_equal(unpack(bytes(size), 130), lowest)


def test_even_points_are_in_the_low_bits_and_stretches_in_turn() -> None:
    data = bytes([0x21, 0x43]) + bytes(38) + bytes([0x65]) + bytes(39)
    assert unpack(data, 65).tolist() == [[1, 2, 3, 4] + [0] * 76, [5, 6] + [0] * 78]


@pytest.mark.parametrize("count", [1, 2, 27])
def test_bits_are_what_levels_take(count: int) -> None:
    rng, before, expected, rows = np.random.default_rng(count), np.full(POINTS, FIRST), 0.0, []
    assert bits().shape == (LEVELS + 1, LEVELS)
    np.testing.assert_allclose((2.0 ** -bits()).sum(-1), 1)
    for _ in range(count):
        row = np.array([rng.choice(LEVELS, p=2.0 ** -bits()[level]) for level in before], np.uint8)
        expected += bits()[before, row].sum()
        rows.append(row)
        before = row
    data = pack(np.stack(rows))
    assert len(data) < 40 * count
    assert expected / 8 - 1 < len(data) < expected / 8 + 4


def test_the_spec_has_the_same_table() -> None:
    written = SPEC.read_text().split("```weights\n")[1].split("```")[0]
    assert written.split() == WEIGHTS.split()
    table = np.array(written.split(), int).reshape(LEVELS + 1, 1 + LEVELS)
    assert table[:, 0].tolist() == list(range(LEVELS + 1))
    assert table[:, 1:].min() >= 1
    np.testing.assert_allclose(bits(), np.log2(table[:, 1:].sum(1, keepdims=True) / table[:, 1:]), rtol=1e-12)


def test_levels_mean_decibels() -> None:
    levels = np.arange(16, dtype=np.uint8)
    np.testing.assert_allclose(20 * np.log10(np.exp(gains(levels))), DECIBELS, atol=1e-5)
    assert gains(np.full((2, 3), FLAT)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(("rate", "hop"), RATES)
def test_interpolation_is_linear_in_frequency(rate: int, hop: int) -> None:
    points = frequencies_of_points(rate)
    middles = (np.arange(hop) + 0.5) * rate / (2 * hop)
    matrix = bin_interpolation(hop, rate)
    assert matrix.shape == (POINTS, hop)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(0), 1)
    assert ((matrix > 0).sum(0) <= 2).all()
    np.testing.assert_allclose(points @ matrix, middles)
    levels = np.random.default_rng(hop).integers(0, 16, POINTS)
    np.testing.assert_allclose(DECIBELS[levels] @ matrix, np.interp(middles, points, DECIBELS[levels]), atol=1e-9)


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_interpolation_at_the_points_and_beyond(rate: int) -> None:
    points = frequencies_of_points(rate)
    np.testing.assert_allclose(points[[0, -1]], [0, rate / 2])
    np.testing.assert_allclose(interpolation(points, rate), np.eye(POINTS), atol=1e-9)
    beyond = interpolation(np.array([-5.0, rate]), rate)
    np.testing.assert_allclose(beyond, np.eye(POINTS)[:, [0, -1]])


def nepers(data: bytes, frames: int) -> np.ndarray:
    """Return the gains of the frames of a block, float32 [frames, POINTS]."""
    return np.repeat(gains(unpack(data, frames)), 64, axis=0)[:frames]


def at(known: FrameGains, firsts: list[int], channels: list[int], frames: int) -> np.ndarray | None:
    return known.at(np.array(firsts), np.array(channels), frames)


def test_frames_have_the_gains_of_their_block_and_channel() -> None:
    one, two, three = (equaliser(seed, 10) for seed in range(3))
    known = FrameGains(10)
    for sequence, equalisers in enumerate([(one, two), (b"", b""), (b"", three)]):
        known.add(sequence, equalisers, 10)
    found = at(known, [5, 5, 5, 15], [0, 1, 0, 1], 20)
    assert found is not None
    assert found.shape == (4, 20, POINTS)
    assert found.dtype == np.float32
    expected = np.zeros_like(found)
    expected[[0, 2], :5], expected[1, :5] = nepers(one, 5), nepers(two, 5)
    expected[1, 15:], expected[3, 5:15] = nepers(three, 5), nepers(three, 10)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [64, 65, 128, 150])
@pytest.mark.parametrize("last", [1, 63, 64])
def test_frames_have_the_gains_of_their_stretch(size: int, last: int) -> None:
    known, lengths = FrameGains(size), [size, size, last]
    rows: list[list[np.ndarray]] = [[], []]
    for sequence, frames in enumerate(lengths):
        equalisers = (equaliser(2 * sequence, frames), equaliser(2 * sequence + 1, frames))
        known.add(sequence, equalisers, frames)
        for row, data in zip(rows, equalisers, strict=True):
            row.append(nepers(data, frames))
    whole = np.stack([np.concatenate(row) for row in rows])
    found = at(known, [0, 0], [0, 1], whole.shape[1])
    np.testing.assert_array_equal(found, whole)
    firsts, channels = [3, size - 1, 60, size + 9], [0, 1, 1, 0]
    windows = [whole[channel, first : first + 70] for first, channel in zip(firsts, channels, strict=True)]
    found = at(known, firsts, channels, 70)
    assert found is not None
    for window, wanted in zip(found, windows, strict=True):
        np.testing.assert_array_equal(window[: len(wanted)], wanted)


def test_windows_may_reach_beyond_a_short_last_block() -> None:
    known = FrameGains(200)
    data = equaliser(0, 70)
    known.add(0, (data,), 70)
    found = at(known, [10], [0], 250)
    assert found is not None
    np.testing.assert_array_equal(found[0, :60], nepers(data, 70)[10:])
    assert not found[0, 2 * 64 - 10 :].any()


def test_without_equalisers_there_are_no_gains() -> None:
    known = FrameGains(10)
    assert at(known, [0], [0], 5) is None
    known.add(0, (b"", b""), 10)
    known.add(2, (equaliser(0, 10), b""), 10)
    known.add(3, (), 10)
    assert at(known, [0, 5], [0, 1], 15) is None
    assert at(known, [0], [1], 25) is not None  # all of them 0, but another channel's are not
    assert at(known, [30, 100], [0, 0], 25) is None


def test_what_lies_before_the_frames_is_forgotten() -> None:
    known = FrameGains(10)
    for sequence in range(9):
        known.add(sequence, (equaliser(sequence, 10),), 10)
    first = at(known, [5, 12], [0, 0], 10)
    np.testing.assert_array_equal(first, at(known, [5, 12], [0, 0], 10))
    second = at(known, [35, 19], [0, 0], 3)  # the least counts
    assert second is not None
    wanted = np.concatenate([nepers(equaliser(3, 10), 1), nepers(equaliser(1, 10), 1)])
    np.testing.assert_array_equal(second[:, 0], wanted)
    assert sorted(known._blocks) == list(range(1, 9))
    assert at(known, [0], [0], 10) is None
    again = equaliser(50, 10)
    known.add(0, (again,), 10)  # a reader that went back
    np.testing.assert_array_equal(at(known, [0], [0], 1), nepers(again, 1)[None])


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Return a small model of random weights."""
    torch.manual_seed(5)
    network = Lapped(SMALL_LAPPED)
    tensors = network.state_dict()
    tensors["decoder.noise"].normal_()
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_native(path, network.config, tensors)
    return load_codec(path, device="cpu")


def make_blocks(codec: WindowCodec, count: int, channels: int) -> list[Block]:
    """Return blocks of random codes; channel 1 is silent in block 2."""
    rng, blocks = random.Random(count), []
    facts = codec.facts
    head = make_head(codebooks=facts.codebooks, codebook_size=facts.codebook_size, frames_per_block=BLOCK)
    for number in range(count):
        frames = BLOCK if number < count - 1 else BLOCK - 9
        layers = [tuple(raw_layer(head, frames, rng) for _ in range(facts.codebooks)) for _ in range(channels)]
        parts = [ChannelBlock(CODED, x) for x in layers]
        if number == 2 and channels > 1:
            parts[1] = ChannelBlock(SILENT)
        blocks.append(Block(number, frames, number == count - 1, tuple(parts)))
    return blocks


def make_file(codec: WindowCodec, blocks: list[Block], transform: int = 0) -> bytes:
    """Return a file of blocks."""
    facts, channels = codec.facts, len(blocks[0].channels)
    head = make_head(
        rate=facts.rate, source_rate=facts.rate, hop=facts.hop, context=facts.decoder_context, channels=channels,
        codebooks=facts.codebooks, codebook_size=facts.codebook_size, model_id=codec.id, frames_per_block=BLOCK,
        channel_mask=0, transform=transform,
    )  # fmt: skip
    samples = (sum(block.frames for block in blocks) - 1) * facts.hop - 7
    return write_file(head, blocks, source_samples=samples)


def sound(data: bytes, codec: WindowCodec, start: int = 0, stop: int | None = None) -> np.ndarray:
    with Reader(io.BytesIO(data)) as reader:
        return np.concatenate(list(Decoder(reader, codec).samples(start, stop)))


def decoded_at_once(data: bytes, codec: Codec) -> np.ndarray:
    """Return what the network makes of all frames of each channel in one call, float32 [S, C], before mid/side."""
    with Reader(io.BytesIO(data)) as reader:
        blocks = list(decode_codes(reader.blocks(), reader.head, None))
    whole = np.concatenate([block.dense(codec.facts.codebooks) for block in blocks], -1)
    rows = [np.concatenate([nepers(b.equalisers[c], b.frames) for b in blocks]) for c in range(len(whole))]
    channels = [0, SIDE, *range(2, len(whole))]
    return codec.decode_windows(whole, [0] * len(whole), channels, np.stack(rows)).T


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_windows_decode_to_what_the_whole_does(codec: Codec, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_file(codec, equalised(make_blocks(codec, 14, 3)), transform=1)
    expected = decoded_at_once(data, codec)
    monkeypatch.setattr(codec, "batch", batch)
    found = sound(data, codec)
    hop = codec.facts.hop
    quiet = slice((2 * BLOCK - 1) * hop, 3 * BLOCK * hop)
    expected[quiet, 1] = 0
    expected[:, 0], expected[:, 1] = expected[:, 0] + expected[:, 1], expected[:, 0] - expected[:, 1]
    np.testing.assert_allclose(found, expected[: len(found)], atol=CLOSE * np.abs(expected).max())


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (1, 300), (4095, 4097), (6399, 6401), (7000, 19_000), (50_000, 10**9)]
)
def test_ranges_decode_to_what_the_whole_does(codec: Codec, start: int, stop: int) -> None:
    data = make_file(codec, equalised(make_blocks(codec, 12, 2)))
    whole = sound(data, codec)
    np.testing.assert_allclose(sound(data, codec, start, stop), whole[start:stop], atol=CLOSE * np.abs(whole).max())


def test_one_decoder_gives_ranges_in_any_order(codec: Codec) -> None:
    data = make_file(codec, equalised(make_blocks(codec, 12, 2)))
    whole = sound(data, codec)
    with Reader(io.BytesIO(data)) as reader:
        decoder = Decoder(reader, codec)
        for start in (50_000, 100, 30_000, 0):
            found = np.concatenate(list(decoder.samples(start, start + 5000)))
            np.testing.assert_allclose(found, whole[start : start + 5000], atol=CLOSE * np.abs(whole).max())


def test_an_equaliser_only_changes_its_channel_and_stretch(codec: Codec) -> None:
    blocks = make_blocks(codec, 4, 2)
    changed = [*blocks]
    parts = blocks[1].channels
    changed[1] = replace(blocks[1], channels=(parts[0], replace(parts[1], equaliser=b"\x88" * 40 + b"\xff" * 40)))
    before, after = sound(make_file(codec, blocks), codec), sound(make_file(codec, changed), codec)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    hop = codec.facts.hop
    start, stop = (BLOCK + 64 - 1) * hop, 2 * BLOCK * hop  # frame t covers the samples from (t - 1) H on
    np.testing.assert_allclose(after[:start, 1], before[:start, 1], atol=CLOSE * np.abs(before).max())
    np.testing.assert_array_equal(after[stop:, 1], before[stop:, 1])
    louder = 10 ** (12 / 20) * before[start + hop : stop - hop, 1]
    np.testing.assert_allclose(after[start + hop : stop - hop, 1], louder, atol=CLOSE * np.abs(louder).max())


def test_a_flat_equaliser_changes_nothing(codec: Codec) -> None:
    blocks, flat = make_blocks(codec, 2, 1), []
    for block in blocks:
        raw = b"\x88" * raw_equaliser_bytes(block.frames)
        flat.append(replace(block, channels=(replace(block.channels[0], equaliser=raw),)))
    plain = sound(make_file(codec, blocks), codec)
    np.testing.assert_allclose(sound(make_file(codec, flat), codec), plain, atol=CLOSE * np.abs(plain).max())


def test_decoding_refuses_an_impossible_equaliser(codec: Codec) -> None:
    blocks = make_blocks(codec, 2, 1)
    wrong = replace(blocks[1].channels[0], equaliser=b"\xff" * 8)
    data = make_file(codec, [blocks[0], replace(blocks[1], channels=(wrong,))])
    with pytest.raises(EntropyMismatch):
        sound(data, codec)


def equalisers_of(data: bytes) -> list[tuple[bytes, ...]]:
    with Reader(io.BytesIO(data)) as reader:
        return [tuple(channel.equaliser for channel in block.channels) for block in reader.blocks()]


@pytest.fixture
def path(codec: Codec, tmp_path: Path) -> Path:
    """Return a file whose blocks have equalisers, but not all."""
    path = tmp_path / "a.dacz"
    path.write_bytes(make_file(codec, equalised(make_blocks(codec, 5, 2))))
    wanted = [(True, True), (True, False), (False, False), (True, True), (True, False)]
    assert [tuple(map(bool, row)) for row in equalisers_of(path.read_bytes())] == wanted
    return path


def test_repacking_keeps_equalisers(path: Path) -> None:
    target = io.BytesIO()
    drop_layers(path, target, 1)
    assert equalisers_of(target.getvalue()) == equalisers_of(path.read_bytes())
    with path.with_name("b.dacz").open("w+b") as stream:
        Repack(RepackSettings(1))(Task(path, path.with_name("b.dacz"), 0), stream, lambda done, total: None)
    assert path.with_name("b.dacz").read_bytes() == target.getvalue()


def test_fewer_layers_are_equalised_too(codec: Codec, path: Path) -> None:
    target = io.BytesIO()
    drop_layers(path, target, 1)
    found, _ = dacfile.read(path, codec=codec, codebooks=1)
    np.testing.assert_array_equal(found, sound(target.getvalue(), codec))
    bare = [replace(b, channels=tuple(replace(c, equaliser=b"") for c in b.channels)) for b in Reader(target).blocks()]
    assert np.abs(found - sound(make_file(codec, bare), codec)).max() > 0.1 * np.abs(found).max()


def test_recoding_keeps_equalisers(codec: Codec, path: Path) -> None:
    before = path.read_bytes()
    facts = codec.facts
    counts = np.random.default_rng(0).integers(1, 99, (facts.codebooks, 1, facts.codebook_size))
    prior = CountPrior(normalise(counts).astype(np.int32))
    (path.parent / PRIOR_FOLDER).mkdir()
    save_prior(prior, path.parent / PRIOR_FOLDER / "a.prior.safetensors")
    coded, back = io.BytesIO(), io.BytesIO()
    recode(path, coded, prior)
    assert equalisers_of(coded.getvalue()) == equalisers_of(before)
    with Reader(io.BytesIO(before)) as one, Reader(io.BytesIO(coded.getvalue())) as two:
        codes = [list(decode_codes(r.blocks(), r.head, p)) for r, p in ((one, None), (two, prior))]
    for first, second in zip(*codes, strict=True):
        assert first.equalisers == second.equalisers
        np.testing.assert_array_equal(first.dense(facts.codebooks), second.dense(facts.codebooks))
    path.write_bytes(coded.getvalue())
    recode(path, back, None)
    assert back.getvalue() == before


def test_salvage_keeps_the_equalisers_of_intact_blocks(path: Path) -> None:
    data, target = path.read_bytes(), io.BytesIO()
    start, end = [(start, end) for kind, start, end in chunk_spans(data) if kind == wire.BLOCK][3]
    middle = (start + end) // 2
    salvage(io.BytesIO(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]), target)
    wanted = equalisers_of(data)
    wanted[3] = (b"", b"")
    assert equalisers_of(target.getvalue()) == wanted


def test_other_models_refuse_equalisers() -> None:
    stub = StubCodec(hop=64, codebooks=2)
    stub.facts = replace(stub.facts, codebook_size=16)
    blocks = make_blocks(stub, 3, 1)
    assert sound(make_file(stub, blocks), stub).any()
    data = make_file(stub, equalised(blocks))
    with pytest.raises(StructureError, match="block 0: an equaliser"):
        sound(data, stub)
    with Reader(io.BytesIO(data)) as reader:  # the codes are there all the same
        assert len(list(decode_codes(reader.blocks(), reader.head, None))) == 3
