"""`lapped`: a residual-VQ codec between networks that work on the frames of a lapped transform (MDCT).

The low band is coded as companded coefficients, so its waveform survives; above the split the decoder adds shaped noise
from a fixed table, whose envelope is coded. Its decoder is defined in spec/dacz-v1.md, section 9.6. Shapes: B batch, L
frames, N hop = number of coefficients.
"""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from dacfile.equaliser import bin_interpolation
from dacfile.model import mdct, postfilter
from dacfile.model.base import Config, Model
from dacfile.model.convnext import blocks
from dacfile.model.facts import SIDE, Facts
from dacfile.model.lapped_quantizer import Choice, LappedQuantizer
from dacfile.model.look import SecondLook, levels_context, looked_at
from dacfile.model.postfilter import PostFilter

# Keeps the companding curve's slope finite at zero; -100 dB below full scale.
COMPAND_FLOOR = 1e-5
COMPAND_SCALE = 4.0
ENERGY_FLOOR = 1e-9
# Natural-log gains of the noise: outside this range it is inaudible or a fault.
NOISE_GAIN_RANGE = (-14.0, 3.0)
# Below the split the waveform is coded, and noise has to be learned: it starts 17 dB under the lowest band's level.
# Much fainter, and its gain would get no gradient.
NOISE_OFFSET_BELOW_SPLIT = -2.0
# A step of the gain head moves the noise by this many nepers, so that its small initial weights can act.
NOISE_GAIN_STEP = 4.0
# Offset of the noise table between coded channels, in frames: neighbours must not share noise.
CHANNEL_NOISE_OFFSET = 389
# The tables of `noise`: the noise itself, and the same with every phase moved by a quarter period, for side channels.
NOISE_TABLES = 2
# What a configuration says of the parts that not every model has.
LOOK_KEYS = ("look_blocks", "look_width")
POST_KEYS = ("post_bins", "post_window", "post_width")


@dataclass(frozen=True)
class LappedConfig:
    """Every number that the architecture depends on; part of the model id."""

    rate: int
    hop: int
    codebooks: int
    codebook_size: int = 1024
    code_dim: int = 16
    width: int = 256
    encoder_blocks: int = 6
    decoder_blocks: int = 8
    kernel: int = 7
    expansion: int = 3
    exponent: float = 0.6
    split: int = 32
    quadrature: int = 128
    energy_weight: float = 0.8
    noise_frames: int = 1024
    # Of the second look (`dacfile.model.look`); without blocks the encoder has none.
    look_blocks: int = 0
    look_width: int = 0
    # Of the post-filter (`dacfile.model.postfilter`); without bins the decoder has none.
    post_bins: int = 0
    post_window: int = 0
    post_width: int = 0
    architecture: str = "lapped"

    def __post_init__(self) -> None:
        if not (0 < self.exponent <= 1 and 0 < self.energy_weight < 1e3):
            raise ValueError(f"exponent {self.exponent} or energy weight {self.energy_weight} out of range")
        if self.look_blocks < 0 or (self.look_blocks > 0) != (self.look_width > 0):
            raise ValueError(f"a second look of {self.look_blocks} blocks and {self.look_width} numbers")
        if not self.post_bins <= self.hop or (self.post_bins == 0) != (self.post_window == self.post_width == 0):
            raise ValueError(f"a post-filter of {self.post_bins} bins of {self.hop} and {self.post_width} numbers")

    @classmethod
    def from_dict(cls, config: Config) -> LappedConfig:
        """Build from a JSON object; raises TypeError for unknown keys."""
        return cls(**config)

    @property
    def band_edges(self) -> list[int]:
        """First bins of the energy bands above the split, and their end: widths grow from 8 bins by 1.22 to 48."""
        edges, width = [self.split], 8.0
        while edges[-1] < self.hop:
            edges.append(min(self.hop, edges[-1] + round(width)))
            width = min(48.0, width * 1.22)
        if edges[-1] - edges[-2] < 8:
            edges.pop(-2)
        return edges

    @property
    def facts(self) -> Facts:
        """What the codec and the container need to know."""
        reach = self.kernel // 2
        # One more for the convolution before the blocks, one for the overlap of neighbouring frames.
        decoder_context = reach * self.decoder_blocks + 2 + postfilter.reach(self.post_bins, self.post_window)
        look_context = decoder_context + levels_context(self.hop) + reach * self.look_blocks
        return Facts(
            architecture=self.architecture,
            rate=self.rate,
            hop=self.hop,
            codebooks=self.codebooks,
            codebook_size=self.codebook_size,
            lead=self.hop,
            tail=self.hop,
            encoder_context=reach * self.encoder_blocks + (look_context if self.look_blocks else 0),
            decoder_context=decoder_context,
        )


