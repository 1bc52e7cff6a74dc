"""Rate-distortion optimised codes: bits are the prior's, cheap codes win as bits weigh more, files decode as ever."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from network_case import likely_codes, random_prior

import dacfile
from dacfile.entropy.network import NetworkConfig
from dacfile.errors import UsageError
from dacfile.installed import default_prior
from dacfile.model import lapped_cpu, products_cpu
from dacfile.model.lapped_quantizer import LappedQuantizer
from dacfile.model.rdo import WEIGHT_KEY, PriorLikelihoods, RdoChoice, own_past, spacing, suggested_weight

CPU = torch.device("cpu")
SIZES = NetworkConfig(3, 64, 8, width=12, hidden=20, taps=3, head=16, own_past=(0, 2), lags=3, past_width=6)


@pytest.fixture(scope="module")
def quantizer() -> LappedQuantizer:
    torch.manual_seed(1)
    return LappedQuantizer(3, 24, 4, 64).requires_grad_(False)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, (2 * 44100, 1)).astype(np.float32)


@torch.inference_mode()
def bits_of(likelihoods: PriorLikelihoods, codes: torch.Tensor) -> np.ndarray:
    """Return the bits of codes [B, K, L], layer by layer."""
    state, bits = likelihoods.start(len(codes), codes.shape[-1]), []
    for k in range(codes.shape[1]):
        likelihood = likelihoods.log_likelihood(k, state, codes[:, k])
        place = torch.argsort(likelihoods.orders[k])[codes[:, k]]
        bits.append(float(likelihood.gather(-1, place[..., None]).sum()) / -math.log(2))
        state = likelihoods.learn(k, state, codes[:, k])
    return np.array(bits)


@pytest.mark.parametrize("seed", [0, 1])
def test_prices_are_what_the_prior_spends(seed):
    prior = random_prior(SIZES, seed, scale=40)
    (codes,) = likely_codes(prior, [(3, 2000)])
    stored = [8 * len(stream) for stream in prior.encode_layers([[codes]], [0])[0][0]]
    found = bits_of(PriorLikelihoods(prior, CPU), torch.from_numpy(codes.astype(np.int64))[None])
    assert found == pytest.approx(stored, rel=0.01, abs=40)


def test_likelihoods_are_a_distribution():
    likelihoods = PriorLikelihoods(random_prior(SIZES), CPU)
    codes = torch.randint(64, (2, 30))
    likelihood = likelihoods.log_likelihood(0, likelihoods.start(2, 30), codes)
    torch.testing.assert_close(likelihood.exp().sum(-1), torch.ones(2, 30))


@torch.inference_mode()
def test_more_weight_on_bits_means_fewer_bits_and_more_error(quantizer):
    prior = random_prior(SIZES, scale=40)
    latent, results = torch.randn(2, 400, 24), []
    for weight in (0.0, 0.5, 2.0):
        codes = quantizer.encode(latent, RdoChoice(PriorLikelihoods(prior, CPU), quantizer, weight))
        stage = quantizer.stages[0]
        error = float((stage.project_in(latent) - stage.codebook[codes[:, 0]]).square().mean())
        results.append((bits_of(PriorLikelihoods(prior, CPU), codes)[0], error))
    (most, least), (fewer, more), (fewest, worst) = results
    assert most > 1.01 * fewer > 1.01 * fewest
    assert least < more < worst


@torch.inference_mode()
def test_without_weight_the_nearest_entries_are_taken(quantizer):
    latent = torch.randn(2, 50, 24)
    codes = quantizer.encode(latent, RdoChoice(PriorLikelihoods(random_prior(SIZES), CPU), quantizer, 0.0))
    assert torch.equal(codes, quantizer.encode(latent))


@torch.inference_mode()
def test_a_channel_does_not_depend_on_its_batch(quantizer):
    choice, latent = RdoChoice(PriorLikelihoods(random_prior(SIZES), CPU), quantizer, 0.5), torch.randn(3, 60, 24)
    codes = quantizer.encode(latent, choice)
    for row in range(3):
        assert torch.equal(quantizer.encode(latent[row : row + 1], choice)[0], codes[row])


def test_spacing_is_the_mean_square_distance_to_the_nearest_neighbour():
    assert spacing(torch.tensor([[0.0, 0], [3, 4], [3, 5]])) == pytest.approx((25 + 1 + 1) / 3)


@pytest.mark.parametrize("product", [products_cpu.packed, products_cpu.whole])
@torch.inference_mode()
def test_fast_products_choose_the_same(quantizer, product):
    if not (products_cpu.is_supported() and products_cpu.is_whole_supported()):
        pytest.skip("PyTorch without oneDNN")
    prior, latent = random_prior(SIZES, scale=40), torch.randn(1, 300, 24)
    plain, fast = (
        lapped_cpu.FastQuantizer(quantizer).encode(
            latent, RdoChoice(PriorLikelihoods(prior, CPU, made), quantizer, 0.5)
        )
        for made in (products_cpu.plain, product)
    )
    assert (plain != fast).float().mean() < 0.01


def test_own_past_is_the_sum_over_the_frames_before():
    table, codes = torch.randn(5, 3, 2), torch.randint(5, (2, 7))
    wanted = torch.zeros(2, 7, 2)
    for row, frame in np.ndindex(2, 7):
        for lag in range(1, min(3, frame) + 1):
            wanted[row, frame] += table[codes[row, frame - lag], lag - 1]
    torch.testing.assert_close(own_past(table, codes), wanted)


def test_a_codec_of_a_bundled_model_makes_smaller_files(noise, tmp_path):
    sizes = []
    for rdo in (0.0, 0.5):
        codec = dacfile.load_codec("44k", "cpu", rdo=rdo)
        codes = codec.encode(noise)
        sizes.append(dacfile.write(tmp_path / f"{rdo}.dacz", codes, codec).stat().st_size)
        with dacfile.open(tmp_path / f"{rdo}.dacz") as file:
            assert np.array_equal(file.codes(), codes)
    assert sizes[1] < 0.99 * sizes[0]


@pytest.mark.parametrize(
    ("text", "weight"),
    [("0.5", 0.5), ("0", 0.0), ("-1", 0.0), ("nan", 0.0), ("inf", 0.0), ("1e300", 0.0), ("much", 0.0), (None, 0.0)],
)
def test_a_prior_says_what_its_model_was_trained_with(text, weight):
    prior = random_prior(SIZES)
    prior.info = {} if text is None else {WEIGHT_KEY: text}
    assert suggested_weight(prior) == weight
    assert suggested_weight(None) == 0.0


def test_the_weight_of_the_prior_is_the_default(noise, monkeypatch):
    prior = default_prior("44k", dacfile.load_codec("44k", "cpu").id)
    monkeypatch.setitem(prior.info, WEIGHT_KEY, "0.7")
    same = [dacfile.load_codec("44k", "cpu", rdo=rdo).encode(noise) for rdo in (None, 0.7)]
    assert np.array_equal(*same)


def test_codes_do_not_depend_on_how_the_samples_come(noise):
    from dacfile.stream import StreamEncoder

    codec = dacfile.load_codec("44k", "cpu", rdo=0.5)
    encoder = StreamEncoder(codec, 1)
    parts = [encoder.push(noise[start : start + 7919]) for start in range(0, len(noise), 7919)]
    assert np.array_equal(np.concatenate([*parts, encoder.finish()], -1), codec.encode(noise))


@pytest.mark.parametrize("prior", [None, random_prior(SIZES)])
def test_without_a_prior_that_fits_the_nearest_entries_are_taken(noise, prior):
    codec = dacfile.load_codec("44k", "cpu")
    codec.set_rdo(lambda: prior, 0.5)
    assert np.array_equal(codec.encode(noise), dacfile.load_codec("44k", "cpu", rdo=0).encode(noise))


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_impossible_weights_are_refused(weight, tmp_path):
    with pytest.raises(UsageError, match="cannot weigh"):
        dacfile.load_codec("44k", "cpu", rdo=weight)
