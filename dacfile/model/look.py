"""The second look of a `lapped` encoder: it hears what its first codes decode to, and moves its latent by that.

A network that maps sound to a latent in one pass cannot know what quantiser and decoder will make of it. One that
sees the error of a first result and corrects it is iterative amortised inference (Marino, Yue and Mandt, arXiv
1807.09356): here the errors of levels in the windows and bands of the mel distance, and of the transform's
coefficients. Only encoders do this: files and decoders know nothing of it. Shapes: B batch, L frames, N hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.model.convnext import blocks
from dacfile.quality.reconstruction import LOG_FLOOR, MATRIX_WINDOW, real_dft
from dacfile.quality.spectra import magnitude, real_transform
from dacfile.quality.spectral import MEL_SCALES, mel_filters

if TYPE_CHECKING:
    from dacfile.model.lapped import Decoder, Lapped, LappedConfig
    from dacfile.model.lapped_cpu import FastDecoder, FastLapped

# Window, mel bands, and how often in a frame: the scales of the mel distance, the longest first.
SCALES = tuple((*scale, times) for scale, times in zip(reversed(MEL_SCALES), (1, 2, 4, 8, 8, 16, 32), strict=True))
LEVELS = sum(bands * times for _, bands, times in SCALES)
# Windows are centred on parts of frames, so that they reach beyond half a window.
REACH = SCALES[0][0] // 2
# Corrected codes are less likely ones: with bits that weigh so many times more, files stay as large as they were.
LOOK_RDO_FACTOR = 1.3
# What brings the inputs to deviations of about one.
LATENT_SCALE, ERROR_SCALE, LEVEL_SCALE = 2.0, 4.0, 2.0


class Levels(nn.Module):
    """Samples -> log10 mel magnitudes, those that fall into each frame side by side."""

    def __init__(self, rate: int, hop: int) -> None:
        super().__init__()
        self.hop = hop
        for size, bands, _ in SCALES:
            window = torch.hann_window(size)
            self.register_buffer(f"filters_{size}", mel_filters(rate, size, bands).T.float(), persistent=False)
            self.register_buffer(f"window_{size}", window, persistent=False)
            if size <= MATRIX_WINDOW:
                self.register_buffer(f"transform_{size}", window[:, None] * real_dft(size), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Return log10 magnitudes [B, L, LEVELS] of samples [B, (L + 1) hop]; frame 0 is centred on sample hop."""
        frames = samples.shape[1] // self.hop - 1
        with torch.autocast(samples.device.type, enabled=False):  # rounded to eight bits, faint levels are lost
            padded = F.pad(samples.float(), (REACH, REACH))
            return torch.cat([self._scale(padded, frames, size, times) for size, _, times in SCALES], -1)

    def _scale(self, padded: Tensor, frames: int, size: int, times: int) -> Tensor:
        """Return [B, L, times * bands] for windows of one size, `times` of them spread evenly over every frame."""
        step = self.hop // times
        first = REACH + self.hop // 2 + step // 2 - size // 2
        windows = padded[:, first : first + (frames * times - 1) * step + size].unfold(1, size, step)
        levels = magnitude(self._spectrum(windows, size)) @ getattr(self, f"filters_{size}")
        return levels.clamp_min(LOG_FLOOR).log10().unflatten(1, (frames, times)).flatten(2)

    def _spectrum(self, samples: Tensor, size: int) -> Tensor:
        """Return the spectrum, complex [..., size / 2 + 1], of samples [..., size] under their window."""
        if size > MATRIX_WINDOW:
            return real_transform(samples * getattr(self, f"window_{size}"))
        return torch.view_as_complex((samples @ getattr(self, f"transform_{size}")).unflatten(-1, (-1, 2)))


class SecondLook(nn.Module):
    """Errors of what the first codes decode to -> what the latent shall be moved by: nothing, before it is trained."""

    def __init__(self, config: LappedConfig) -> None:
        super().__init__()
        if config.hop % SCALES[-1][2]:
            raise ValueError(f"a hop of {config.hop} samples does not part into {SCALES[-1][2]}")
        width, features = config.look_width, config.hop + config.quadrature + len(config.band_edges) - 1
        self.levels = Levels(config.rate, config.hop)
        self.enter = nn.Linear(2 * config.width + LEVELS + features, width)
        self.blocks = blocks(config.look_blocks, width, config.kernel, config.expansion)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, config.width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `look_inputs` [B, L, inputs] to the move [B, L, width]."""
        move: Tensor = self.leave(self.norm(self.blocks(self.enter(inputs))))
        return move


def looked_at(
    network: Lapped | FastLapped, samples: Tensor, first_frame: Tensor | None, channel: Tensor | None
) -> Tensor:
    """Return the latent [B, L, width] of samples [B, (L + 1) hop], moved by the second look where there is one.

    first_frame and channel, int64 [B], are what decoding will have, for its noise; None stands for zeros.
    """
    features = network.encoder.features(samples)
    latent = network.encoder.latent(features)
    if network.look is None:
        return latent
    noise = noise_of(network.decoder, samples, first_frame, channel)
    return latent + network.look(look_inputs(network, network.look.levels, samples, features, latent, noise))


def noise_of(
    decoder: Decoder | FastDecoder, samples: Tensor, first_frame: Tensor | None, channel: Tensor | None
) -> Tensor:
    """Return the noise [B, L, hop] that decoding samples [B, (L + 1) hop] will add."""
    zero = torch.zeros(len(samples), dtype=torch.long, device=samples.device)
    start, number = (zero if given is None else given for given in (first_frame, channel))
    return decoder.noise_at(start, number, samples.shape[1] // decoder.config.hop - 1)


def look_inputs(
    network: Lapped | FastLapped, levels: Levels, samples: Tensor, features: Tensor, latent: Tensor, noise: Tensor
) -> Tensor:
    """Return what the second look sees, [B, L, 2 width + LEVELS + features]."""
    hop = network.decoder.config.hop
    coded = network.quantizer.decode(network.quantizer.encode(latent))
    # The first and the last hop of a window belong to one frame alone: there, nothing counts as heard.
    decoded = torch.cat([samples[:, :hop], network.decoder(coded, noise), samples[:, -hop:]], 1)
    louder = levels(samples) - levels(decoded)
    parts = LATENT_SCALE * latent, ERROR_SCALE * (coded - latent), LEVEL_SCALE * louder
    return torch.cat([*parts, features - network.encoder.features(decoded)], -1)


def levels_context(hop: int) -> int:
    """Return over how many frames to each side the levels of a frame reach."""
    return -(-(REACH + hop // 2) // hop)
