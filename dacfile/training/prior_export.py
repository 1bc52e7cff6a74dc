"""From the trained network's weights to the integers of a prior file, and back for further training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.network import EXPONENTS, KIND, LIMIT, STATE_SHIFT, UNIT
from dacfile.training.prior_net import Layer, PriorNet


def _whole(weight: Tensor, scale: float) -> np.ndarray:
    return torch.floor(weight.detach().double() * scale + 0.5).numpy()


def _int8(weight: Tensor, e: int) -> np.ndarray:
    return np.clip(_whole(weight, 2.0**e), -LIMIT, LIMIT).astype(np.int8)


def _bias(bias: Tensor, e: int) -> np.ndarray:
    return _whole(bias, UNIT * 2.0**e).astype(np.int32)


def _layer_tensors(layer: Layer) -> dict[str, np.ndarray]:
    e = layer.exponents
    out = {
        "table": _int8(layer.table, e.table),
        "mix": _int8(layer.mix, e.mix),
        "mix_bias": _bias(layer.mix_bias, e.mix),
        "back": _int8(layer.back, e.back),
        "head": _int8(layer.head, e.head),
        "reference": _int8(layer.reference, e.head),
        "head_bias": _bias(layer.head_bias, e.head),
        "group": _int8(layer.group, e.group),
        "group_bias": _bias(layer.group_bias, e.group),
        "member": _int8(layer.member, e.member),
        "member_bias": _bias(layer.member_bias, e.member),
    }
    if layer.has_past:
        out["recent"] = np.clip(_whole(layer.recent, UNIT), -LIMIT, LIMIT).astype(np.int8)
        out["past"] = _int8(layer.past, e.head)
    return out


def export(net: PriorNet, info: dict[str, str] | None = None) -> NetworkPrior:
    """Return the integer prior of a trained network. Raises UnsafeWeights if its sums could reach 2**24."""
    net.choose_exponents()
    tensors = {"start": _whole(net.start, UNIT << STATE_SHIFT).astype(np.int32)}
    rows = []
    for k, layer in enumerate(net.modules_of_codebooks()):
        tensors.update({f"{k}.{name}": tensor for name, tensor in _layer_tensors(layer).items()})
        tensors[f"{k}.order"] = net.order[k].numpy().astype(np.uint16)
        rows.append([getattr(layer.exponents, name) for name in EXPONENTS])
    config = {"kind": KIND, "version": 1, **net.config.as_dict(), "exponents": rows}
    return NetworkPrior(config, tensors, info)


def restore(prior: NetworkPrior) -> PriorNet:
    """Return a network with the weights of a prior, to be trained further."""
    net = PriorNet(prior.sizes, torch.from_numpy(_stacked(prior, "order").astype(np.int64)))
    with torch.no_grad():
        net.start.copy_(torch.from_numpy(prior.tensors["start"]) / (UNIT << STATE_SHIFT))
        for k, layer in enumerate(net.modules_of_codebooks()):
            e = dict(zip(EXPONENTS, prior.config["exponents"][k], strict=True))
            e["reference"] = e["past"] = e["head"]
            for name, parameter in layer.named_parameters():
                whole = torch.from_numpy(prior.tensors[f"{k}.{name}"]).float()
                scale = UNIT if name == "recent" else 2.0 ** e[name.removesuffix("_bias")]
                parameter.copy_(whole / (scale * UNIT if name.endswith("_bias") else scale))
    net.choose_exponents()
    return net


def _stacked(prior: NetworkPrior, name: str) -> np.ndarray:
    return np.stack([prior.tensors[f"{k}.{name}"] for k in range(prior.codebooks)])
