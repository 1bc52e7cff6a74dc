"""Judging a model on stretches of the corpus that are kept out of training."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from dacfile.model.lapped import Lapped
from dacfile.quality.perceptual import pesq_wideband, visqol
from dacfile.quality.spectral import mel_distance
from dacfile.quality.waveform import si_sdr
from dacfile.training.corpus import Corpus, Stretch
from dacfile.training.sampler import SILENCE_RMS, SPEECH, root_mean_square

SECONDS = 5.0
# Stretches shorter than this many seconds are scraps.
SHORTEST = 0.1
LEVEL_DB = -20.0
# Every so many stretches of the corpus are kept out of training.
STRIDE = 24


def split_corpus(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """Return (training, held out): views of the corpus with disjoint recordings."""
    training, held_out = copy.copy(corpus), copy.copy(corpus)
    held_out.stretches = corpus.stretches[::STRIDE]
    names = {s.name.rsplit(":", 1)[0] for s in held_out.stretches}
    training.stretches = [s for s in corpus.stretches if s.name.rsplit(":", 1)[0] not in names]
    return training, held_out


def reconstruct(model: Lapped, samples: Tensor, codebooks: int | None = None) -> Tensor:
    """Return what is left of samples [1, n] after coding them with the first `codebooks` codebooks."""
    zero = torch.zeros(1, dtype=torch.long, device=samples.device)
    codes = model.encode(model.padded(samples))[:, :codebooks]
    return model.decode(codes, zero, zero)[:, : samples.shape[1]]


def excerpt(corpus: Corpus, stretch: Stretch, rate: int) -> Tensor | None:
    """Return the first seconds of a stretch, float32 [1, n], levelled; None for silence, scraps and sides."""
    audio = corpus.read(stretch, 0, int(SECONDS * rate))
    rms = root_mean_square(audio)
    if rms < SILENCE_RMS or len(audio) < SHORTEST * rate or stretch.name.endswith(":side"):
        return None
    return torch.from_numpy(audio * np.float32(10 ** (LEVEL_DB / 20) / rms))[None]


@torch.no_grad()
def evaluate(
    model: Lapped, corpus: Corpus, codebooks: int | None = None, opinions: Collection[str] = ()
) -> dict[str, float]:
    """Return mean scores over the first seconds of every stretch: "mel", "si_sdr" in dB, and both by category.

    `opinions`: "pesq" (of the speech) and "visqol" (of everything, and by category; about two seconds a stretch).
    Raises UsageError when a package for them is missing.
    """
    rate, scores = model.facts.rate, defaultdict[str, list[float]](list)
    for stretch in corpus.stretches:
        reference = excerpt(corpus, stretch, rate)
        if reference is None:
            continue
        reference = reference.to(model.decoder.noise.device)
        estimate = reconstruct(model, reference, codebooks)
        values = {
            "mel": float(mel_distance(reference, estimate, rate)),
            "si_sdr": float(si_sdr(reference, estimate)),
        }
        pair = reference[0].cpu().numpy(), estimate[0].cpu().numpy()
        if "visqol" in opinions:
            values["visqol"] = visqol(*pair, rate)
        for name, value in values.items():
            scores[name].append(value)
            scores[f"{name} {stretch.category}"].append(value)
        if "pesq" in opinions and stretch.category == SPEECH:
            scores["pesq"].append(pesq_wideband(*pair, rate))
    return {name: float(np.nanmean(values)) for name, values in scores.items()}


@torch.no_grad()
def examples(model: Lapped, corpus: Corpus, count: int = 6) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (reference, reconstruction), float32 [n], of stretches spread over the corpus, by their names."""
    pairs = {}
    for stretch in corpus.stretches[:: max(1, len(corpus.stretches) // count)][:count]:
        audio = corpus.read(stretch, 0, int(SECONDS * model.facts.rate))
        estimate = reconstruct(model, torch.from_numpy(audio)[None].to(model.decoder.noise.device))
        pairs[stretch.name] = (audio, estimate[0].cpu().numpy())
    return pairs
