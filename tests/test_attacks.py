"""Attacks: what is decoded before them is turned down, in the same way whatever part of a file is decoded."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from audio_files import wav
from container_files import make_blocks, make_head, write_file
from stub_codec import StubCodec

import dacfile
from dacfile import attack_search
from dacfile.attack_search import best_depth, candidates, find_attacks
from dacfile.attacks import Attacks, curve
from dacfile.codec import Codec, load_codec
from dacfile.compressor import CompressOptions, compress_file
from dacfile.container import Attack, Reader
from dacfile.decoder import Decoder
from dacfile.errors import StructureError

RATE, HOP = 44100, 512
UNIT = HOP // 16
BURST = 40 * HOP + 5 * UNIT  # first sample of the burst of `silence_and_burst`


def decibels(x: np.ndarray) -> float:
    return float(10 * np.log10(np.square(x).mean() + 1e-20))


# As decoders do it


@pytest.mark.parametrize("hop", [16, 68, 320, 512])
def test_the_curve_falls_stays_and_comes_back(hop: int) -> None:
    found = curve(hop)
    assert len(found) == 2 * hop
    np.testing.assert_allclose(found[0], 0.5 / hop)
    np.testing.assert_allclose(np.diff(found[: hop - 1]), 1 / hop)
    assert (found[hop : 2 * hop - hop // 16] == 1).all()
    np.testing.assert_allclose(found[-1], 8 / hop)


def attacks_of(start: int, *blocks: tuple[int, tuple[Attack, ...]]) -> Attacks:
    """Return the attacks of one channel, from (first frame, attacks) of blocks."""
    attacks = Attacks(HOP, start)
    for first, found in blocks:
        attacks.add(first, [found])
    return attacks


def gains_of(attacks: Attacks, samples: int) -> np.ndarray:
    """Return in dB what is done to so many samples."""
    return np.asarray(20 * np.log10(attacks.apply(np.ones((samples, 1), np.float32)))[:, 0])


def test_samples_before_an_attack_are_turned_down_and_no_others() -> None:
    at = 3 * HOP + 7 * UNIT
    found = gains_of(attacks_of(0, (1, (Attack(39, 20),))), 6 * HOP)
    np.testing.assert_allclose(found[at - 2 * HOP : at], -20 * curve(HOP), atol=1e-5)
    assert not found[: at - 2 * HOP].any()
    assert not found[at:].any()


def test_of_several_attacks_the_deepest_counts() -> None:
    first, second = Attack(32, 30), Attack(40, 12)
    alone = [gains_of(attacks_of(0, (1, (attack,))), 8 * HOP) for attack in (first, second)]
    both = gains_of(attacks_of(0, (1, (first, second))), 8 * HOP)
    np.testing.assert_array_equal(both, np.minimum(*alone))
    assert ((both < alone[0]).any(), (both < alone[1]).any()) == (True, True)


@pytest.mark.parametrize("size", [1, 100, 512, 1500])
def test_pieces_make_what_the_whole_does(size: int) -> None:
    blocks = ((0, (Attack(3, 40), Attack(50, 8))), (4, (Attack(0, 25),)))
    whole = gains_of(attacks_of(0, *blocks), 20 * HOP)
    start = 2 * HOP + 99
    attacks = attacks_of(start, *blocks)
    parts = [gains_of(attacks, size) for _ in range(5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[start : start + 5 * size])


def test_channels_have_their_own() -> None:
    attacks = Attacks(HOP, 0)
    attacks.add(2, [(), (Attack(0, 10),), ()])
    found = attacks.apply(np.ones((3 * HOP, 3), np.float32))
    assert [(channel < 1).any() for channel in found.T] == [False, True, False]


# As encoders find them


def silence_and_burst(seed: int = 1, frames: int = 60) -> np.ndarray:
    """Return faint noise and, from BURST on, loud noise."""
    noise = 0.2 * np.random.default_rng(seed).standard_normal(frames * HOP)
    noise[:BURST] *= 1e-2
    return noise.astype(np.float32)


def with_echo(samples: np.ndarray, level: float) -> np.ndarray:
    """Return samples with noise of this level in the two hops before BURST, less in the first one."""
    echo = np.zeros_like(samples)
    echo[BURST - 2 * HOP : BURST] = np.random.default_rng(2).standard_normal(2 * HOP) * np.linspace(0, level, 2 * HOP)
    return samples + echo


def found_in(original: np.ndarray, decoded: np.ndarray) -> tuple[Attack, ...]:
    def decode(firsts: object, frames: int) -> np.ndarray:
        return np.stack([decoded[first * HOP : (first + frames) * HOP] for first in np.asarray(firsts)])

    return find_attacks(original, HOP, decode)


def test_a_pre_echo_is_found_at_its_place() -> None:
    original = silence_and_burst()
    decoded = with_echo(original, 0.1)
    (attack,) = found_in(original, decoded)
    assert abs(attack.position - BURST // UNIT) <= 1
    lowered = attacks_of(0, (0, (attack,))).apply(decoded[:, None])[:, 0]
    before = slice(BURST - HOP, BURST - 2 * UNIT)
    assert decibels(decoded[before]) > decibels(original[before]) + 20
    assert abs(decibels(lowered[before]) - decibels(original[before])) < 4
    assert np.array_equal(lowered[attack.position * UNIT :], decoded[attack.position * UNIT :])


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_what_is_right_or_not_heard_has_none(level: float) -> None:
    original = silence_and_burst()
    assert found_in(original, with_echo(original, level)) == ()


def test_sounds_that_begin_slowly_have_none() -> None:
    original = silence_and_burst()
    decades = np.interp(np.arange(len(original)), [BURST, BURST + 12 * HOP], [-2, 0])
    slow = original * np.where(np.arange(len(original)) < BURST, 1, 10**decades).astype(np.float32)
    assert found_in(slow, with_echo(slow, 0.1)) == ()


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_short_blocks_and_silence_have_none(frames: int) -> None:
    silence = np.zeros(frames * HOP, np.float32)
    assert found_in(silence, silence) == ()


def test_attacks_at_the_start_of_a_block_are_passed_over() -> None:
    original = silence_and_burst()[BURST - 2 * HOP + 2 * UNIT :]
    assert len(candidates(attack_search._powers(original[None], HOP)[0])) == 0


def test_attacks_are_a_hop_apart_and_not_more_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def pulses(frames: int) -> np.ndarray:
        out = np.full(frames * HOP, 1e-4, np.float32)
        out[:: 2 * HOP] = 0.9
        return out

    original = pulses(700)
    noise = 0.03 * np.random.default_rng(4).standard_normal(len(original)).astype(np.float32)
    found = found_in(original, original + noise)
    positions = np.array([attack.position for attack in found])
    assert len(found) == 255
    assert (np.diff(positions) >= 16).all()
    assert positions.max() < 700 * 16


def test_the_best_depth_is_that_of_the_excess() -> None:
    original = np.array([1e-5] * 32 + [1e-2] * 6)
    for excess in (0, 10, 30):
        lowered = curve(HOP)[UNIT // 2 :: UNIT]
        depth, gain = best_depth(original, original[:32] * 10 ** (excess * lowered / 10), HOP)
        assert depth == excess
        assert gain == pytest.approx(excess * lowered.sum(), rel=0.1)


def test_hops_that_are_no_multiple_of_sixteen() -> None:
    """As the places of a decoder, those of an encoder are rounded down."""
    powers = attack_search._powers(np.arange(2 * 68.0)[None], 68)[0]
    edges = [i * 68 // 16 for i in range(33)]
    expected = [np.square(np.arange(a, b)).mean() for a, b in pairwise(edges)]
    np.testing.assert_allclose(powers, expected)
    assert find_attacks(np.zeros(1000, np.float32), 10, lambda *_: np.zeros((0, 0))) == ()


# In files


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec("44k", "cpu")


def castanets(seconds: float = 3.0) -> tuple[np.ndarray, list[int]]:
    """Return clicks of noise with a short decay in silence, float32 [n, 2], and their first samples."""
    random = np.random.default_rng(5)
    out = np.zeros((round(seconds * RATE), 2), np.float32)
    starts = list(range(RATE // 4, len(out) - RATE // 4, RATE // 3))
    decay = np.exp(-np.arange(RATE // 5) / (0.01 * RATE))[:, None]
    for start in starts:
        out[start : start + len(decay)] = 0.3 * decay * random.standard_normal((len(decay), 1)) * [1.0, 0.6]
    return out, starts


def coded(codec: Codec, samples: np.ndarray, **options: object) -> bytes:
    target = io.BytesIO()
    compress_file(wav(samples, RATE), target, codec, None, CompressOptions(**options))  # type: ignore[arg-type]
    return target.getvalue()


def decoded_from(codec: Codec, data: bytes, *span: int) -> np.ndarray:
    with Reader(io.BytesIO(data)) as reader:
        return np.concatenate(list(Decoder(reader, codec).samples(*span)))


def echo_of(decoded: np.ndarray, starts: list[int]) -> float:
    """Return the level in dB of what is decoded 5 to 15 ms before sounds."""
    return decibels(np.concatenate([decoded[start - 15 * RATE // 1000 : start - 5 * RATE // 1000] for start in starts]))


@pytest.mark.parametrize("stereo", ["lr", "ms"])
def test_castanets_have_no_pre_echo(codec: Codec, stereo: str) -> None:
    samples, starts = castanets()
    with_attacks, without = (
        decoded_from(codec, coded(codec, samples, stereo=stereo, equalise=wanted)) for wanted in (True, False)
    )
    assert echo_of(without, starts) > -60
    assert echo_of(with_attacks, starts) < -85


def test_a_part_is_that_part_of_the_whole(codec: Codec) -> None:
    """Also where an attack and what comes before it lie in two blocks, and in two pieces."""
    samples, starts = castanets()
    data = coded(codec, samples, block_seconds=0.35)
    with Reader(io.BytesIO(data)) as reader:
        blocks = list(reader.blocks())
        size = reader.head.frames_per_block
        # One more attack, at the very start of a block.
        channels = tuple(replace(channel, attacks=(Attack(0, 33),)) for channel in blocks[3].channels)
        blocks[3] = replace(blocks[3], channels=channels)
        changed = write_file(reader.head, blocks, source_samples=len(samples))
    whole, plain = decoded_from(codec, changed), decoded_from(codec, data)
    border = 3 * size * HOP
    assert decibels(whole[border - HOP : border - UNIT]) < decibels(plain[border - HOP : border - UNIT]) - 32
    for start, stop in ((border - 1000, border - 10), (border - 300, border + 300), (starts[2] - 700, starts[2] - 100)):
        part = decoded_from(codec, changed, start, stop)
        np.testing.assert_allclose(part, whole[start:stop], atol=1e-6)


def test_attacks_are_told_and_can_be_left_out(codec: Codec, tmp_path: Path) -> None:
    samples, starts = castanets()
    for name, equalise in (("with", True), ("without", False)):
        path = tmp_path / f"{name}.dacz"
        path.write_bytes(coded(codec, samples, equalise=equalise))
        assert (dacfile.info(path).attacks >= len(starts)) == equalise


def test_models_that_have_none_refuse_them() -> None:
    codec = StubCodec()
    head = make_head(rate=codec.rate, source_rate=codec.rate, hop=16, codebooks=3, codebook_size=64, context=2,
                     model_id=codec.id, channels=1, channel_mask=0)  # fmt: skip
    block, *others = make_blocks(head)
    block = replace(block, channels=(replace(block.channels[0], attacks=(Attack(1, 1),)),))
    data = write_file(head, [block, *others], source_samples=97 * 16 - 16)
    with Reader(io.BytesIO(data)) as reader, pytest.raises(StructureError, match="attacks, which its model"):
        next(Decoder(reader, codec).samples())


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ((Attack(5, 0),), "no depth"),
        ((Attack(5, 256),), "beyond 255 dB"),
        ((Attack(-1, 5),), "not in order"),
        ((Attack(5, 5), Attack(5, 6)), "not in order"),
        ((Attack(40 * 16, 5),), "not in its frames"),
        (tuple(Attack(i, 5) for i in range(41)), "41 attacks in 40 frames"),
    ],
)
def test_attacks_that_cannot_be_written(attacks: tuple[Attack, ...], message: str) -> None:
    head = make_head(channels=1, channel_mask=0)
    block, *others = make_blocks(head)
    changed = replace(block, channels=(replace(block.channels[0], attacks=attacks),))
    with pytest.raises(StructureError, match=message):
        write_file(head, [changed, *others])
