"""Weights files: read them without ever running code from them, write them, and know a model by its content.

Readable are native files (`dacfile.model.native`), checkpoints of descript-audio-codec (`state_dict` and
`metadata.kwargs`) and weights of transformers' DacModel (a bare dictionary of tensors, or safetensors, with a
`config.json` beside it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dacfile.atomic import AtomicFile
from dacfile.errors import ModelMismatch, ModelNotFound, UnsafeWeights
from dacfile.limits import DEFAULT_LIMITS
from dacfile.model.base import Config, Model, build
from dacfile.model.dac import DacConfig
from dacfile.model.facts import Facts
from dacfile.model.layouts import canonical, fold, infer_config
from dacfile.model.native import CARD_KEYS, FORMAT, canonical_json, read_metadata
from dacfile.model.picklefile import check_torch_file, sniff
from dacfile.safetensors_file import StoredTensor, write

MAX_FILE_BYTES = 4 << 30  # a network of 76 M parameters is 300 MB
_DTYPES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass
class Checkpoint:
    """What a weights file holds: the configuration and the tensors, canonical names, dtypes as stored."""

    config: Config
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)  # of a native file

    @cached_property  # it hashes every byte, and a load asks twice: for the check, and for the codec's name
    def id(self) -> bytes:
        """The 16 bytes that name this model in files; configuration and tensors must not change after it is asked."""
        return model_id(self.config, self.tensors)


def model_id(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return the first 16 bytes of the SHA-256 over configuration and tensors.

    Hashed are the canonical JSON of the configuration and a line feed; then for each tensor, sorted by name, the line
    `name dtype d0,d1,...` and a line feed, and its little-endian bytes. dtype is the safetensors name (F16, F32, ...).
    """
    digest = hashlib.sha256(canonical_json(config).encode() + b"\n")
    for name, tensor in sorted(tensors.items()):
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{name} {_dtype(name, tensor)} {shape}\n".encode())
        digest.update(_bytes(tensor))
    return digest.digest()[:16]


