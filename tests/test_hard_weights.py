"""Hostile weights and priors: damaged files of every kind in a child with little memory, and a store full of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from network_case import random_prior
from small_models import SMALL_DAC, SMALL_LAPPED
from test_checkpoint import forged
from weights_files import write_bomb

from dacfile.entropy import find_prior, load_prior
from dacfile.entropy.files import save_prior
from dacfile.errors import ModelMismatch, ModelNotFound, PriorNotFound, UnsafeWeights
from dacfile.model import store
from dacfile.model.base import build
from dacfile.model.checkpoint import load_model, model_id
from dacfile.model.native import FORMAT, canonical_json

FUZZER = Path(__file__).with_name("fuzz_weights.py")


@pytest.mark.parametrize("kind", ["priors", "models"])
def test_damaged_files_raise_our_errors_within_little_memory(kind: str) -> None:
    command = [sys.executable, FUZZER, "--count", "200", "--seed", "11", "--kind", kind]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("200 cases")
    assert "'UnsafeWeights'" in done.stdout


def lying(path: Path, tensors: dict[str, dict[str, object]], body: bytes, metadata: dict[str, str]) -> Path:
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


HUGE = [
    {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
    {"a": {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 16]}},
    {"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}},
    {key: {"dtype": "I8", "shape": [16], "data_offsets": [0, 16]} for key in "ab"},
]
LIES = ["longer than the file", "overflow", "overflow to nothing", "overlapping"]


@pytest.mark.parametrize(
    "tensors", HUGE, ids=["longer than the file", "overflow", "overflow to nothing", "overlapping"]
)
@pytest.mark.parametrize("loader", [load_model, load_prior])
def test_shapes_that_lie(tmp_path: Path, tensors: dict, loader) -> None:
    metadata = {"format": FORMAT, "config": canonical_json(SMALL_DAC), "id": "00" * 16}
    path = lying(tmp_path / "a.prior.safetensors", tensors, bytes(16), metadata)
    with pytest.raises(UnsafeWeights) as caught:
        loader(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("config", [SMALL_DAC, SMALL_LAPPED], ids=["dac", "lapped"])
def test_weights_that_are_no_numbers(tmp_path: Path, config: dict, value: float) -> None:
    model = build(config)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name].view(-1)[3] = value
    metadata = {"format": FORMAT, "config": canonical_json(model.config), "id": model_id(model.config, tensors).hex()}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ModelMismatch, match="NaN or infinity"):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"exponent": 0.0},
        {"exponent": None},
        {"exponent": -1},
        {"energy_weight": 0.0},
        {"energy_weight": "1"},
        {"energy_weight": None},
        {"kernel": 0},
        {"split": 0},
        {"hop": 0},
        {"rate": 0},
        {"codebooks": 0},
        {"look_blocks": -1, "look_width": 8},
        {"look_blocks": 1},
        {"look_blocks": 2, "look_width": 10**9},
        {"look_blocks": 1, "look_width": None},
        {"post_bins": 8},
        {"post_bins": -8, "post_window": 64, "post_width": 4},
        {"post_bins": 8, "post_window": 64, "post_width": -1},
        {"post_bins": 8, "post_window": 48, "post_width": 4},
        {"post_bins": 8, "post_window": 4096, "post_width": 4},
        {"post_bins": 10**6, "post_window": 4 * 10**6, "post_width": 4},
        {"post_bins": 8, "post_window": 64, "post_width": 10**9},
        {"post_bins": 8, "post_window": "64", "post_width": 4},
    ],
)
def test_impossible_numbers_of_a_lapped_network(tmp_path: Path, change: dict) -> None:
    with pytest.raises(ModelMismatch):
        load_model(forged(tmp_path / "m.safetensors", {**SMALL_LAPPED, **change}))


def test_whole_numbers_in_place_of_weights(tmp_path: Path) -> None:
    model = build(SMALL_DAC)
    tensors = {name: tensor.round().to(torch.int64) for name, tensor in model.state_dict().items()}
    metadata = {"format": FORMAT, "config": canonical_json(model.config), "id": model_id(model.config, tensors).hex()}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ModelMismatch, match="wrong type"):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize("config", ['{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}', "[" * 100_000, "1" * 100_000])
def test_configurations_that_python_reads_and_json_does_not_allow(tmp_path: Path, config: str) -> None:
    metadata = {"format": FORMAT, "config": config, "id": "00" * 16}
    safetensors.numpy.save_file({"a": np.zeros(4, np.float32)}, tmp_path / "a.prior.safetensors", metadata)
    with pytest.raises(ModelMismatch):
        load_model(tmp_path / "a.prior.safetensors")
    with pytest.raises(UnsafeWeights):
        load_prior(tmp_path / "a.prior.safetensors")


@pytest.mark.parametrize("kind", [[], {}, None, 7, "nothing known"])
def test_kinds_of_priors_that_are_none(tmp_path: Path, kind: object) -> None:
    prior = random_prior()
    metadata = {"config": json.dumps({**prior.config, "kind": kind}), "id": prior.id.hex()}
    safetensors.numpy.save_file(prior.tensors, tmp_path / "a.prior.safetensors", metadata)
    with pytest.raises(UnsafeWeights, match="unknown kind"):
        load_prior(tmp_path / "a.prior.safetensors")


def test_a_prior_that_claims_another_id_is_found_and_refused(tmp_path: Path) -> None:
    """A file cannot slip in under the id that an archive names: the id is a hash of what is loaded."""
    wanted, other = random_prior(seed=1), random_prior(seed=2)
    save_prior(other, tmp_path / "a.prior.safetensors")
    data = (tmp_path / "a.prior.safetensors").read_bytes()
    (tmp_path / "a.prior.safetensors").write_bytes(data.replace(other.id.hex().encode(), wanted.id.hex().encode()))
    with pytest.raises(UnsafeWeights, match="does not match its own id"):
        find_prior(wanted.id, [tmp_path])
    with pytest.raises(PriorNotFound):
        find_prior(other.id, [tmp_path])


@pytest.fixture
def hostile_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DACZ_MODELS", str(tmp_path / "store"))
    folder = tmp_path / "store"
    folder.mkdir()
    for number, tensors in enumerate(HUGE):
        lying(folder / f"huge{number}.safetensors", tensors, bytes(16), {"format": FORMAT})
        lying(folder / f"huge{number}.prior.safetensors", tensors, bytes(16), {})
    (folder / "header.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{")
    (folder / "deep.safetensors").write_bytes((50_000).to_bytes(8, "little") + b'{"a":' + b"[" * 49_995)
    (folder / "empty.safetensors").touch()
    (folder / "link.safetensors").symlink_to("nowhere")
    (folder / "folder.safetensors").mkdir()
    (folder / "\x1b[31mred.safetensors").write_bytes(b"no")
    write_bomb(folder / "bomb.safetensors", tmp_path / "canary")
    return folder


def test_a_store_full_of_hostile_files_can_be_listed_and_searched(hostile_store: Path, tmp_path: Path, dacz) -> None:
    names = {entry.name for entry in store.list_models()}
    assert not names & {"bomb", "header", "deep", "empty", "link"}
    with pytest.raises(ModelNotFound):
        store.find(bytes(16))
    with pytest.raises(PriorNotFound):
        find_prior(bytes(16))
    listed = dacz("models", "list")
    assert listed.out.startswith("name")
    assert "internal error" not in listed.err
    assert "\x1b" not in listed.out + listed.err
    assert not (tmp_path / "canary").exists()
