"""The context network: exact whatever the batch, the threads and the carrier, and equal to the plain-Python oracle."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import prior_oracle
import pytest
from network_case import SMALL, likely_codes, random_prior

from dacfile.entropy import decode_blocks, encode_blocks, load_prior, network, softmax
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.files import save_prior
from dacfile.entropy.network import NetworkConfig
from dacfile.errors import DaczError, EntropyMismatch, UnsafeWeights

BIG_CASE_CRC = 4212518592
LAYOUTS = [
    [(4, 60)],
    [(4, 60), (4, 60)],
    [(4, 60), (2, 60), (4, 60)],
    [(2, 60), (4, 60)],
    [(0, 60), (4, 60), (3, 60)],
    [(4, 60), (0, 60)],
    [(4, 1), (4, 1)],
    [(1, 2)],
]


def payloads_of(blocks: list, stored: list) -> list:
    return [[None if c is None else s for c, s in zip(*pair, strict=True)] for pair in zip(blocks, stored, strict=True)]


def assert_equal_codes(blocks: list, decoded: list) -> None:
    for block, back in zip(blocks, decoded, strict=True):
        for codes, array in zip(block, back, strict=True):
            assert (codes is None) == (array is None)
            assert codes is None or np.array_equal(codes, array)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip_and_fewer_layers(layout: list[tuple[int, int]]) -> None:
    prior = random_prior()
    block = likely_codes(prior, layout, first=7)
    stored = payloads_of([block], encode_blocks(prior, [block], [7]))
    frames = [layout[0][1]]
    assert_equal_codes([block], decode_blocks(prior, stored, frames, None, [7]))
    for layers in range(1, 4):
        cut = [None if codes is None else codes[:layers] for codes in block]
        assert_equal_codes([cut], decode_blocks(prior, stored, frames, layers, [7]))


def test_likely_codes_shrink_and_unlikely_ones_are_raw() -> None:
    prior = random_prior()
    raw = 300 * 6 // 8
    likely = encode_blocks(prior, [likely_codes(prior, [(4, 300)])], [0])[0][0]
    assert all(len(data) < raw for data, _ in likely)
    noise = np.random.default_rng(0).integers(0, 64, (4, 300)).astype(np.uint16)
    stored = encode_blocks(prior, [[noise]], [0])
    assert max(len(data) for data, _ in stored[0][0]) == raw
    assert np.array_equal(decode_blocks(prior, stored, [300])[0][0], noise)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_oracle_written_from_the_spec_decodes_the_same(layout: list[tuple[int, int]], tmp_path: Path) -> None:
    prior = random_prior()
    path = tmp_path / "a.prior.safetensors"
    save_prior(prior, path)
    block = likely_codes(prior, layout, first=3)
    stored = encode_blocks(prior, [block], [3])[0]
    streams = [[data for data, _ in layers] for layers in stored]
    codes = prior_oracle.decode_block(path.read_bytes(), streams, layout[0][1], 3)
    assert codes == [[] if array is None else array.tolist() for array in block]


def big_case() -> tuple[NetworkPrior, list]:
    """A network of the bundled size, so that BLAS uses its blocked and threaded kernels."""
    prior = random_prior(NetworkConfig(3, 1024, 32, own_past=(0,)), scale=60)
    generator = np.random.default_rng(5)
    return prior, [[generator.integers(0, 1024, (3, 700)).astype(np.uint16) for _ in range(2)]]


def digest_of_big_case() -> int:
    prior, blocks = big_case()
    return zlib.crc32(b"".join(data for layers in prior.encode_layers(blocks, [0])[0] for data in layers))


def test_bytes_are_the_same_on_every_machine_and_numpy() -> None:
    """The expected value was made with numpy 2.4 on x86-64 with AVX-512 and checked with numpy 1.26."""
    assert digest_of_big_case() == BIG_CASE_CRC


def test_thread_counts_change_nothing() -> None:
    code = "import test_entropy_network as t; print(t.digest_of_big_case())"
    seen = set()
    for threads in ("1", "2", "8"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        seen.add(done.stdout.strip())
    assert seen == {str(BIG_CASE_CRC)}


def test_float64_carriers_give_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CARRIER", np.float64)
    assert digest_of_big_case() == BIG_CASE_CRC


def test_largest_weights_stay_exact() -> None:
    """At the bound of 2^24 itself: sums in any order, against Python integers."""
    generator = np.random.default_rng(1)
    weights = generator.choice([-127, 127], (8, 1040)).astype(np.float32)
    values = np.full((64, 1040), 127, np.float32)
    values[1:] = generator.integers(100, 128, (63, 1040))
    expected = values.astype(np.int64) @ weights.astype(np.int64).T
    for order in (np.arange(1040), generator.permutation(1040)):
        assert np.array_equal(values[:, order] @ weights[:, order].T, expected)


def test_one_changed_weight_is_detected() -> None:
    prior = random_prior()
    block = likely_codes(prior, [(4, 200)])
    stored = encode_blocks(prior, [block], [0])
    tensors = {name: tensor.copy() for name, tensor in prior.tensors.items()}
    tensors["1.group"][3, 2] ^= 16
    with pytest.raises(EntropyMismatch):
        decode_blocks(NetworkPrior(prior.config, tensors), stored, [200])


def test_one_perturbed_probability_table_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = random_prior()
    stored = encode_blocks(prior, [likely_codes(prior, [(4, 200)])], [0])
    table = softmax._TABLE.copy()
    table[5] *= 1.0001
    monkeypatch.setattr(softmax, "_TABLE", table)
    with pytest.raises(EntropyMismatch):
        decode_blocks(prior, stored, [200])


@pytest.mark.parametrize("seed", range(25))
def test_garbage_never_raises_anything_but_our_own(seed: int) -> None:
    generator = np.random.default_rng(seed)
    layers = [[(generator.bytes(int(generator.integers(0, 40))), 0) for _ in range(4)] for _ in range(2)]
    with pytest.raises(DaczError):
        decode_blocks(random_prior(), [layers], [50])


def test_softmax_equals_plain_integers() -> None:
    generator = np.random.default_rng(2)
    for scale in (1, 50, 3000):
        logits = np.round(generator.normal(0, scale, (200, 32))).astype(np.float32)
        expected = [prior_oracle.counts_of([int(v) for v in row]) for row in logits]
        assert np.array_equal(softmax.counts_of(logits.copy()), expected)


def test_exponential_table_is_the_listed_one_and_far_from_rounding_boundaries() -> None:
    listed = Path(__file__).parents[1].joinpath("spec", "priors.md").read_text().split("### 5.7")[1].split("\n\n")[1]
    values = [int(word) for word in listed.split()]
    table = softmax.exponential_table()
    assert table[: len(values)] == values
    assert set(table[len(values) :]) == {1}
    assert min(abs(65536 * math.exp(-i / 32) % 1 - 0.5) for i in range(384)) > 1e-3


def test_written_network_reads_back(tmp_path: Path) -> None:
    prior = random_prior()
    save_prior(prior, tmp_path / "a.prior.safetensors")
    back = load_prior(tmp_path / "a.prior.safetensors")
    block = likely_codes(prior, [(4, 30)])
    assert back.id == prior.id
    assert encode_blocks(back, [block], [0]) == encode_blocks(prior, [block], [0])


def broken_tensors(change: str) -> dict[str, np.ndarray]:
    tensors = {name: tensor.copy() for name, tensor in random_prior().tensors.items()}
    if change == "missing":
        del tensors["2.past"]
    elif change == "permutation":
        tensors["1.order"][0] = tensors["1.order"][1]
    elif change == "bias":
        tensors["0.mix_bias"][0] = 1 << 24
    elif change == "-128":
        tensors["3.member"][0, 0, 0] = -128
    elif change == "start":
        tensors["start"][0, 0, 0] = 1 << 20
    elif change == "shape":
        tensors["0.table"] = tensors["0.table"][:, :5]
    return tensors


@pytest.mark.parametrize("change", ["missing", "permutation", "bias", "-128", "start", "shape"])
def test_inexact_or_incomplete_networks_are_refused(change: str) -> None:
    with pytest.raises(UnsafeWeights):
        NetworkPrior(random_prior().config, broken_tensors(change))


@pytest.mark.parametrize(
    "change",
    [
        {"groups": 7},
        {"taps": 2},
        {"own_past": [9]},
        {"exponents": []},
        {"width": -1},
        {"width": "x"},
        {"lags": 10**9},
        {"lags": 4096, "head": 4096, "own_past": [0, 1, 2, 3]},
        {"taps": 4095, "width": 4096},
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnsafeWeights):
        network.parse_config({**random_prior().config, **change})


@pytest.mark.parametrize("key", ["exponents", "own_past", "width"])
def test_a_file_with_an_incomplete_configuration_is_refused(key: str, tmp_path: Path) -> None:
    prior = random_prior()
    del prior.config[key]
    save_prior(prior, tmp_path / "a.prior.safetensors")
    with pytest.raises(UnsafeWeights, match=key):
        load_prior(tmp_path / "a.prior.safetensors")


def test_small_case_has_every_feature() -> None:
    assert SMALL.phases == 2
    assert SMALL.own_past