def read_checkpoint(path: Path, rate: int | None = None) -> Checkpoint:
    """Read any known kind of weights file; `rate` (Hz) is for those that do not say their sample rate.

    Raises ModelNotFound (no such file), UnsafeWeights (holds more than tensors, or is damaged) or ModelMismatch
    (tensors that are no known model, or not the model that the file says it is).
    """
    if not path.is_file():
        raise ModelNotFound(f"{path}: no such weights file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnsafeWeights(f"{path}: larger than any model ({MAX_FILE_BYTES >> 30} GiB)")
    try:
        kind = sniff(path)
        checkpoint = _read_safetensors(path, rate) if kind == "safetensors" else _read_torch(path, rate)
        _check_plain(checkpoint.tensors, path.stat().st_size)
        check_finite(checkpoint.tensors)
    except (ModelMismatch, UnsafeWeights) as error:
        raise type(error)(f"{path}: {error}") from error
    return checkpoint


def _read_safetensors(path: Path, rate: int | None) -> Checkpoint:
    metadata = read_metadata(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UnsafeWeights(f"damaged or not a safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        return _foreign(tensors, None, _rate_beside(path, rate))
    checkpoint = Checkpoint(_json_object(metadata.get("config", "")), tensors, metadata)
    try:
        own = checkpoint.id.hex()
    except ValueError as error:  # NaN and infinity are no JSON, but Python reads them
        raise ModelMismatch(f"its configuration is not JSON ({error})") from error
    if own != metadata.get("id"):
        raise ModelMismatch("the weights do not match their own id: the file is damaged or was changed")
    return checkpoint


def _read_torch(path: Path, rate: int | None) -> Checkpoint:
    check_torch_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds, among them the refusal to unpickle other things than tensors
        raise UnsafeWeights(f"damaged, or holds more than tensors ({_first_line(error)})") from error
    if not isinstance(content, dict):
        raise UnsafeWeights("not a dictionary of tensors")
    if "state_dict" not in content:
        return _foreign(content, None, _rate_beside(path, rate))
    metadata = content.get("metadata")
    kwargs = metadata.get("kwargs") if isinstance(metadata, dict) else None
    return _foreign(content["state_dict"], kwargs, rate)


def _foreign(state: object, kwargs: object, rate: int | None) -> Checkpoint:
    """Return the checkpoint of somebody else's `dac` weights; `kwargs` are the published constructor's, if known."""
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UnsafeWeights("not a dictionary of tensors")
    tensors = canonical({str(name): tensor.detach() for name, tensor in state.items()})
    found_rate = kwargs.get("sample_rate", rate) if isinstance(kwargs, dict) else rate
    if not isinstance(found_rate, int):
        raise ModelMismatch("nothing says the sample rate of this model; give it")
    try:
        config = DacConfig.from_dict(infer_config(tensors, found_rate))
        if isinstance(kwargs, dict) and DacConfig.from_dict(_numbers_of(kwargs)) != config:
            raise ModelMismatch("the tensors are not those of the configuration that the file names")
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelMismatch(f"not the configuration of a dac network: {error}") from error
    return Checkpoint(config.to_dict(), tensors)


def _numbers_of(kwargs: dict[Any, Any]) -> dict[str, Any]:
    """Return the constructor arguments that shape the network; training leaves others behind."""
    return {key: value for key, value in kwargs.items() if key in DacConfig.__dataclass_fields__}


def _rate_beside(path: Path, rate: int | None) -> int | None:
    """Return the rate from transformers' `config.json` in the same folder when none is given."""
    beside = path.with_name("config.json")
    if rate is not None or not beside.is_file() or beside.stat().st_size > 1 << 20:
        return rate
    found = _json_object(beside.read_text("utf-8", errors="replace")).get("sampling_rate")
    return found if isinstance(found, int) else None


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelMismatch(f"its configuration is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ModelMismatch("its configuration is no JSON object")
    return value


def _check_plain(tensors: Mapping[str, Tensor], file_bytes: int) -> None:
    """Raise UnsafeWeights for tensors that are not plain memory: a view can claim more than the file holds."""
    for name, tensor in tensors.items():
        _dtype(name, tensor)
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise UnsafeWeights(f"{name} is not a plain tensor")
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > file_bytes:
        raise UnsafeWeights("its tensors claim more than the file holds")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise ModelMismatch when a weight is NaN or infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelMismatch(f"{name} holds NaN or infinity")


def load_model(path: Path, rate: int | None = None) -> tuple[Model, Checkpoint]:
    """Read a weights file and return the network, float32 and ready for use, with what was read.

    Raises as `read_checkpoint` does.
    """
    checkpoint = read_checkpoint(path, rate)
    try:
        return instantiate(checkpoint), checkpoint
    except ModelMismatch as error:
        raise ModelMismatch(f"{path}: {error}") from error


def instantiate(checkpoint: Checkpoint) -> Model:
    """Return the network of a checkpoint, in float32, weight norm folded.

    Raises ModelMismatch when names, shapes or facts differ.
    """
    tensors = fold(checkpoint.tensors)
    check_finite(tensors)
    _check_numbers(checkpoint.config, tensors)
    model = _empty_network(checkpoint.config)
    _check_names(model.state_dict(), tensors)
    stored = checkpoint.metadata.get("facts")
    if stored is not None and Facts.from_dict(_json_object(stored)) != model.facts:
        raise ModelMismatch("the facts in the file are not those of its network")
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _empty_network(config: Config) -> Model:
    """Return a network that takes its weights from the tensors, without memory of its own where that is possible.

    `lapped` computes tables when it is built, which needs memory (and importing torch's compiler on the meta device).
    """
    if config.get("architecture") != "dac":
        return build(config)
    with torch.device("meta"):
        return build(config)


def _check_numbers(config: Config, tensors: Mapping[str, Tensor]) -> None:
    """Refuse configurations of networks far larger than the tensors: building one could take all memory.

    Every number of either architecture is a dimension of some tensor, or small, or the sample rate.
    """
    largest = max([64, *(size for tensor in tensors.values() for size in tensor.shape)])
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        limit = DEFAULT_LIMITS.rate if key in ("rate", "sample_rate") else largest
        if len(numbers) > 64 or any(isinstance(number, int) and abs(number) > limit for number in numbers):
            raise ModelMismatch(f"its configuration has an impossible {key}")


def _check_names(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    def complain(names: set[str], what: str) -> None:
        if names:
            raise ModelMismatch(f"{len(names)} tensors {what}, among them {min(names)}")

    complain(expected.keys() - found.keys(), "are missing")
    complain(found.keys() - expected.keys(), "too many")
    complain({name for name, tensor in expected.items() if tensor.shape != found[name].shape}, "have the wrong shape")
    whole = {name for name, tensor in expected.items() if tensor.is_floating_point() != found[name].is_floating_point()}
    complain(whole, "have the wrong type")


def save_native(
    path: Path,
    config: Config,
    tensors: Mapping[str, Tensor],
    card: Mapping[str, str] | None = None,
    half: bool = True,
    overwrite: bool = True,
) -> bytes:
    """Write a native weights file, atomically, and return the model's id.

    `card` may say `description`, `licence` and `source`. With `half`, floating tensors are stored as float16 (they
    run as float32 again). Raises ModelMismatch when the tensors are not those of the configuration or a weight is not
    finite.
    """
    stored = {name: _stored_form(tensor, half) for name, tensor in tensors.items()}
    check_finite(stored)
    facts = instantiate(Checkpoint(config, stored)).facts
    name = model_id(config, stored)
    metadata = {
        "format": FORMAT,
        "config": canonical_json(config),
        "facts": canonical_json(facts.to_dict()),
        "id": name.hex(),
        **{key: value for key, value in (card or {}).items() if key in CARD_KEYS},
    }
    raw = {
        key: StoredTensor(_dtype(key, value), tuple(value.shape), _bytes(value))
        for key, value in sorted(stored.items())
    }
    with AtomicFile(path, overwrite=overwrite) as stream:
        write(stream, raw, metadata)
    return name


def _stored_form(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _dtype(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in _DTYPES:
        raise UnsafeWeights(f"{name} has the type {tensor.dtype}, which no model uses")
    return _DTYPES[tensor.dtype]


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
