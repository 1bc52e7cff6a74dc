"""Blocks of codes: exact round trips, raw fallback, and every kind of damage ending in a DaczError."""

from __future__ import annotations

import numpy as np
import pytest

from dacfile.entropy import bits_per_code, decode_blocks, encode_blocks, raw_size
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.entropy.packing import pack, unpack
from dacfile.errors import DaczError, EntropyMismatch, UsageError

SIZE = 1024


def skewed_prior(phases: int = 1, codebooks: int = 3, size: int = SIZE) -> CountPrior:
    weights = np.random.default_rng(7).integers(0, 50, (codebooks, phases, size)) ** 4 + 1
    return CountPrior(normalise(weights).astype(np.int32))


def likely_codes(prior: CountPrior, frames: int, layers: int = 3, seed: int = 0) -> np.ndarray:
    """Draw codes from the prior's own tables, so that range coding pays."""
    generator = np.random.default_rng(seed)
    rows = [prior.tensors["counts"][k, 0].astype(float) + 1 for k in range(layers)]
    return np.array([generator.choice(prior.codebook_size, frames, p=r / r.sum()) for r in rows]).astype(np.uint16)


@pytest.mark.parametrize("size", [2, 3, 32, 1000, 1024, 4096])
@pytest.mark.parametrize("frames", [0, 1, 7, 8, 333])
def test_packing_round_trip_and_size(size: int, frames: int) -> None:
    codes = np.random.default_rng(frames).integers(0, size, frames).astype(np.uint16)
    data = pack(codes, size)
    assert len(data) == raw_size(frames, size) == -(-frames * bits_per_code(size) // 8)
    assert np.array_equal(unpack(data, frames, size), codes)


def test_packing_bit_order_is_lowest_first() -> None:
    assert pack(np.array([1, 2], np.uint16), 1024) == bytes([0x01, 0x08, 0x00])


@pytest.mark.parametrize("phases", [1, 2])
def test_round_trip_with_missing_channels_and_unequal_depth(phases: int) -> None:
    prior = skewed_prior(phases)
    blocks = [[likely_codes(prior, 300), None, likely_codes(prior, 300, 2, 1)], [None], [likely_codes(prior, 5, 1)], []]
    firsts = [0, 300, 601, 606]
    stored = encode_blocks(prior, blocks, firsts)
    payloads = [
        [None if c is None else s for c, s in zip(*pair, strict=True)] for pair in zip(blocks, stored, strict=True)
    ]
    decoded = decode_blocks(prior, payloads, [300, 0, 5, 0], None, firsts)
    for block, back in zip(blocks, decoded, strict=True):
        for codes, array in zip(block, back, strict=True):
            assert (codes is None) == (array is None)
            assert codes is None or (array.dtype == np.uint16 and np.array_equal(codes, array))


def test_range_coding_shrinks_what_the_prior_expects_and_never_expands() -> None:
    prior = skewed_prior()
    expected = encode_blocks(prior, [[likely_codes(prior, 800)]], [0])[0][0]
    assert all(len(data) < raw_size(800, SIZE) for data, _ in expected)
    rare = np.argsort(prior.tensors["counts"][:, 0], 1)[:, :8].repeat(100, 1).astype(np.uint16)
    unexpected = encode_blocks(prior, [[rare]], [0])[0][0]
    assert [len(data) for data, _ in unexpected] == [raw_size(800, SIZE)] * 3
    assert np.array_equal(decode_blocks(prior, [[unexpected]], [800])[0][0], rare)


def test_fewer_layers_decode_alone() -> None:
    prior = skewed_prior()
    codes = likely_codes(prior, 100)
    stored = encode_blocks(prior, [[codes]], [0])
    assert np.array_equal(decode_blocks(prior, stored, [100], layers=2)[0][0], codes[:2])
    assert np.array_equal(decode_blocks(prior, [[stored[0][0][:1]]], [100])[0][0], codes[:1])


def test_batching_changes_nothing() -> None:
    prior = skewed_prior()
    blocks = [[likely_codes(prior, 50 + i, seed=i)] for i in range(5)]
    together = encode_blocks(prior, blocks, [0] * 5)
    assert together == [encode_blocks(prior, [block], [0])[0] for block in blocks]


def test_without_prior_everything_is_raw() -> None:
    codes = np.random.default_rng(0).integers(0, SIZE, (4, 77)).astype(np.uint16)
    stored = encode_blocks(None, [[codes]], [0])
    assert {len(data) for data, _ in stored[0][0]} == {raw_size(77, SIZE)}
    assert np.array_equal(decode_blocks(None, stored, [77])[0][0], codes)
    with pytest.raises(EntropyMismatch, match="no prior"):
        decode_blocks(None, [[[(b"1234", 0)]]], [77])


def test_a_perturbed_table_is_detected() -> None:
    prior = skewed_prior()
    stored = encode_blocks(prior, [[likely_codes(prior, 400)]], [0])
    tables = prior.tensors["counts"].copy()
    common = tables[1, 0].argmax()
    tables[1, 0, 0] += 1000
    tables[1, 0, common] -= 1000
    with pytest.raises(EntropyMismatch, match="layer 1"):
        decode_blocks(CountPrior(tables), stored, [400])


@pytest.mark.parametrize("seed", range(40))
def test_garbage_never_raises_anything_but_our_own(seed: int) -> None:
    generator = np.random.default_rng(seed)
    prior = skewed_prior()
    frames = int(generator.integers(1, 200))
    layers = [(generator.bytes(int(generator.integers(0, raw_size(frames, SIZE) + 1))), 0) for _ in range(3)]
    with pytest.raises(DaczError):
        decode_blocks(prior, [[layers]], [frames])


def test_every_flipped_bit_is_detected() -> None:
    prior = skewed_prior()
    data, crc = encode_blocks(prior, [[likely_codes(prior, 60)]], [0])[0][0][0]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            decode_blocks(prior, [[[(bytes(flipped), crc)]]], [60])
        except EntropyMismatch:
            continue
        assert bit // 8 >= len(data) - 1, "only the last byte may hold bits that no symbol needs"


@pytest.mark.parametrize(("shape", "value"), [((1, 4), SIZE), ((4, 9), 0), ((5,), 0)])
def test_impossible_codes_are_refused(shape: tuple[int, ...], value: int) -> None:
    with pytest.raises(UsageError):
        encode_blocks(skewed_prior(), [[np.full(shape, value, np.uint16)]], [0])


def test_a_prior_of_fewer_codebooks_is_refused() -> None:
    prior = skewed_prior()
    with pytest.raises(EntropyMismatch, match="another model"):
        decode_blocks(prior, [[[(b"12", 0)] * 4]], [9])
