"""Fine-tuning in one call: a bundled model's decoder learns from a folder of audio, and is installed under a name.

The encoder and the codebooks stay, and so do the codes: the model's prior and second look fit as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from dacfile.entropy import StoredPrior, load_prior
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.files import save_prior
from dacfile.errors import UsageError
from dacfile.folders import BUNDLED, MODEL_SUFFIX, PRIOR_SUFFIX
from dacfile.model import store
from dacfile.model.checkpoint import load_model
from dacfile.model.lapped import Lapped
from dacfile.model.rdo import WEIGHT_KEY
from dacfile.model.store import ModelEntry
from dacfile.priors import add_prior
from dacfile.training.config import CONFIGS
from dacfile.training.corpus import Corpus, prepare
from dacfile.training.export import export_weights
from dacfile.training.record import read_scores
from dacfile.training.trainer import CHECKPOINT, Trainer, run
from dacfile.training.validation import evaluate, split_corpus

LEARNING_RATE = 3e-4
SUFFIX = "-decoder"  # of the configurations that leave the codes as they are
BASES = sorted(name.removesuffix(SUFFIX) for name in CONFIGS if name.endswith(SUFFIX))


@dataclass(frozen=True)
class Tuned:
    """The installed model, and the scores, before and after, of so many channels that training did not see."""

    entry: ModelEntry
    held_out: int
    before: dict[str, float]
    after: dict[str, float]


def tune(base: str, audio: Path, name: str, folder: Path, steps: int, device: str) -> Tuned:
    """Tune a bundled model on all audio below a folder and install it; go on where a call before was stopped.

    What a run needs to go on is in `folder`. Raises UsageError or OutputExists for a name that cannot be used,
    UsageError for less than two recordings.
    """
    store.target_for(name)
    weights, prior_file = (BUNDLED / f"{base}{suffix}" for suffix in (MODEL_SUFFIX, PRIOR_SUFFIX))
    model = cast(Lapped, load_model(weights)[0])
    trainer = _trainer(base, _cache(audio, folder / "cache", model.facts.rate), steps, device)
    trainer.warm_start(model)
    prior = load_prior(prior_file)
    trainer.set_rdo(cast(NetworkPrior, prior))
    before = evaluate(trainer.average, trainer.validation)
    if (folder / CHECKPOINT).exists():
        trainer.load(folder / CHECKPOINT)
    run(trainer, folder)
    after = read_scores(folder)[-1]
    entry = _install(name, folder, weights if model.look else None, prior, f"{base}, tuned")
    return Tuned(entry, len(trainer.validation.stretches), before, after)


def _cache(audio: Path, cache: Path, rate: int) -> Corpus:
    if not (cache / "index.json").exists():
        prepare(audio, cache, rate)
    return Corpus(cache)


def _trainer(base: str, corpus: Corpus, steps: int, device: str) -> Trainer:
    config = replace(CONFIGS[base + SUFFIX], steps=steps, learning_rate=LEARNING_RATE)
    if not split_corpus(corpus)[0].stretches:
        raise UsageError("at least two recordings are needed: one is kept out, to tell what it is worth")
    return Trainer(config, corpus, device)


def _install(name: str, folder: Path, look: Path | None, prior: StoredPrior, description: str) -> ModelEntry:
    exported, tied_prior = folder / f"{name}{MODEL_SUFFIX}", folder / f"{name}{PRIOR_SUFFIX}"
    card = {"description": description, "source": "fine-tuned with dacfile.training"}
    tied(prior, name, export_weights(folder / CHECKPOINT, exported, card, look=look))
    save_prior(prior, tied_prior)
    add_prior(tied_prior, name)
    return store.add(exported, name)


def tied(prior: StoredPrior, name: str, model_id: bytes, rdo: float | None = None) -> None:
    """Say in a prior that it belongs to some weights, under their name, and how codes are to be chosen by it."""
    prior.info = {**prior.info, "name": name, "model": model_id.hex()}
    if rdo is not None:
        prior.info = {**prior.info, WEIGHT_KEY: f"{rdo:g}"}