def compand(coefficients: Tensor, exponent: float) -> Tensor:
    """Compress magnitudes: 4 sign(c) ((|c| + 1e-5)^a - 1e-5^a)."""
    magnitude = (coefficients.abs() + COMPAND_FLOOR).pow(exponent) - COMPAND_FLOOR**exponent
    return COMPAND_SCALE * coefficients.sign() * magnitude


def expand(companded: Tensor, exponent: float) -> Tensor:
    """Invert `compand`."""
    magnitude = (companded.abs() / COMPAND_SCALE + COMPAND_FLOOR**exponent).pow(1 / exponent) - COMPAND_FLOOR
    return companded.sign() * magnitude


def band_interpolation(edges: list[int], hop: int) -> Tensor:
    """Return the matrix [bands, hop] that interpolates linearly between band centres, constant beyond them."""
    centres = torch.tensor([(low + high - 1) / 2 for low, high in pairwise(edges)])
    bins = torch.arange(hop, dtype=torch.float32).clamp(float(centres[0]), float(centres[-1]))
    upper = torch.searchsorted(centres, bins).clamp(1, len(centres) - 1)
    share = (bins - centres[upper - 1]) / (centres[upper] - centres[upper - 1])
    matrix = torch.zeros(len(centres), hop)
    matrix[upper - 1, torch.arange(hop)] = 1 - share
    matrix[upper, torch.arange(hop)] += share
    return matrix


class Encoder(nn.Module):
    """Samples -> latent."""

    analysis: Tensor
    averaging: Tensor
    energy_mean: Tensor

    def __init__(self, config: LappedConfig) -> None:
        super().__init__()
        self.config = config
        edges = config.band_edges
        cosines = mdct.basis(config.hop)
        sines = mdct.basis(config.hop, sine=True)[:, : config.quadrature]
        self.register_buffer("analysis", torch.cat([cosines, sines], 1).float(), persistent=False)
        averaging = torch.zeros(config.hop, len(edges) - 1)
        for band, (low, high) in enumerate(pairwise(edges)):
            averaging[low:high, band] = 1 / (high - low)
        self.register_buffer("averaging", averaging, persistent=False)
        self.register_buffer("energy_mean", torch.zeros(len(edges) - 1))
        self.project = nn.Linear(config.hop + config.quadrature + len(edges) - 1, config.width)
        self.blocks = blocks(config.encoder_blocks, config.width, config.kernel, config.expansion)

    def features(self, samples: Tensor) -> Tensor:
        """Return companded MDCT and low MDST coefficients and band energies, [B, L, hop + quadrature + bands]."""
        spectrum = mdct.frames(samples, self.config.hop) @ self.analysis
        power = spectrum[..., : self.config.hop].square() @ self.averaging
        energies = (0.5 * torch.log(power + ENERGY_FLOOR) - self.energy_mean) * self.config.energy_weight
        return torch.cat([compand(spectrum, self.config.exponent), energies], -1)

    def latent(self, features: Tensor) -> Tensor:
        """Map features [B, L, hop + quadrature + bands] to the latent [B, L, width]."""
        latent: Tensor = self.blocks(self.project(features))
        return latent

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples [B, (L + 1) hop] to the latent [B, L, width]."""
        return self.latent(self.features(samples))


class Decoder(nn.Module):
    """Latent -> samples."""

    energy_mean: Tensor
    noise: Tensor
    synthesis: Tensor
    interpolation: Tensor
    equalising: Tensor
    offset: Tensor

    def __init__(self, config: LappedConfig) -> None:
        super().__init__()
        self.config = config
        edges = config.band_edges
        bands = len(edges) - 1
        self.enter = nn.Conv1d(config.width, config.width, 3, padding=1)
        self.blocks = blocks(config.decoder_blocks, config.width, config.kernel, config.expansion)
        self.project = nn.Linear(config.width, 2 * config.hop + bands)
        self.post = PostFilter(config.post_bins, config.post_window, config.post_width) if config.post_bins else None
        self.register_buffer("energy_mean", torch.zeros(bands))
        self.register_buffer("noise", torch.zeros(NOISE_TABLES, config.noise_frames, config.hop))
        self.register_buffer("synthesis", mdct.basis(config.hop).T.float().contiguous(), persistent=False)
        self.register_buffer("interpolation", band_interpolation(edges, config.hop), persistent=False)
        equalising = torch.from_numpy(bin_interpolation(config.hop, config.rate)).float()
        self.register_buffer("equalising", equalising, persistent=False)
        offset = torch.zeros(config.hop)
        offset[: config.split] = NOISE_OFFSET_BELOW_SPLIT
        self.register_buffer("offset", offset, persistent=False)

    def noise_at(self, first_frame: Tensor, channel: Tensor, frames: int) -> Tensor:
        """Return the noise [B, frames, hop] from absolute index first_frame [B] on, for coded channel [B] or SIDE.

        The side of a mid has the mid's noise a quarter period on: left and right, their sum and difference, then have
        its flat spectrum, which two unrelated noises would not give, and the energy of both.
        """
        side = (channel == SIDE).long()
        start = first_frame + CHANNEL_NOISE_OFFSET * channel * (1 - side)
        index = start[:, None] + torch.arange(frames, device=start.device)
        return self.noise[side[:, None], index % self.config.noise_frames]

    def hidden(self, latent: Tensor) -> Tensor:
        """Run the blocks on the latent [B, L, width]."""
        hidden: Tensor = self.blocks(self.enter(latent.transpose(1, 2)).transpose(1, 2))
        return hidden

    def synthesise(self, hidden: Tensor, noise: Tensor, gains: Tensor | None = None) -> Tensor:
        """Return samples [B, (L - 1) hop] of the last hidden state [B, L, width]; gains as in `Lapped.decode`."""
        return mdct.overlap_add(self.coefficients(hidden, noise, gains) @ self.synthesis)

    def coefficients(self, hidden: Tensor, noise: Tensor, gains: Tensor | None = None) -> Tensor:
        """Return MDCT coefficients [B, L, hop] from the last hidden state [B, L, width]."""
        hop, config = self.config.hop, self.config
        low, high, fine, energies = self.project(hidden).split(
            [config.split, hop - config.split, hop, len(self.energy_mean)], -1
        )
        envelope = (energies / config.energy_weight + self.energy_mean) @ self.interpolation
        gain = (envelope + NOISE_GAIN_STEP * fine + self.offset).clamp(*NOISE_GAIN_RANGE)
        # Above the split tones are told in units of the envelope: companding is flat at zero, where they start.
        scale = envelope[..., config.split :].clamp(*NOISE_GAIN_RANGE).exp()
        tones = torch.cat([expand(low, config.exponent), scale * high], -1)
        coefficients = tones + gain.exp() * noise
        if self.post is not None:
            low, high = coefficients.tensor_split([config.post_bins], -1)
            coefficients = torch.cat([self.post(low), high], -1)
        return coefficients if gains is None else coefficients * (gains @ self.equalising).exp()

    def forward(self, latent: Tensor, noise: Tensor, gains: Tensor | None = None) -> Tensor:
        """Map the latent [B, L, width] to samples [B, (L - 1) hop], from the first frame's second half on."""
        return self.synthesise(self.hidden(latent), noise, gains)


