"""Weights files: every layout loads to the same network, and nothing but tensors is ever loaded."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from reference import seeded
from small_models import SMALL_DAC, SMALL_LAPPED
from weights_files import reference_weights, repacked, write_bare_pickle, write_bomb, write_official

from dacfile.codec import load_codec
from dacfile.errors import DaczError, ModelMismatch, ModelNotFound, UnsafeWeights
from dacfile.model.base import build
from dacfile.model.checkpoint import load_model, model_id, read_checkpoint, save_native
from dacfile.model.layouts import canonical
from dacfile.model.native import FORMAT, canonical_json, read_metadata


def codes_of(path: Path, rate: int | None = None) -> np.ndarray:
    model, _ = load_model(path, rate)
    x = torch.from_numpy(seeded.signal(4 * model.facts.hop))[None]
    return model.encode(x).numpy()


def test_official_layout_gives_the_reference_codes(tmp_path: Path) -> None:
    path = write_official(tmp_path / "weights.pth")
    codec = load_codec(path, device="cpu")
    with np.load(Path(__file__).parent / "reference" / "descript_2488.npz") as vector:
        np.testing.assert_array_equal(codec.encode(vector["x"])[0], vector["codes"])
        decoded = codec.decode(vector["codes"][None], len(vector["x"]))
        np.testing.assert_allclose(decoded[:, 0], vector["samples"][: len(decoded)], atol=1e-5)
    assert (codec.name, codec.rate, len(codec.id)) == ("weights", 44100, 16)


def test_transformers_layout_with_its_config(tmp_path: Path) -> None:
    config, tensors = reference_weights("transformers_2458")
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelMismatch, match="sample rate"):
        read_checkpoint(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    codec = load_codec(tmp_path / "model.safetensors", device="cpu")
    with np.load(Path(__file__).parent / "reference" / "transformers_2458.npz") as vector:
        np.testing.assert_array_equal(codec.encode(vector["x"])[0], vector["codes"])
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert load_codec(tmp_path / "pytorch_model.bin", device="cpu").id == codec.id


def test_every_style_of_weight_norm_has_the_same_id(tmp_path: Path) -> None:
    config, tensors = reference_weights()
    old = read_checkpoint(write_official(tmp_path / "old.pth"))
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    renamed = {
        ".".join([*name.split(".")[:-1], names.get(name.split(".")[-1], name.split(".")[-1])]): tensor
        for name, tensor in tensors.items()
    }
    torch.save({"state_dict": renamed, "metadata": {"kwargs": config}}, tmp_path / "new.pth")
    new = read_checkpoint(tmp_path / "new.pth")
    assert old.id == new.id
    assert canonical(renamed).keys() == tensors.keys()


def test_the_id_is_the_documented_hash() -> None:
    tensors = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor(3, dtype=torch.int64)}
    text = b'{"architecture":"x","n":[1,2]}\n' + b"a I64 \n" + b"\x03" + bytes(7)
    text += b"b F32 1,2\n" + np.array([1, 2], "<f4").tobytes()
    expected = hashlib.sha256(text).digest()[:16]
    assert model_id({"n": [1, 2], "architecture": "x"}, tensors) == expected
    for other in [{"b": tensors["b"].double()}, {"b": tensors["b"].T}, {"c": tensors["b"]}]:
        assert model_id({"n": [1, 2], "architecture": "x"}, {**tensors, **other}) != expected
    assert model_id({"n": [1, 3], "architecture": "x"}, tensors) != expected


@pytest.mark.parametrize("config", [SMALL_DAC, SMALL_LAPPED], ids=["dac", "lapped"])
def test_native_files_come_back(tmp_path: Path, config: dict[str, Any]) -> None:
    torch.manual_seed(5)
    model = build(config).eval()
    path = tmp_path / "m.safetensors"
    name = save_native(path, model.config, model.state_dict(), {"description": "d", "licence": "l", "other": "o"})
    loaded, checkpoint = load_model(path)
    assert checkpoint.id == name
    assert loaded.facts == model.facts
    assert loaded.config == model.config
    metadata = read_metadata(path)
    assert (metadata["id"], metadata["description"]) == (name.hex(), "d")
    assert "other" not in metadata
    for key, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[key].half().float())
    assert path.stat().st_size < 2.2 * sum(t.numel() for t in model.state_dict().values()) + 20_000
    again = tmp_path / "n.safetensors"
    save_native(again, model.config, model.state_dict(), {"licence": "l", "description": "d"})
    assert again.read_bytes() == path.read_bytes()


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    model = build(SMALL_DAC)
    path = tmp_path / "m.safetensors"
    save_native(path, model.config, model.state_dict())
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelMismatch, match="own id"):
        load_model(path)


def test_a_changed_description_is_noticed(tmp_path: Path) -> None:
    model = build(SMALL_DAC)
    path = tmp_path / "m.safetensors"
    save_native(path, model.config, model.state_dict())
    path.write_bytes(path.read_bytes().replace(b'\\"rate\\":44100', b'\\"rate\\":48000'))
    with pytest.raises(ModelMismatch, match="facts"):
        load_model(path)


def test_pickle_bombs_do_not_go_off(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for path in [write_bomb(tmp_path / "a.pth", canary), write_bare_pickle(tmp_path / "b.pth", canary)]:
        with pytest.raises(UnsafeWeights):
            load_model(path)
        assert not canary.exists()


def rebuilt(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    config, tensors = reference_weights()
    change(tensors)
    torch.save({"state_dict": tensors, "metadata": {"kwargs": config}}, path)
    return path


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def scripted(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(torch.nn.ReLU()).save(str(path))
    return path


def with_content(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def giant_view(tensors: dict[str, torch.Tensor]) -> None:
    tensors["decoder.model.1.block.2.block.1.weight_v"] = torch.zeros(1).expand(1 << 20, 1 << 20)


BAD: dict[str, tuple[Callable[[Path], Path], type[DaczError], str]] = {
    "missing file": (lambda p: p, ModelNotFound, "no such"),
    "empty": (lambda p: with_content(p, b""), UnsafeWeights, "empty"),
    "web page": (lambda p: with_content(p, b"\n<!DOCTYPE html><html>Log in</html>"), UnsafeWeights, "web page"),
    "lfs": (lambda p: with_content(p, b"version https://git-lfs.github.com/spec/v1\n"), UnsafeWeights, "LFS"),
    "text": (lambda p: with_content(p, b"hello"), UnsafeWeights, "not a weights file"),
    "truncated": (lambda p: cut(write_official(p)), UnsafeWeights, "truncated"),
    "compressed": (lambda p: repacked(write_official(p), zipfile.ZIP_DEFLATED), UnsafeWeights, "compressed"),
    "two pickles": (lambda p: repacked(write_official(p), more={"more.pkl": b"x"}), UnsafeWeights, "one small pickle"),
    "package": (lambda p: repacked(write_official(p), more={"x/y.py": b"x"}), UnsafeWeights, "program code"),
    "script": (scripted, UnsafeWeights, "program code"),
    "missing key": (lambda p: rebuilt(p, lambda t: t.pop("decoder.model.0.bias")), ModelMismatch, "missing"),
    "missing stage": (lambda p: rebuilt(p, lambda t: t.pop("encoder.block.0.weight_v")), ModelMismatch, "missing"),
    "extra key": (lambda p: rebuilt(p, lambda t: t.update(x=torch.zeros(2))), ModelMismatch, "too many"),
    "wrong shape": (
        lambda p: rebuilt(p, lambda t: t.update({"decoder.model.0.bias": torch.zeros(2)})),
        ModelMismatch,
        "wrong shape",
    ),
    "nan": (lambda p: rebuilt(p, lambda t: t["decoder.model.0.bias"].fill_(float("nan"))), ModelMismatch, "NaN"),
    "zero directions": (lambda p: rebuilt(p, lambda t: t["decoder.model.0.weight_v"].zero_()), ModelMismatch, "NaN"),
    "giant view": (lambda p: rebuilt(p, giant_view), UnsafeWeights, "claim more"),
    "sparse": (
        lambda p: rebuilt(p, lambda t: t.update({"decoder.model.0.bias": torch.zeros(48).to_sparse()})),
        UnsafeWeights,
        "plain",
    ),
    "complex": (
        lambda p: rebuilt(p, lambda t: t.update({"decoder.model.0.bias": torch.zeros(48) * 1j})),
        UnsafeWeights,
        "type",
    ),
    "other numbers": (lambda p: write_official(p, n_codebooks=4), ModelMismatch, "configuration"),
    "impossible numbers": (lambda p: write_official(p, encoder_rates="ab"), ModelMismatch, "configuration"),
    "no rate": (lambda p: write_official(p, sample_rate=None), ModelMismatch, "sample rate"),
    "a list": (lambda p: saved(p, [1, 2]), UnsafeWeights, "dictionary"),
    "other values": (lambda p: saved(p, {"state_dict": {"a": 1}}), UnsafeWeights, "dictionary"),
    "other network": (
        lambda p: saved(p, {"state_dict": {"a": torch.zeros(1)}, "metadata": {"kwargs": {"sample_rate": 1}}}),
        ModelMismatch,
        "not the weights of a dac",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_give_one_clear_line(tmp_path: Path, case: str) -> None:
    make, error, text = BAD[case]
    path = make(tmp_path / "weights.pth")
    with pytest.raises(error, match=text) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def forged(path: Path, config: dict[str, Any]) -> Path:
    """Write a native file with a right id but a configuration that its tensors do not fit."""
    tensors = {"a": torch.zeros(4)}
    metadata = {"format": FORMAT, "config": canonical_json(config), "id": model_id(config, tensors).hex()}
    safetensors.torch.save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    "config",
    [
        {**SMALL_DAC, "decoder_dim": 1 << 40},
        {**SMALL_DAC, "n_codebooks": 1 << 40},
        {**SMALL_DAC, "encoder_rates": [2] * 100000},
        {**SMALL_LAPPED, "width": 1 << 30},
        {**SMALL_LAPPED, "decoder_blocks": 1 << 40},
        {**SMALL_LAPPED, "hop": 1 << 30},
        {"architecture": ["dac"]},
        {"architecture": None},
        {},
    ],
)
def test_hostile_configurations_end_quickly(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ModelMismatch):
        load_model(forged(tmp_path / "m.safetensors", config))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 7 + b"\x7f{",
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}" + b"more",
        (20).to_bytes(8, "little") + b'{"a":1}',
        (7).to_bytes(8, "little") + b'{"a":1}',
        (60000).to_bytes(8, "little") + b"{" + b'"a":[' * 10000,
        b'{"a": 1, "b": {}}',
    ],
)
def test_damaged_safetensors(tmp_path: Path, content: bytes) -> None:
    with pytest.raises((UnsafeWeights, ModelMismatch)) as caught:
        load_model(with_content(tmp_path / "m.safetensors", content))
    assert "\n" not in str(caught.value)


def test_saving_refuses_what_could_not_be_loaded(tmp_path: Path) -> None:
    model = build(SMALL_DAC)
    state = dict(model.state_dict())
    state["decoder.model.0.bias"] = state["decoder.model.0.bias"] + 1e6  # infinite as float16
    with pytest.raises(ModelMismatch, match="infinity"):
        save_native(tmp_path / "m.safetensors", model.config, state)
    with pytest.raises(ModelMismatch, match="missing"):
        save_native(tmp_path / "m.safetensors", model.config, {})
    assert list(tmp_path.iterdir()) == []
