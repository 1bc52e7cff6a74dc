"""From a training checkpoint to what is shipped: the averaged weights in half precision, and the codes of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from dacfile.model.base import Model
from dacfile.model.checkpoint import save_native
from dacfile.training.corpus import Corpus

# Level at which codes for a prior are made: near where the compressor's gain puts a file.
CODING_RMS_DB = -20.0
SILENCE_RMS = 1e-4


def export_weights(checkpoint: Path, target: Path, people: Mapping[str, str]) -> bytes:
    """Write the averaged weights of a checkpoint as a native weights file; return the model's id."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return save_native(target, state["config"], state["average"], people)


def level(audio: np.ndarray) -> np.ndarray | None:
    """Return audio at the coding level, limited to a peak of 1; None for silence."""
    rms = float(np.sqrt(np.mean(audio**2))) if len(audio) else 0.0
    if rms < SILENCE_RMS:
        return None
    return audio * min(10 ** (CODING_RMS_DB / 20) / rms, 1 / float(np.abs(audio).max()))


@torch.inference_mode()
def encode_corpus(model: Model, corpus: Corpus) -> dict[str, np.ndarray]:
    """Return the codes of every stretch that is not silent, uint16 [K, T], by name."""
    facts, codes = model.facts, {}
    for stretch in corpus.stretches:
        audio = level(corpus.read(stretch))
        if audio is None:
            continue
        frames = facts.frames(len(audio))
        samples = torch.from_numpy(audio.astype(np.float32))[None]
        padded = pad(samples, (facts.lead, frames * facts.hop - len(audio)))
        codes[stretch.name] = model.encode(padded)[0].numpy().astype(np.uint16)
    return codes


def write_codes(model: Model, corpus: Corpus, target: Path) -> None:
    """Write the codes of a corpus as an npz archive, the input of the prior's training."""
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, allow_pickle=False, **encode_corpus(model, corpus))
