"""Training on codes of known structure: the network finds it, and the integers code what torch promised."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dacfile.entropy import decode_blocks, encode_blocks, load_prior
from dacfile.entropy.network import NetworkConfig
from dacfile.training.prior import Recipe, batch_loss, train_network
from dacfile.training.prior_data import MISSING, Piece, Sampler, likeness, load_pieces, pair_up, split
from dacfile.training.prior_export import export, restore
from dacfile.training.prior_net import PriorNet
from dacfile.training.prior_run import blocks_of, default_config, measured_bits, train_prior, train_prior_file

SMALL = NetworkConfig(3, 16, 4, width=16, hidden=16, taps=3, head=16, own_past=(0,), lags=2, past_width=8)
RECIPE = Recipe(minutes=0.2, crops=8, length=64, learning_rate=1e-2, warm_up=10, ema_decay=0.9, evaluations=4)


def structured(seed: int, frames: int = 400, pair: bool = False) -> Piece:
    """Layer 0 walks by small steps, layer 1 repeats it with errors, layer 2 is noise; channel 1 repeats channel 0."""
    generator = np.random.default_rng(seed)
    walk = np.cumsum(generator.integers(-1, 2, frames)) % 16
    copy = np.where(generator.random(frames) < 0.2, generator.integers(0, 16, frames), (walk + 5) % 16)
    codes = np.array([walk, copy, generator.integers(0, 16, frames)]).astype(np.uint16)
    return Piece(f"piece{seed}", codes, codes.copy() if pair else None)


@pytest.fixture(scope="module")
def trained() -> PriorNet:
    torch.set_num_threads(1)
    return train_network([structured(seed, pair=seed % 2 == 0) for seed in range(40)], SMALL, RECIPE)


def test_the_network_finds_time_layers_and_the_other_channel(trained: PriorNet) -> None:
    prior = export(trained)
    bits = measured_bits(prior, *blocks_of([structured(100), structured(102)]))
    assert bits[0] < 2.4
    assert bits[1] < 3.0
    assert bits[2] <= 4.0
    block = [structured(101).first] * 2
    stored = encode_blocks(prior, [block], [0])[0]
    first, second = (sum(len(data) for data, _ in layers) for layers in stored)
    assert second < 0.7 * first


def test_integers_code_what_torch_promised(trained: PriorNet) -> None:
    piece = structured(104, 2000)
    codes = torch.from_numpy(piece.first.astype(np.int64))[None]
    with torch.no_grad():
        nats, _ = trained(codes, torch.zeros(1, 2000, dtype=torch.long))
    promised = nats.numpy() / math.log(2) / 2000
    assert np.allclose(measured_bits(export(trained), [[piece.first]], [0]), np.minimum(promised, 4), atol=0.03)


def test_a_prior_restored_for_training_is_the_same_prior(trained: PriorNet) -> None:
    prior = export(trained)
    assert export(restore(prior)).id == prior.id


def test_training_further_starts_from_the_prior(trained: PriorNet) -> None:
    heard = []
    pieces = [structured(seed) for seed in range(200, 210)]
    train_prior(pieces, SMALL, 0.01, None, heard.append, export(trained))
    assert heard[0].bits[0] < 2.6


def test_one_command_from_codes_to_prior(tmp_path: Path) -> None:
    arrays = {}
    for seed in range(12):
        piece = structured(seed, 300, pair=seed < 6)
        arrays[f"a/{seed}:mid"] = piece.first
        if piece.second is not None:
            arrays[f"a/{seed}:side"] = piece.second
    np.savez(tmp_path / "codes.npz", **arrays)
    pieces = load_pieces(tmp_path / "codes.npz")
    assert sum(piece.second is not None for piece in pieces) == 6

    class Facts:
        codebooks, codebook_size = 3, 16

    target = tmp_path / "x.prior.safetensors"
    made = train_prior_file(tmp_path / "codes.npz", target, Facts(), minutes=0.02, model_id=bytes(range(16)))
    prior = load_prior(target)
    assert prior.id == made.id
    assert (prior.info["name"], prior.info["model"]) == ("x", bytes(range(16)).hex())
    assert measured_bits(prior, *blocks_of(pieces)).mean() < 4  # bits of a raw code
    stored = encode_blocks(prior, [[pieces[0].first]], [0])
    assert np.array_equal(decode_blocks(prior, stored, [300])[0][0], pieces[0].first)


def test_codebook_sizes_that_are_no_square_get_count_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", **{"a:mono": np.random.default_rng(0).integers(0, 24, (2, 500)).astype(np.uint16)})

    class Facts:
        codebooks, codebook_size = 3, 24

    prior = train_prior_file(tmp_path / "codes.npz", tmp_path / "y.prior.safetensors", Facts(), minutes=0.01)
    assert prior.config["kind"] == "counts"
    assert prior.codebooks == 3  # one more than the codes have


def test_phases_are_learned() -> None:
    frames = np.arange(600)
    codes = np.where(frames % 2, 3, 12).astype(np.uint16)[None]
    config = NetworkConfig(1, 16, 4, phases=2, width=8, hidden=8, taps=1, head=8, own_past=(), lags=1, past_width=1)
    net = train_network([Piece(str(i), codes) for i in range(4)], config, replace(RECIPE, minutes=0.015))
    prior = export(net)
    right, wrong = (len(encode_blocks(prior, [[codes]], [first])[0][0][0][0]) for first in (0, 1))
    assert right < 60
    assert wrong > 2 * right


def test_every_parameter_learns() -> None:
    net = PriorNet(SMALL, torch.stack([torch.randperm(16) for _ in range(3)]))
    losses, frames = batch_loss(net, Sampler([structured(2, pair=True)], 64, 1).draw(4))
    assert frames.tolist() == [2 * 4 * 64] * 3
    losses.sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_layers_that_a_channel_does_not_have_take_no_part() -> None:
    """A side of one layer: its other layers add no loss, whatever would stand in for them, and get no gradient."""
    piece = structured(2, pair=True)
    thin = Piece("thin", piece.first, piece.first[:1])
    first, phase, pairs, second = Sampler([thin], 64, 1).draw(4)
    assert (second[:, 1:] == MISSING).all()
    net = PriorNet(SMALL, torch.stack([torch.randperm(16) for _ in range(3)]))
    losses, codes = batch_loss(net, (first, phase, pairs, second))
    alone, _ = batch_loss(net, (first, phase, pairs[:0], second[:0]))
    assert codes.tolist() == [512, 256, 256]
    assert losses[0] > alone[0]
    assert torch.equal(losses[1:], alone[1:])
    mono, _ = net(torch.from_numpy(second), torch.from_numpy(phase))
    assert mono[1:].tolist() == [0.0, 0.0]
    mono[0].backward()
    assert net.layers[1].head.grad is None


def test_training_with_missing_layers_codes_whole_and_thin_files() -> None:
    pieces = [Piece(p.name, p.first[:1] if i % 2 else p.first) for i, p in enumerate(structured(s) for s in range(20))]
    prior = train_prior(pieces, SMALL, 0.01)
    thin = train_prior([Piece(piece.name, piece.first[:1]) for piece in pieces], SMALL, 0.005)
    for made in (prior, thin):
        codes = structured(50).first
        stored = encode_blocks(made, [[codes]], [0])
        assert np.array_equal(decode_blocks(made, stored, [400])[0][0], codes)


def test_order_puts_codes_of_the_same_company_together() -> None:
    generator = np.random.default_rng(0)
    family = generator.integers(0, 4, 20_000)
    codes = np.array([family * 4 + generator.integers(0, 4, 20_000), family * 4 + generator.integers(0, 4, 20_000)])
    known = likeness([codes.astype(np.uint16)], 16, 4)
    assert sorted(known.order[0]) == list(range(16))
    assert all(len({code // 4 for code in known.order[0, g * 4 : g * 4 + 4]}) == 1 for g in range(4))


def test_pairs_split_and_sampler() -> None:
    arrays = {
        "x:mid": np.zeros((2, 50)),
        "x:side": np.ones((2, 50)),
        "y:side": np.ones((2, 9)),
        "z:mono": np.zeros((2, 7)),
    }
    pieces = pair_up({name: codes.astype(np.uint16) for name, codes in arrays.items()})
    assert [(piece.name, piece.second is not None) for piece in pieces] == [
        ("x", True),
        ("y:side", False),
        ("z:mono", False),
    ]
    training, held = split([Piece(str(i), np.zeros((1, 4), np.uint16)) for i in range(500)])
    assert not {piece.name for piece in training} & {piece.name for piece in held}
    assert 5 < len(held) < 60
    first, phases, pairs, second = Sampler(pieces, 30, 2).draw(16)
    assert first.shape == (16, 2, 30)
    assert second.shape == (len(pairs), 2, 30)
    assert set(np.unique(phases)) == {0, 1}


@pytest.mark.parametrize(("codebooks", "rate"), [(9, 86.2), (18, 86.2), (32, 75.0), (12, 50.0)])
def test_default_sizes_stay_within_budget(codebooks: int, rate: float) -> None:
    c = default_config(codebooks, 1024)
    products = c.taps * c.width * c.hidden + c.hidden * c.width + c.width * c.head + (c.groups + c.members) * c.head
    assert products * codebooks * rate < 101e6
    table = 1024 * c.width + 1024 * c.head + c.taps * c.width * c.hidden + c.hidden * c.width + 2 * c.head * c.width
    own = len(c.own_past) * (1024 * c.past_width + c.lags * c.past_width * c.head)
    assert codebooks * (table + 2048 + 8 * 1024) + own < 6 << 20
