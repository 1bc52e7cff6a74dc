"""Exactness: the same bytes and codes whatever shares the call, the threads, the carrier, the BLAS and the numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import golden_entropy
import numpy as np
import pytest
import range_oracle
from network_case import likely_codes, random_prior

from dacfile.entropy import decode_blocks, encode_blocks, load_prior, network, wavefront
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.counts import normalise
from dacfile.entropy.rangecoder import Decoder
from dacfile.entropy.softmax import counts_of, shares_of
from dacfile.entropy.streams import Streams
from dacfile.errors import EntropyMismatch

HERE = Path(__file__).parent
NUMPY1 = os.environ.get("DACZ_NUMPY1_PYTHON", "")


def batch(prior: NetworkPrior, amount: int) -> tuple[list, list[int], list[int]]:
    """Blocks of two channels and many lengths, some longer than a step of the decoder."""
    frames = [1 + 11 * (i % 9) for i in range(amount)]
    blocks = [likely_codes(prior, [(6, n), (1 + i % 6, n)], first=i, seed=i) for i, n in enumerate(frames)]
    return blocks, list(range(amount)), frames


@pytest.fixture(scope="module")
def prior() -> NetworkPrior:
    return random_prior(golden_entropy.CONFIG, seed=3)


@pytest.fixture(scope="module")
def coded(prior: NetworkPrior) -> tuple[list, list[int], list[int], list]:
    """64 blocks and what each is coded to by itself."""
    blocks, firsts, frames = batch(prior, 64)
    return blocks, firsts, frames, [encode_blocks(prior, [b], [f])[0] for b, f in zip(blocks, firsts, strict=True)]


def equal(blocks: list, decoded: list) -> bool:
    pairs = [pair for both in zip(blocks, decoded, strict=True) for pair in zip(*both, strict=True)]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("size", range(1, 65))
def test_every_batch_size_from_1_to_64(prior: NetworkPrior, coded: tuple, size: int) -> None:
    blocks, firsts, frames, alone = (part[64 - size :] for part in coded)
    assert encode_blocks(prior, blocks, firsts) == alone
    assert equal(blocks, decode_blocks(prior, alone, frames, None, firsts))


@pytest.mark.parametrize(("rows", "chunk"), [(1, 1), (1, 1000), (6, 3), (1000, 1), (1000, 7), (1000, 1000)])
def test_the_order_of_work_changes_nothing(
    prior: NetworkPrior, coded: tuple, rows: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wavefront, "ROWS", rows)
    monkeypatch.setattr(wavefront, "CHUNK", chunk)
    blocks, firsts, frames, alone = (part[:10] for part in coded)
    assert equal(blocks, decode_blocks(prior, alone, frames, None, firsts))
    cut = [[codes[:4] for codes in block] for block in blocks]
    assert equal(cut, decode_blocks(prior, alone, frames, 4, firsts))


@pytest.mark.parametrize("threads", range(1, 9))
def test_every_number_of_threads_from_1_to_8(prior: NetworkPrior, coded: tuple, threads: int) -> None:
    def there_and_back(i: int) -> bool:
        blocks, firsts, frames, alone = (part[i : i + 4] for part in coded)
        same = encode_blocks(prior, blocks, firsts) == alone
        return same and equal(blocks, decode_blocks(prior, alone, frames, None, firsts))

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(there_and_back, range(0, 4 * threads, 4)))


def test_float64_carriers(prior: NetworkPrior, coded: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CARRIER", np.float64)
    wide = NetworkPrior(prior.config, prior.tensors)
    assert wide.network.layers[0].mix.dtype == np.float64
    blocks, firsts, frames, alone = coded
    assert encode_blocks(wide, blocks, firsts) == alone
    assert equal(blocks, decode_blocks(wide, alone, frames, None, firsts))


def run_golden(python: str, **environment: str) -> str:
    command = [python, str(HERE / "golden_entropy.py")]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout


def test_golden_bytes() -> None:
    assert golden_entropy.check() == 39


def test_golden_bytes_tell_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = load_prior(golden_entropy.PRIOR)
    tensors = {**prior.tensors, "1.group_bias": prior.tensors["1.group_bias"] + 200}
    monkeypatch.setattr(golden_entropy, "load_prior", lambda path: NetworkPrior(prior.config, tensors))
    with pytest.raises(ValueError, match="other bytes"):
        golden_entropy.check()


@pytest.mark.parametrize("threads", ["1", "2", "3", "8"])
def test_golden_bytes_with_blas_threads(threads: str) -> None:
    assert "layers are the golden ones" in run_golden(sys.executable, OPENBLAS_NUM_THREADS=threads)


@pytest.mark.skipif(not NUMPY1, reason="DACZ_NUMPY1_PYTHON names no Python with numpy 1.26: see make test-numpy1")
def test_golden_bytes_with_numpy_1() -> None:
    assert "with numpy 1.26" in run_golden(NUMPY1)


def test_one_perturbed_probability_is_detected(prior: NetworkPrior, coded: tuple) -> None:
    """One count of one table moved to its neighbour: the codes of some layer no longer match their checksum."""
    blocks, firsts, frames, alone = (part[:10] for part in coded)
    bias = prior.tensors["2.member_bias"].copy()
    group = int(np.bincount(np.concatenate([places(prior, 2, block) for block in blocks])).argmax())
    bias[group, 0] += 2000
    with pytest.raises(EntropyMismatch):
        decode_blocks(NetworkPrior(prior.config, {**prior.tensors, "2.member_bias": bias}), alone, frames, None, firsts)


def places(prior: NetworkPrior, layer: int, block: list) -> np.ndarray:
    """Return the groups of a layer's codes."""
    position = np.argsort(prior.tensors[f"{layer}.order"])
    return position[block[0][layer]] // prior.sizes.members


