"""The range coder against the plain-Python oracle: same words, same symbols, and errors of our own only."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
import range_oracle

from dacfile.entropy import rangecoder
from dacfile.entropy.counts import normalise
from dacfile.entropy.rangecoder import Decoder, Encoder, total_count
from dacfile.errors import EntropyMismatch


def random_case(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (symbols int32 [n], counts int64 [n, size]); some counts are 0, some rows are almost certain."""
    generator = np.random.default_rng([seed, size])
    length = int(generator.integers(1, 120 if size > 100 else 500))
    weights = generator.integers(0, 1 << int(generator.integers(1, 17)), (length, size))
    weights[generator.random((length, size)) < 0.3] = 0
    weights[:, -1] += 1
    weights[generator.random(length) < 0.2, 0] += 1 << 26
    counts = normalise(weights)
    likely = np.array([generator.choice(size, p=(row + 1) / (row + 1).sum()) for row in counts], np.int32)
    symbols = np.where(generator.random(length) < 0.05, generator.integers(0, size, length), likely)
    return symbols.astype(np.int32), counts


@pytest.mark.parametrize("size", [2, 32, 1024])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("carrier", [np.float32, np.float64])
def test_words_equal_the_oracle(seed: int, size: int, carrier: type) -> None:
    symbols, counts = random_case(seed, size)
    family = constriction.stream.model.Categorical(perfect=False)
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(symbols, family, counts.astype(carrier))
    assert coder.get_compressed().tolist() == range_oracle.encode(symbols.tolist(), counts.tolist())


@pytest.mark.parametrize("size", [2, 32, 1024])
@pytest.mark.parametrize("seed", range(10))
def test_shortened_stream_decodes_with_the_oracle_and_with_us(seed: int, size: int) -> None:
    symbols, counts = random_case(seed, size)
    encoder = Encoder()
    encoder.put(symbols, counts.astype(np.float32))
    data = encoder.finish()
    words = range_oracle.encode(symbols.tolist(), counts.tolist())
    assert len(words) * 4 - 8 <= len(data) <= len(words) * 4
    oracle = range_oracle.Decoder(data)
    assert [oracle.symbol(row) for row in counts.tolist()] == symbols.tolist()
    assert np.array_equal(Decoder(data).take(counts.astype(np.float64)), symbols)


def test_shortening_saves_about_two_bytes_a_stream() -> None:
    saved = []
    for seed in range(200):
        symbols, counts = random_case(seed, 32)
        encoder = Encoder()
        encoder.put(symbols, counts.astype(np.float32))
        saved.append(4 * len(range_oracle.encode(symbols.tolist(), counts.tolist())) - len(encoder.finish()))
    assert 1.0 < np.mean(saved) < 4.0


def test_arrays_single_symbols_and_one_table_give_the_same_stream() -> None:
    counts = normalise(np.arange(1, 33))
    symbols = np.random.default_rng(0).integers(0, 32, 50).astype(np.int32)
    streams = set()
    for carrier in (np.float32, np.float64):
        rows, one = Encoder(), Encoder()
        rows.put(symbols, np.tile(counts, (50, 1)).astype(carrier))
        one.put(symbols, counts.astype(carrier))
        streams |= {rows.finish(), one.finish()}
    assert len(streams) == 1
    data = streams.pop()
    decoder = Decoder(data)
    singles = [int(decoder.take(counts[None].astype(np.float32))[0]) for _ in symbols]
    assert np.array_equal(singles, symbols)
    assert np.array_equal(Decoder(data).take_same(counts.astype(np.float32), 50), symbols)


def test_no_symbols_no_bytes() -> None:
    encoder = Encoder()
    encoder.put(np.zeros(0, np.int32), np.zeros((0, 4), np.float32))
    assert encoder.finish() == b""
    assert len(Decoder(b"").take(np.zeros((0, 4), np.float32))) == 0
    assert len(Decoder(b"").take_same(np.zeros(4, np.float32), 0)) == 0


@pytest.mark.parametrize("seed", range(100))
def test_garbage_raises_entropy_mismatch_or_decodes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = normalise(generator.integers(0, 100, (300, 4)) + 1).astype(np.float32)
    try:
        symbols = Decoder(generator.bytes(int(generator.integers(0, 40)))).take(counts)
    except EntropyMismatch:
        return
    assert set(symbols.tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("failure", [AssertionError, KeyError, type("PanicException", (BaseException,), {})])
def test_failures_of_the_library_become_entropy_mismatch(failure: type[BaseException]) -> None:
    def broken() -> None:
        raise failure("inside the library")

    with pytest.raises(EntropyMismatch):
        rangecoder._guarded(broken)


def test_ctrl_c_passes_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rangecoder._guarded(interrupted)


def test_symbol_outside_the_alphabet_is_our_error() -> None:
    with pytest.raises(EntropyMismatch):
        Encoder().put(np.array([9], np.int32), normalise(np.ones((1, 4), int)).astype(np.float32))


def test_self_check_refuses_another_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rangecoder, "_CHECK_BYTES", "00")
    rangecoder.self_check.cache_clear()
    with pytest.raises(EntropyMismatch, match="install"):
        Encoder()
    monkeypatch.undo()
    rangecoder.self_check()


def test_self_check_bytes_are_the_oracles() -> None:
    words = range_oracle.encode(rangecoder._CHECK_SYMBOLS, rangecoder._CHECK_COUNTS * 2)
    assert b"".join(word.to_bytes(4, "big") for word in words).hex() == rangecoder._CHECK_BYTES
    assert all(sum(row) == total_count(4) for row in rangecoder._CHECK_COUNTS)
