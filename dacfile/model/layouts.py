"""Layouts of `dac` weights: other people's tensor names to the published ones, weight norm to plain weights.

Known are the checkpoints of descript-audio-codec (weight norm in the old style, `weight_g` and `weight_v`, or in that
of `torch.nn.utils.parametrizations`) and of DacModel in transformers. No function changes its input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dacfile.errors import ModelMismatch

Tensors = Mapping[str, Tensor]

_PARAMETRIZED = (
    (re.compile(r"\.parametrizations\.weight\.original0$"), ".weight_g"),
    (re.compile(r"\.parametrizations\.weight\.original1$"), ".weight_v"),
)
_UNIT_PARTS = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}


def canonical(tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors under the published names, weight norm as `weight_g` and `weight_v`.

    Raises ModelMismatch when two tensors get the same name.
    """
    foreign = any(name.startswith(("encoder.conv1.", "encoder.snake1.")) for name in tensors)
    depth = len({name.split(".")[2] for name in tensors if name.startswith("encoder.block.")})
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _PARAMETRIZED:
            name = pattern.sub(replacement, name)
        name = published_name(name, depth) if foreign else name
        if name in found:
            raise ModelMismatch(f"the checkpoint holds {name} twice")
        found[name] = tensor
    return found


def published_name(name: str, depth: int) -> str:
    """Return the published name of a parameter of transformers' DacModel with `depth` blocks on each side."""
    side, _, rest = name.partition(".")
    if side not in ("encoder", "decoder"):
        return name
    layers = "block" if side == "encoder" else "model"
    ends = {"conv1": 0, "snake1": depth + 1, "conv2": depth + 2}
    first, _, tail = rest.partition(".")
    if first in ends:
        return f"{side}.{layers}.{ends[first]}.{tail}"
    block = re.fullmatch(r"block\.(\d+)\.(.+)", rest)
    if not block:
        return name
    return f"{side}.{layers}.{int(block[1]) + 1}.block.{_inside_block(block[2], side)}"


def _inside_block(rest: str, side: str) -> str:
    """Return the published name of a layer in a block: units and resampling are in opposite order on the two sides."""
    unit = re.fullmatch(r"res_unit(\d+)\.(\w+)\.(.+)", rest)
    if unit and unit[2] in _UNIT_PARTS:
        index = int(unit[1]) - 1 if side == "encoder" else int(unit[1]) + 1
        return f"{index}.block.{_UNIT_PARTS[unit[2]]}.{unit[3]}"
    ends = {"snake1": 3, "conv1": 4} if side == "encoder" else {"snake1": 0, "conv_t1": 1}
    first, _, tail = rest.partition(".")
    return f"{ends[first]}.{tail}" if first in ends else rest


def fold(tensors: Tensors) -> dict[str, Tensor]:
    """Replace `weight_g` (the lengths) and `weight_v` (the directions) by `weight` = g v / |v|, in float32.

    The norm is taken over all axes but the first, as torch.nn.utils.weight_norm does. Raises ModelMismatch when one
    of a pair is missing.
    """
    folded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if last == "weight_v":
            lengths = tensors.get(f"{stem}.weight_g")
            if lengths is None or lengths.numel() != tensor.shape[0]:
                raise ModelMismatch(f"the checkpoint has no fitting {stem}.weight_g for {name}")
            norm = tensor.float().flatten(1).norm(dim=1).view(lengths.shape)
            folded[f"{stem}.weight"] = tensor.float() * (lengths.float() / norm)
        elif last == "weight_g":
            if f"{stem}.weight_v" not in tensors:
                raise ModelMismatch(f"the checkpoint has no {stem}.weight_v for {name}")
        else:
            folded[name] = tensor.float() if tensor.is_floating_point() else tensor
    return folded


def infer_config(tensors: Tensors, rate: int) -> dict[str, Any]:
    """Return the published keyword arguments of the network that tensors (canonical names) belong to.

    Shapes tell everything but the sample rate: the resampling kernels are twice the stride. Raises ModelMismatch when
    the tensors are not those of a `dac` network.
    """
    shapes = {re.sub(r"\.weight_v$", ".weight", name): tensor.shape for name, tensor in tensors.items()}
    try:
        strides = _strides(shapes, "encoder.block.{}.block.4.weight")
        books = [name for name in shapes if re.fullmatch(r"quantizer\.quantizers\.\d+\.codebook\.weight", name)]
        dims = [shapes[f"quantizer.quantizers.{index}.codebook.weight"][1] for index in range(len(books))]
        return {
            "sample_rate": rate,
            "encoder_dim": shapes["encoder.block.0.weight"][0],
            "encoder_rates": strides,
            "latent_dim": shapes["decoder.model.0.weight"][1],
            "decoder_dim": shapes["decoder.model.0.weight"][0],
            "decoder_rates": _strides(shapes, "decoder.model.{}.block.1.weight"),
            "n_codebooks": len(books),
            "codebook_size": shapes["quantizer.quantizers.0.codebook.weight"][0],
            "codebook_dim": dims[0] if len(set(dims)) == 1 else dims,
        }
    except (KeyError, IndexError) as error:
        raise ModelMismatch(f"not the weights of a dac network: {error} is missing") from error


def _strides(shapes: Mapping[str, torch.Size], name: str) -> list[int]:
    strides: list[int] = []
    while name.format(len(strides) + 1) in shapes:
        strides.append(shapes[name.format(len(strides) + 1)][2] // 2)
    return strides