@pytest.mark.parametrize("symbols", [2, 8, 32])
def test_streams_side_by_side_are_the_range_coder(symbols: int) -> None:
    """Against the oracle that encodes, and the library that decodes each stream by itself."""
    generator = np.random.default_rng(symbols)
    lengths = [40, 200, 1, 90, 200]
    tables = [normalise(generator.integers(0, 2000, (n, symbols)) ** 3 + 1) for n in lengths]
    drawn = [generator.integers(0, symbols, n) for n in lengths]
    data = [
        b"".join(word.to_bytes(4, "big") for word in range_oracle.encode(s.tolist(), t.tolist()))
        for s, t in zip(drawn, tables, strict=True)
    ]
    streams = Streams(data)
    for t in range(max(lengths)):
        rows = np.array([row for row, n in enumerate(lengths) if t < n])
        part = streams.select(rows)
        shares = np.stack([tables[row][t] for row in rows]).astype(np.float64)
        shares[:, 0] = 0  # what the first symbol has follows from the others
        assert part.take(shares).tolist() == [drawn[row][t] for row in rows]
        streams.restore(rows, part)
    for bytes_, symbols_, table in zip(data, drawn, tables, strict=True):
        assert np.array_equal(Decoder(bytes_).take(table.astype(np.float64)), symbols_)


def test_streams_of_garbage_raise_our_error_or_decode() -> None:
    generator = np.random.default_rng(1)
    refused = 0
    for length in [*range(40), 8, 8]:
        streams = Streams([b"\xff" * 8 if length == 8 else generator.bytes(length), b""])
        try:
            for _ in range(50):
                symbols = streams.take(shares_of(np.floor(generator.normal(0, 90, (2, 8)))))
                assert set(symbols.tolist()) <= set(range(8))
        except EntropyMismatch:
            refused += 1
    assert refused >= 3


def test_shares_are_counts_but_for_the_first() -> None:
    logits = np.floor(np.random.default_rng(0).normal(0, 90, (50, 32)))
    shares, counts = shares_of(logits), counts_of(logits)
    assert np.array_equal(shares[:, 1:], counts[:, 1:])
    assert (counts.sum(1) == (1 << 24) - 32).all()
