"""The encoder finds equalisers: known gains are undone, levels come nearer, what is heard is what decodes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_files import wav
from stub_codec import StubCodec

from dacfile.codec import Codec, load_codec
from dacfile.compressor import CompressOptions, compress_file
from dacfile.container import CODED, Reader
from dacfile.decoder import Decoder
from dacfile.decompressor import DecompressOptions, decompress_file
from dacfile.equaliser import gains, interpolation
from dacfile.equaliser_code import FLAT, POINTS, bits, pack, unpack
from dacfile.equalising import EDGE, SHORTEST, STRETCH, Equalising, _Part, stretch_starts
from dacfile.model import equalise
from dacfile.model.equalise import WIDE_WINDOW, choose_levels, find_levels, gather, solve, steady_levels
from dacfile.model.facts import SIDE
from dacfile.quality.spectral import mel_distance
from dacfile.quality.waveform import si_sdr

EXAMPLES = Path(__file__).parent.parent / "examples"
RATE = 44100


def music(seconds: float) -> np.ndarray:
    samples, rate = soundfile.read(EXAMPLES / "music" / "crazy_glue.flac", dtype="float32", always_2d=True)
    assert rate == RATE
    return samples[: round(seconds * rate)]


def filtered(samples: np.ndarray, decibels: np.ndarray) -> np.ndarray:
    """Return samples [n] with gains given at the points of equalisers."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    factor = 10 ** (decibels @ interpolation(frequencies, RATE) / 20)
    return np.fft.irfft(spectrum * factor, len(samples)).astype(np.float32)


