"""From a training checkpoint to what is shipped: the averaged weights in half precision, and the codes of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from tqdm import tqdm

from dacfile.audio.stereo import LevelMeter, plan_channels
from dacfile.errors import ModelMismatch
from dacfile.model.base import Config, Model
from dacfile.model.checkpoint import Checkpoint, read_checkpoint, save_native
from dacfile.model.lapped import LOOK_KEYS

PAIR_COPIES = 4
DECODER, LOOK = "decoder.", "look."  # what the names of their weights begin with


def export_weights(
    checkpoint: Path,
    target: Path,
    card: Mapping[str, str],
    towards: Path | None = None,
    share: float = 0.5,
    look: Path | None = None,
) -> bytes:
    """Write the averaged weights of a checkpoint as a native weights file; return the model's id.

    `towards` is the checkpoint of another run of the decoder alone from the same weights: the decoder is then taken
    `share` of the way to that one's. `look` are weights with a second look, which is taken over: it was trained for
    this encoder and these codebooks. Raises ModelMismatch when either has another encoder or other codebooks.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config, weights = state["config"], state["average"]
    if towards is not None:
        other = torch.load(towards, map_location="cpu", weights_only=True)
        _mix_decoders(weights, other["average"], share)
    if look is not None:
        config, weights = _with_look(config, weights, read_checkpoint(look))
    return save_native(target, config, weights, card)


def _with_look(config: Config, weights: Mapping[str, Tensor], other: Checkpoint) -> tuple[Config, Mapping[str, Tensor]]:
    _check_same({name: tensor.half() for name, tensor in weights.items()}, other.tensors, DECODER)
    looks = {name: tensor for name, tensor in other.tensors.items() if name.startswith(LOOK)}
    return {**config, **{key: other.config[key] for key in LOOK_KEYS}}, {**weights, **looks}


def _check_same(weights: Mapping[str, Tensor], others: Mapping[str, Tensor], but: str) -> None:
    """Raise ModelMismatch unless all weights but those whose names begin with `but` are equal in both."""
    for name, tensor in weights.items():
        if not name.startswith(but) and not (name in others and torch.equal(tensor, others[name])):
            raise ModelMismatch(f"{name} differs: the weights are not for the same codes")


def _mix_decoders(weights: Mapping[str, Tensor], others: Mapping[str, Tensor], share: float) -> None:
    _check_same(weights, others, DECODER)
    for name, tensor in weights.items():
        if name.startswith(DECODER) and tensor.is_floating_point():
            tensor.lerp_(others[name], share)


@torch.inference_mode()
def encode(model: Model, samples: np.ndarray) -> np.ndarray:
    """Return the codes uint16 [K, T] of one coded channel, float32 [n] at the model's rate."""
    return model.encode(model.padded(torch.from_numpy(samples)[None]))[0].numpy().astype(np.uint16)


def encode_file(model: Model, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (label, codes) for each coded channel, with the gains and the stereo decision of the compressor.

    Labels are "mono", "left" and "right", or "mid" and "side": the prior is trained on pairs. Pairs are rare and come
    four times, from a quarter of a frame later each time ("1:left"...). All layers are coded, also where the compressor
    would leave some out. Files of more than two channels yield their channels as mono.
    """
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    meter = LevelMeter(rate, audio.shape[1])
    meter.push(audio)
    plan = plan_channels(meter.levels(), model.facts.codebooks)
    pair = ("mid", "side") if plan.mid_side else ("left", "right")
    is_pair = audio.shape[1] == 2 and len(plan.coded) == 2
    coded = plan.apply(audio)
    for channel in plan.coded:
        samples = coded[:, channel]
        if rate != model.facts.rate:
            samples = soxr.resample(samples, rate, model.facts.rate)
        for shift in range(PAIR_COPIES if is_pair else 1):
            codes = encode(model, np.ascontiguousarray(samples[shift * model.facts.hop // PAIR_COPIES :], np.float32))
            yield f"{shift}:{pair[channel]}" if is_pair else "mono", codes


def write_codes(model: Model, paths: Sequence[Path], target: Path) -> None:
    """Write the codes of audio files as an npz archive, the input of the prior's training."""
    codes: dict[str, Any] = {}
    for number, path in enumerate(tqdm(paths, unit="file")):
        codes.update({f"{number}:{path.name}:{label}": array for label, array in encode_file(model, path)})
    target.parent.mkdir(parents=True, exist_ok=True)
    # No allow_pickle=False: numpy before 2.2 would store it as one more array. Integers are never pickled anyway.
    np.savez_compressed(target, **codes)