class Lapped(Model):
    """The `lapped` codec model; see the module's docstring.

    Attributes: config (JSON-able dict), facts, choice (how codes are chosen; None: the nearest entries).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.numbers = LappedConfig.from_dict(config)
        self.config = asdict(self.numbers)
        self.facts = self.numbers.facts
        self.encoder = Encoder(self.numbers)
        self.quantizer = LappedQuantizer(
            self.numbers.codebooks, self.numbers.width, self.numbers.code_dim, self.numbers.codebook_size
        )
        self.decoder = Decoder(self.numbers)
        self.look = SecondLook(self.numbers) if self.numbers.look_blocks else None
        self.choice: Choice | None = None

    def without_look(self) -> Lapped:
        """Return the same network, sharing its weights, without the second look and the context that it needs."""
        if self.look is None:
            return self
        other = copy(self)
        other._modules = {**self._modules, "look": None}
        other.numbers = replace(self.numbers, look_blocks=0, look_width=0)
        other.config, other.facts = asdict(other.numbers), other.numbers.facts
        return other

    def encode(self, samples: Tensor, first_frame: Tensor | None = None, channel: Tensor | None = None) -> Tensor:
        """Return codes int64 [B, K, L] of samples float32 [B, (L + 1) hop]; frame 0 is centred on sample hop.

        first_frame and channel are what the decoder will have.
        """
        return self.quantizer.encode(looked_at(self, samples, first_frame, channel), self.choice)

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor, gains: Tensor | None = None) -> Tensor:
        """Return samples float32 [B, (L - 1) hop] of codes int64 [B, n <= K, L].

        first_frame and channel (a coded channel's number, or SIDE), int64 [B], say where each row's noise starts; gains
        [B, L, POINTS], in nepers, are those of equalisers (`dacfile.equaliser`).
        """
        noise = self.decoder.noise_at(first_frame, channel, codes.shape[-1])
        samples: Tensor = self.decoder(self.quantizer.decode(codes), noise, gains)
        return samples