def pieces(samples: np.ndarray) -> np.ndarray:
    """Return the stretches [S, n] of samples [n] of the 44k model; what is left over is left out."""
    length = STRETCH * 512
    return samples[: len(samples) // length * length].reshape(-1, length)


def levels_for(wanted: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Return the levels [S, POINTS] for samples [n]."""
    return find_levels(gather(pieces(wanted), pieces(decoded), RATE), RATE)


def decibels_of(levels: np.ndarray) -> np.ndarray:
    return gains(levels) * 20 / np.log(10)


@pytest.mark.parametrize("turn", [0, 2])
def test_known_gains_are_undone(turn):
    """Also where they are others in each stretch."""
    wanted = music(3)[:, 0]
    shapes = [3 * np.sin(np.arange(POINTS) / 6 + turn * s) for s in range(len(pieces(wanted)))]
    decoded = np.concatenate([filtered(x, -shape) for x, shape in zip(pieces(wanted), shapes, strict=True)])
    found = decibels_of(levels_for(wanted, decoded))
    inner = slice(4, POINTS - 7)  # a few points of the lowest and of the highest bins lie too close for a window
    assert np.abs(found - shapes)[:, inner].mean() < 1  # levels are up to 1.5 dB apart there
    assert np.corrcoef(found[:, inner].ravel(), np.array(shapes)[:, inner].ravel())[0, 1] > 0.95


def test_what_is_right_stays_as_it_is():
    wanted = music(3)[:, 0]
    assert (levels_for(wanted, wanted) == FLAT).all()


@pytest.mark.parametrize(("share", "least", "most"), [(equalise.POWER_SHARE, 2.5, 7.0), (0.0, -1.0, 1.0)])
def test_what_is_short_and_loud_counts_by_its_power(monkeypatch, share, least, most):
    """Bursts of a tenth of the time come 12 dB too low; what is faint around them is right, and so are the medians."""
    monkeypatch.setattr(equalise, "POWER_SHARE", share)
    noise = np.random.default_rng(1).standard_normal(3 * STRETCH * 512).astype(np.float32)
    bursts = np.arange(len(noise)) % 10_000 < 1000
    loud, decoded = (noise * np.where(bursts, level, 1e-3).astype(np.float32) for level in (0.4, 0.1))
    found = decibels_of(levels_for(loud, decoded))
    assert least < np.median(found) < most


def test_a_lone_tone_counts_more_than_the_gaps_beside_it(monkeypatch):
    """What decodes is a band of noise, 15 dB too low in the tone's band and far too loud in those beside it."""
    time, noise = np.arange(STRETCH * 512) / RATE, np.random.default_rng(1).standard_normal(STRETCH * 512)
    tone = (0.2 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)
    spectrum = np.fft.rfft(noise) * (np.abs(np.fft.rfftfreq(len(noise), 1 / RATE) - 3000) < 500)
    band = np.fft.irfft(spectrum, len(noise))
    decoded = (0.05 * band / np.sqrt(np.square(band).mean())).astype(np.float32)
    made = {}
    for loudest in (0.0, equalise.LOUDEST):
        monkeypatch.setattr(equalise, "LOUDEST", loudest)
        equalised = filtered(decoded, decibels_of(levels_for(tone, decoded))[0])
        made[loudest] = 10 * np.log10(np.square(equalised).mean() / np.square(tone).mean())
    assert made[0.0] < made[equalise.LOUDEST] - 2 < 3


def steady(wanted: np.ndarray, decoded: np.ndarray) -> np.ndarray | None:
    """Return the levels that do for all stretches [S, n], if any."""
    solved = solve(gather(wanted, decoded, RATE), RATE)
    return steady_levels(*solved, choose_levels(*solved))


def test_one_equaliser_does_where_all_stretches_need_the_same():
    wanted = music(6)[:, 0]
    same = 3 * np.sin(np.arange(POINTS) / 6)
    found = steady(pieces(wanted), pieces(filtered(wanted, -same)))
    assert found is not None
    assert np.corrcoef(decibels_of(found)[4:-7], same[4:-7])[0, 1] > 0.95
    parts = [filtered(x, 4 * np.sin(np.arange(POINTS) / 6 + 3 * s)) for s, x in enumerate(pieces(wanted))]
    assert steady(pieces(wanted), np.stack(parts)) is None


def test_bits_are_weighed(monkeypatch):
    """The dearer a bit is, the fewer a block takes, and the further its gains are from the best ones."""
    wanted = music(6)[:, 0]
    statistics = gather(pieces(wanted), pieces(filtered(wanted, np.tile([2.0, -2.0], POINTS // 2))), RATE)
    best, bends = solve(statistics, RATE)
    sizes, errors = [], []
    for weight in (0.0, 1e-3, 1.0):
        monkeypatch.setattr(equalise, "BIT_WEIGHT", weight)
        levels = choose_levels(best, bends)
        sizes.append(len(pack(levels)))
        errors.append(np.abs(gains(levels) - best).mean())
    assert sizes[0] > sizes[1] > sizes[2]
    assert errors[0] < errors[1] < errors[2]
    assert (levels == bits()[-1].argmin()).all()  # at last nothing but the likeliest level, 0 dB


@pytest.mark.parametrize(("wanted", "decoded"), [(0.0, 0.0), (0.0, 0.1), (0.1, 0.0)])
def test_silence_gives_finite_gains(wanted, decoded):
    noise = np.random.default_rng(1).standard_normal((2, 30_000)).astype(np.float32)
    statistics = gather(wanted * noise, decoded * noise, RATE)
    assert np.isfinite(solve(statistics, RATE)[0]).all()
    assert (find_levels(statistics, RATE) <= FLAT).all()  # nothing is made louder


def test_what_is_no_number_changes_nothing():
    wanted = music(3)[:, 0]
    for factor in (np.nan, np.inf, 1e30):
        with np.errstate(all="ignore"):
            assert (levels_for(wanted, wanted * np.float32(factor)) == FLAT).all()


@pytest.mark.parametrize("length", [SHORTEST, 20_480, 32_768])
def test_a_stretch_suffices_for_a_comparison(length):
    assert WIDE_WINDOW == SHORTEST
    sound = np.zeros((1, length), np.float32)
    for rate in (16_000, RATE):
        assert find_levels(gather(sound, sound, rate), rate).shape == (1, POINTS)


def low_passed(samples: torch.Tensor, rest: float) -> torch.Tensor:
    """Return samples [S, n] with an eighth of the band as it is, and the rest of it `rest` times as loud."""
    spectrum = torch.fft.rfft(samples)
    spectrum[:, spectrum.shape[1] // 8 :] *= rest
    return torch.fft.irfft(spectrum, samples.shape[1])


@pytest.mark.parametrize(("share_right", "softer"), [(1.0, True), (0.0, False)])
def test_a_dearer_waveform_is_kept_where_there_is_one(monkeypatch, share_right, softer):
    """Noise has the right levels at the cost of SI-SDR: the price decides how loud it may be beside what is right."""
    wanted, other = 0.1 * torch.randn(2, 2, 30_000, generator=torch.Generator().manual_seed(2))
    wanted = low_passed(wanted, 0.5)
    right = share_right * low_passed(wanted, 0) + (1 - share_right) * low_passed(other, 0)
    decoded = right + 0.25 * (other - low_passed(other, 0))
    loudness = []
    for price in (0.0, 0.1, 1.0):
        monkeypatch.setattr(equalise, "WIDE_PRICE", price)
        found, _ = solve(gather(wanted.numpy(), decoded.numpy(), RATE), RATE)
        loudness.append(float(found[:, POINTS // 2 :].mean()))
    if softer:
        assert loudness[0] > loudness[1] + 0.01 > loudness[2] + 0.1
    else:
        assert loudness[2] == pytest.approx(loudness[0], abs=0.05)


def test_stretches_lie_within_the_block():
    for frames in (STRETCH, STRETCH + 1, 3 * STRETCH, 1723, 4096):
        starts = stretch_starts(frames)
        assert len(starts) == -(-frames // STRETCH)
        assert starts[:-1] == [number * STRETCH for number in range(len(starts) - 1)]
        assert (
            starts[-1] == frames - STRETCH if frames % STRETCH else starts[-1] == frames // STRETCH * STRETCH - STRETCH
        )


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec("44k", "cpu")


def packed(codec, samples: np.ndarray, **options: object) -> bytes:
    target = io.BytesIO()
    compress_file(wav(samples, RATE), target, codec, None, CompressOptions(**options))
    return target.getvalue()


def unpacked(codec, data: bytes) -> np.ndarray:
    out = io.BytesIO()
    decompress_file(io.BytesIO(data), out, lambda _: codec, lambda _: None, DecompressOptions(format="wav"))
    return soundfile.read(io.BytesIO(out.getvalue()), dtype="float32", always_2d=True)[0]


def test_levels_come_nearer_and_the_waveform_stays(codec):
    samples = music(6)
    x = torch.from_numpy(samples.T.copy())
    distances, ratios, sizes = [], [], []
    for wanted in (False, True):
        data = packed(codec, samples, equalise=wanted)
        y = torch.from_numpy(unpacked(codec, data).T.copy())
        distances.append(float(mel_distance(x, y, RATE).mean()))
        ratios.append(float(si_sdr(x, y).mean()))
        sizes.append(len(data))
    assert distances[1] < distances[0] - 0.01
    assert ratios[1] > ratios[0] - 0.2
    with Reader(io.BytesIO(data)) as reader:
        told = [len(channel.equaliser) for block in reader.blocks() for channel in block.channels]
    assert sizes[1] - sizes[0] == sum(told) + 2 * len(told)
    assert max(told) < 0.7 * 40 * len(stretch_starts(codec.facts.frames(len(samples))))


@pytest.mark.parametrize("steady", [False, True])
def test_what_is_compared_is_what_decodes(codec, monkeypatch, steady):
    """The samples that gains are found for are those of a decoder that knows no equalisers, at their places."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    compare = equalise.gather
    monkeypatch.setattr(equalise, "gather", lambda x, y, rate: seen.append((x, y)) or compare(x, y, rate))
    monkeypatch.setattr(equalise, "WORTH_FINDING", 1e9 if steady else -1e9)
    samples = music(9)[: 774 * 512, :1]  # whole frames
    plain = unpacked(codec, packed(codec, samples, block_seconds=5.0, equalise=False))
    plain, data = np.pad(plain, ((0, 1024), (0, 0))), packed(codec, samples, block_seconds=5.0)
    samples = np.pad(samples, ((0, 1024), (0, 0)))
    factor = 10 ** (Reader(io.BytesIO(data)).head.gains_db[0] / 20)
    hop, size = codec.facts.hop, round(5.0 * RATE / codec.facts.hop)
    lengths = [size, codec.facts.frames(774 * 512) - size]
    assert [len(x) for x, _ in seen] == ([4, 4] if steady else [4, 7, 6])  # what moved in a block is heard in the next
    for number, (x, y) in enumerate(seen if steady else seen[1:]):
        starts = stretch_starts(lengths[number])
        starts = [starts[(2 * i + 1) * len(starts) // 8] for i in range(4)] if steady else starts
        for part, start in enumerate(starts):
            first = (number * size + start) * hop
            np.testing.assert_allclose(x[part], samples[first : first + len(x[part]), 0] * factor, rtol=1e-5, atol=1e-6)
            expected = plain[first : first + len(y[part]), 0] * factor
            error = np.square(y[part] - expected).sum() / np.square(expected).sum()
            assert error < 0.05, (number, part)  # context is short at the ends of a piece


def test_every_block_of_a_long_file_has_its_own(codec):
    loud = music(4)
    quiet_highs = np.stack([filtered(channel, np.linspace(0, -40, POINTS)) for channel in loud.T], 1)
    with Reader(io.BytesIO(packed(codec, np.concatenate([loud, quiet_highs]), block_seconds=2.0))) as reader:
        blocks = list(reader.blocks())
    levels = [[unpack(channel.equaliser, block.frames) for channel in block.channels] for block in blocks]
    assert len(levels) == 5  # the last one is shorter than a stretch
    assert all(np.any(level != FLAT) for block in levels[:4] for level in block)
    assert all((level == FLAT).all() for level in levels[4])
    assert np.any(levels[0][0][0] != levels[3][0][0])


def test_silent_channels_have_none(codec):
    samples = music(2)
    samples[:, 1] = 0
    with Reader(io.BytesIO(packed(codec, samples, stereo="lr"))) as reader:
        (block,) = reader.blocks()
    assert [channel.mode == CODED for channel in block.channels] == [bool(c.equaliser) for c in block.channels]
    assert block.channels[0].equaliser
    assert not block.channels[1].equaliser


def test_codes_that_are_left_out_are_not_heard(codec, monkeypatch):
    """With fewer codebooks equalisers are found for what these decode to."""
    depths = []
    decode = codec.preview_windows
    monkeypatch.setattr(
        codec,
        "preview_windows",
        lambda codes, *rest: depths.append((codes != 0xFFFF).any((0, 2))) or decode(codes, *rest),
    )
    packed(codec, music(2)[:, :1], codebooks=3)
    assert {depth.sum() for depth in depths} == {3}


@pytest.mark.parametrize(
    ("stereo", "quiet", "numbers"), [("ms", None, [0, SIDE]), ("lr", None, [0, 1]), ("lr", 0, [1])]
)
def test_stretches_are_decoded_as_the_channels_they_are(codec, monkeypatch, stereo, quiet, numbers):
    samples, seen = music(2), []
    if quiet is not None:
        samples[:, quiet] = 0
    decode = codec.preview_windows
    monkeypatch.setattr(
        codec,
        "preview_windows",
        lambda codes, firsts, numbers: seen.append((firsts, numbers)) or decode(codes, firsts, numbers),
    )
    monkeypatch.setattr(equalise, "WORTH_FINDING", 1e9)
    packed(codec, samples, stereo=stereo)
    firsts = [start - EDGE for start in stretch_starts(codec.facts.frames(len(samples)))]
    assert seen == [(firsts, [number] * len(firsts)) for number in numbers]


def test_a_preview_is_about_what_decodes(codec):
    codes = codec.encode(music(3)[:, :1])[None, 0]
    decoded, preview = codec.decode_windows(codes, [5], [1]), codec.preview_windows(codes, [5], [1])
    assert np.square(preview - decoded).sum() < 4e-4 * np.square(decoded).sum()  # 34 dB


def test_pieces_of_a_whole_block_are_those_decoded_apart(codec):
    codes = codec.encode(music(4)[:, :1])[0]
    part, rng = _Part(codec, codes, 0, 0), np.random.default_rng(3)
    levels = rng.integers(4, 13, (len(stretch_starts(codes.shape[1])), POINTS)).astype(np.uint8)
    few, many = [63, 150], list(range(0, 300, 3))
    apart, whole = part.around(levels, few, 3), part.around(levels, many, 3)
    plain = part.decoded(few, 3)
    for row, start in enumerate(few):
        energy = np.square(apart[row]).sum()
        assert np.square(whole[many.index(start)] - apart[row]).sum() < 0.01 * energy
        assert np.square(plain[row] - apart[row]).sum() > 0.03 * energy


def test_readings_of_one_decoder_do_not_disturb_each_other(codec):
    data = packed(codec, np.tile(music(4), (4, 1)), block_seconds=1.5)
    with Reader(io.BytesIO(data)) as reader:
        decoder = Decoder(reader, codec)
        whole = np.concatenate(list(decoder.samples()))
        first = decoder.samples()
        parts = [next(first)]
        late = np.concatenate(list(decoder.samples(14 * RATE, 15 * RATE)))
        parts += list(first)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    np.testing.assert_allclose(late, whole[14 * RATE : 15 * RATE], atol=1e-5)


@pytest.mark.parametrize("pieces", [1, 5])
def test_the_result_does_not_depend_on_how_samples_arrive(codec, pieces):
    samples = music(5)
    equalising = Equalising(codec, [0, 1])
    for part in np.array_split(samples, pieces):
        equalising.push(part)
    codes = codec.encode(samples)
    found = [equalising.of_block(first, codes[..., first : first + 200], [0, 1]) for first in (0, 200)]
    reference = Equalising(codec, [0, 1])
    reference.push(samples)
    assert found[0] == reference.of_block(0, codes[..., :200], [0, 1])
    assert found[1] == reference.of_block(200, codes[..., 200:400], [0, 1])
    assert found[0] != found[1]


def test_other_models_have_none():
    codec = StubCodec(rate=RATE)
    with Reader(io.BytesIO(packed(codec, music(1)))) as reader:
        assert not any(channel.equaliser for block in reader.blocks() for channel in block.channels)


def test_samples_of_the_past_are_dropped(codec):
    equalising = Equalising(codec, [0])
    samples = music(4)[:, :1]
    for part in np.array_split(samples, 7):
        equalising.push(part)
    frames = 172
    codes = codec.encode(samples)[..., :frames]
    equalising.of_block(0, codes, [0])
    assert sum(map(len, equalising._parts)) == len(samples) - frames * codec.facts.hop
