"""The codec's training loop: one resumable run of a `TrainingConfig`."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dacfile.device import cuda_products
from dacfile.entropy.context import NetworkPrior
from dacfile.errors import ModelMismatch
from dacfile.model.base import Config, Model
from dacfile.model.facts import SIDE
from dacfile.model.lapped import LOOK_KEYS, POST_KEYS, Lapped
from dacfile.model.look import SecondLook, look_inputs
from dacfile.model.rdo import PriorLikelihoods, RdoChoice
from dacfile.quality.reconstruction import ReconstructionLoss
from dacfile.training.analytic import initialise
from dacfile.training.codebooks import QuantizerTrainer
from dacfile.training.config import TrainingConfig
from dacfile.training.corpus import Corpus
from dacfile.training.discriminators import Adversary, Discriminators
from dacfile.training.levels import level_loss
from dacfile.training.loudness import LoudnessLoss
from dacfile.training.noise import noise_tables
from dacfile.training.paper_discriminators import PaperDiscriminators
from dacfile.training.record import log_losses, log_scores, write_samples
from dacfile.training.sampler import Sampler
from dacfile.training.similarity import SimilarityLoss
from dacfile.training.validation import evaluate, examples, split_corpus

LOG_EVERY = 50
CHECKPOINT = "last.pt"


class Trainer:
    """Model, optimiser, averages and data of one run; `step` until done, `save` and `load` at any time."""

    def __init__(self, config: TrainingConfig, corpus: Corpus, device: str = "cpu") -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.step_number = config, torch.device(device), 0
        training, self.validation = split_corpus(corpus)
        self.sampler = Sampler(training, config.sampler, config.seed)
        self.model = Lapped(vars(config.model)).to(self.device)
        self.quantizer = QuantizerTrainer(
            self.model.quantizer, config.quantizer_dropout, frozen=config.decoder_only or config.look_only
        ).to(self.device)
        self._freeze()
        self.loss = ReconstructionLoss(config.model.rate, waveform_hz=config.waveform_hz).to(self.device)
        self.loudness = LoudnessLoss(config.model.rate).to(self.device)
        self.similarity = SimilarityLoss(config.model.rate).to(self.device)
        self.optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            config.learning_rate,
            betas=(0.8, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.adversary = None if config.adversarial_from is None else self._adversary()
        self.average = copy.deepcopy(self.model).eval()

    def _adversary(self) -> Adversary:
        network = PaperDiscriminators() if self.config.paper_discriminators else Discriminators()
        return Adversary(network, self.config.adversary_rate, self.device)

    def _freeze(self) -> None:
        """Leave alone what the configuration says."""
        if self.config.decoder_only or self.config.look_only:
            self.model.requires_grad_(False)
        if self.config.decoder_only:
            self.model.decoder.requires_grad_(True)
        if self.config.look_only:
            self.look.requires_grad_(True)

    @property
    def look(self) -> SecondLook:
        """The second look of the trained model. Raises ModelMismatch when its configuration has none."""
        if self.model.look is None:
            raise ModelMismatch("there is no second look in this configuration")
        return self.model.look

    def start(self, noise: Tensor | None = None, segments: int = 500) -> None:
        """Set the analytic start; takes a minute or two."""
        numbers = self.config.model
        samples = torch.from_numpy(self.sampler.batch(segments, self.segment_samples).samples)
        table = noise_tables(numbers.rate, numbers.hop, numbers.noise_frames) if noise is None else noise
        self.model.cpu()
        initialise(self.model, samples, table)
        self.model.to(self.device)
        self.quantizer.reset()
        self.average.load_state_dict(self.model.state_dict())

    def warm_start(self, model: Model) -> None:
        """Start from the weights of a model of the same configuration, but for second look and post-filter.

        Without a look of its own a run does not need the model's; a run with a look, or a post-filter, can begin it.
        Raises ModelMismatch for another configuration.
        """
        begun: list[str] = []
        if isinstance(model, Lapped):
            model = model if self.model.look else model.without_look()
            begun += () if model.look else LOOK_KEYS
            begun += () if model.decoder.post else POST_KEYS
        self._check_config({**model.config, **{key: self.model.config[key] for key in begun}})
        self.model.load_state_dict({**self.model.state_dict(), **model.state_dict()})
        self.quantizer.reset()
        self.average.load_state_dict(self.model.state_dict())

    def _check_config(self, config: Config) -> None:
        # Runs from before there was a look, or a post-filter, do not mention it.
        if {**dict.fromkeys(LOOK_KEYS + POST_KEYS, 0), **config} != self.model.config:
            raise ModelMismatch(f"the weights are of another configuration: {config}, not {self.model.config}")

    def set_rdo(self, prior: NetworkPrior) -> None:
        """Choose codes as an encoder does that has this prior: by their distance and their bits."""
        likelihoods = PriorLikelihoods(prior, self.device)
        self.quantizer.choice = RdoChoice(likelihoods, self.model.quantizer, self.config.rdo_weight)
        self.average.choice = RdoChoice(likelihoods, self.average.quantizer, self.config.rdo_weight)

    @property
    def segment_samples(self) -> int:
        """Samples that give `frames` frames."""
        return (self.config.frames + 1) * self.config.model.hop

    def learning_rate(self) -> float:
        """Return the rate of the next step: warm-up, constant, linear fall."""
        config, step = self.config, self.step_number
        fall = config.steps * config.decay_share
        share = min(1.0, (step + 1) / config.warmup, max(0.0, (config.steps - step) / max(1.0, fall)))
        return config.learning_rate * share

    def forward(self, samples: Tensor, speech: Tensor, synthetic: Tensor) -> dict[str, Tensor]:
        """Return the losses of samples [B, (L + 1) hop], where speech and synthetic [B] tell which are."""
        hop = self.config.model.hop
        estimate, commitment = self.coded(samples)
        reference = samples[:, hop:-hop]
        mel, stft = self.loss(estimate, reference)
        losses = {"mel": mel, "stft": stft, "commitment": commitment}
        if self.config.loudness_weight and speech.any():
            losses["loudness"] = self.loudness(estimate[speech], reference[speech]).sum() / len(speech)
        if self.config.level_weight and synthetic.any():
            loss = level_loss(self.loss, estimate[synthetic], reference[synthetic])
            losses["level"] = loss.sum() / len(synthetic)
        if self.config.similarity_weight:
            losses["similarity"] = self.similarity(estimate, reference)
        if self.adversary and self.step_number >= (self.config.adversarial_from or 0):
            losses["discriminator"] = self.adversary.judge(estimate, reference)
            losses["adversarial"], losses["matching"] = self.adversary.losses(estimate, reference)
        return losses

    def coded(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the model makes of samples [B, (L + 1) hop], [B, (L - 1) hop], and the commitment loss.

        Only the blocks run in bfloat16: the transforms need the range between the loudest and the faintest coefficient.
        """
        model = self.model
        first = torch.randint(self.config.model.noise_frames, (len(samples),), device=self.device)
        features = model.encoder.features(samples)
        noise = model.decoder.noise_at(first, torch.where(first % 2 == 0, SIDE, 0), features.shape[1])
        projected = model.encoder.project(features)
        with torch.autocast(self.device.type, torch.bfloat16):
            latent = model.encoder.blocks(projected)
        latent = latent.float()
        if model.look is not None:
            latent = latent + self.moved(model.look, samples, features, latent, noise)
        quantised, commitment, _ = self.quantizer(latent)
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = model.decoder.hidden(quantised)
        return model.decoder.synthesise(hidden.float(), noise), commitment

    def moved(self, look: SecondLook, samples: Tensor, features: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Return by what the second look moves a latent [B, L, width]; nothing is learned through what it sees."""
        with torch.no_grad():
            inputs = look_inputs(self.model, look.levels, samples, features, latent, noise)
        with torch.autocast(self.device.type, torch.bfloat16):
            move: Tensor = look(inputs)
        return move.float()

    def step(self) -> dict[str, float]:
        """Take one optimiser step; return its losses."""
        config = self.config
        batch = self.sampler.batch(config.batch, self.segment_samples)
        losses = self.forward(*(torch.from_numpy(part).to(self.device) for part in batch))
        weights = {
            "mel": config.mel_weight,
            "stft": config.stft_weight,
            "loudness": config.loudness_weight,
            "level": config.level_weight,
            "similarity": config.similarity_weight,
            "commitment": config.commitment_weight,
            "adversarial": config.adversarial_weight,
            "matching": config.matching_weight,
        }
        total = torch.stack([weights[name] * losses[name] for name in weights if name in losses]).sum()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimiser.step()
        self.step_number += 1
        self.follow()
        return {name: float(value.detach()) for name, value in losses.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged model towards the trained one."""
        decay = min(self.config.ema_decay, 1 - 1 / (self.step_number + 1))
        trained = self.model.state_dict()
        averaged = self.average.state_dict()
        torch._foreach_lerp_(list(averaged.values()), [trained[name] for name in averaged], 1 - decay)

    def state(self) -> dict:
        """Return everything that a resumed run needs."""
        return {
            "step": self.step_number,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "quantizer": self.quantizer.state_dict(),
            "adversary": self.adversary.state_dict() if self.adversary else None,
            "sampler": self.sampler.random.bit_generator.state,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "config": self.model.config,
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the one before it."""
        partial = path.with_suffix(".partial")
        torch.save(self.state(), partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ModelMismatch when it is of another configuration."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._check_config(state["config"])
        self.step_number = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.quantizer.load_state_dict(state["quantizer"])
        if self.adversary and state.get("adversary"):
            self.adversary.load_state_dict(state["adversary"])
        self.sampler.random.bit_generator.state = state["sampler"]
        torch.set_rng_state(state["torch"])
        if self.device.type == "cuda" and state.get("cuda") is not None:
            torch.cuda.set_rng_state(state["cuda"], self.device)

    def progress(self, seconds: float) -> dict[str, object]:
        """Return the first columns of a row of the log."""
        return {"step": self.step_number, "seconds": f"{seconds:.1f}", "rate": f"{self.learning_rate():.2e}"}


# The similarity loss is a small difference of large squares: TF32, PyTorch's default for convolutions, loses it.
@cuda_products(tf32=False)
def run(trainer: Trainer, folder: Path) -> None:
    """Train until the configured number of steps.

    Keeps the checkpoint `folder`/last.pt and what `dacfile.training.record` writes: losses, validation scores and
    reconstructions of a few held-out stretches.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, sums, begun = trainer.config, dict[str, float](), time.perf_counter()
    with tqdm(total=config.steps, initial=trainer.step_number, unit="step") as progress:
        while trainer.step_number < config.steps:
            for name, value in trainer.step().items():
                sums[name] = sums.get(name, 0.0) + value / LOG_EVERY
            progress.update()
            if trainer.step_number % LOG_EVERY == 0:
                log_losses(folder, trainer.progress(time.perf_counter() - begun), sums)
                progress.set_postfix({name: f"{value:.3f}" for name, value in sums.items()})
                sums.clear()
            if trainer.step_number % config.validate_every == 0 or trainer.step_number == config.steps:
                trainer.save(folder / CHECKPOINT)
                if isinstance(trainer.average.choice, RdoChoice):
                    trainer.average.choice.follow()
                log_scores(folder, trainer.step_number, evaluate(trainer.average, trainer.validation))
                write_samples(folder, config.model.rate, examples(trainer.average, trainer.validation))
