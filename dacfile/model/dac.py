"""`dac`: the published Descript Audio Codec network (arXiv 2306.06546), parameter names name for name.

samples -> conv 7 -> one block per stride (residual units, strided conv) -> conv 3 -> RVQ
codes -> conv 7 -> one block per stride (transposed conv, residual units) -> conv 7 -> tanh -> samples
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from dacfile.errors import ModelMismatch
from dacfile.limits import DEFAULT_LIMITS
from dacfile.model.base import Config, Model
from dacfile.model.facts import Facts
from dacfile.model.layers import DILATIONS, Block, Snake, decoder_block, encoder_block, half
from dacfile.model.quantizer import ResidualVectorQuantizer

MAX_BLOCKS = 8  # on either side; the published networks have 4
Reach = tuple[int, int]  # first and last index that a result depends on


@dataclass(frozen=True)
class DacConfig:
    """The numbers of a `dac` network under the names of the published constructor."""

    sample_rate: int = 44100
    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    latent_dim: int = 1024
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int | tuple[int, ...] = 8

    def __post_init__(self) -> None:
        rates = (*self.encoder_rates, *self.decoder_rates)
        if not 1 <= self.n_codebooks <= DEFAULT_LIMITS.codebooks or len(rates) > 2 * MAX_BLOCKS:
            raise ModelMismatch(f"a dac network of {self.n_codebooks} codebooks and {len(rates)} blocks")
        if not self.encoder_rates or not self.decoder_rates or min(rates) < 2:
            raise ModelMismatch(f"a dac network needs strides of at least 2, not {rates}")
        if prod(self.encoder_rates) != prod(self.decoder_rates):
            raise ModelMismatch("encoder and decoder of the network have different hops")
        if len(self.codebook_dims) != self.n_codebooks:
            raise ModelMismatch(f"{len(self.codebook_dims)} codebook dimensions for {self.n_codebooks} codebooks")

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> DacConfig:
        """Build from a native configuration or from the published keyword arguments.

        `latent_dim` None or absent means encoder_dim * 2 ^ (number of strides), as published. Training-only and
        unknown keys raise TypeError, except `quantizer_dropout`.
        """
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
        }
        values.pop("architecture", None)
        values.pop("quantizer_dropout", None)
        if values.get("latent_dim") is None:
            rates = values.get("encoder_rates", cls.encoder_rates)
            values["latent_dim"] = values.get("encoder_dim", cls.encoder_dim) * 2 ** len(rates)
        return cls(**values)

    def to_dict(self) -> Config:
        """Return the native configuration, JSON-able."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"architecture": "dac", **values}

    @property
    def codebook_dims(self) -> tuple[int, ...]:
        """Dimensions of each codebook's entries."""
        dims = self.codebook_dim
        return dims if isinstance(dims, tuple) else (dims,) * self.n_codebooks

    @property
    def facts(self) -> Facts:
        """What the codec and the container need to know."""
        hop = prod(self.encoder_rates)
        return Facts(
            architecture="dac",
            rate=self.sample_rate,
            hop=hop,
            codebooks=self.n_codebooks,
            codebook_size=self.codebook_size,
            lead=0,
            tail=tail(self.decoder_rates),
            encoder_context=encoder_context(self.encoder_rates),
            decoder_context=decoder_context(self.decoder_rates),
        )


def tail(rates: Sequence[int]) -> int:
    """Return how many samples less than T * hop the decoder makes: each odd stride loses one at its own rate."""
    lost = 0
    for stride in rates:
        lost = lost * stride + stride % 2
    return lost


def encoder_context(rates: Sequence[int]) -> int:
    """Return how many frames beside its own the code of a frame depends on, at most, on either side."""
    low, high = _conv((0, 0), 3)
    for stride in reversed(rates):
        low, high = low * stride - half(stride), high * stride - half(stride) + 2 * stride - 1
        low, high = _residual_units((low, high))
    low, high = _conv((low, high), 7)
    hop = prod(rates)
    return max(-(low // hop), high // hop)


def decoder_context(rates: Sequence[int]) -> int:
    """Return how many frames beside its own the samples of a frame depend on, at most, on either side."""
    low, high = _conv((0, prod(rates) - 1), 7)
    for stride in reversed(rates):
        low, high = _residual_units((low, high))
        # Input i reaches outputs i * stride - half(stride) + [0, 2 * stride).
        low, high = -(-(low + half(stride) - 2 * stride + 1) // stride), (high + half(stride)) // stride
    low, high = _conv((low, high), 7)
    return max(-low, high)


def _conv(reach: Reach, kernel: int, dilation: int = 1) -> Reach:
    return reach[0] - kernel // 2 * dilation, reach[1] + kernel // 2 * dilation


def _residual_units(reach: Reach) -> Reach:
    for dilation in DILATIONS:
        reach = _conv(reach, 7, dilation)
    return reach


class _Decoder(nn.Module):
    """The published decoder keeps its layers under the name `model`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map a latent [B, D, L] to samples [B, 1, L * hop - tail]."""
        out: Tensor = self.model(x)
        return out


def _encoder(config: DacConfig) -> Block:
    widths = [config.encoder_dim * 2**index for index in range(len(config.encoder_rates) + 1)]
    return Block(
        nn.Conv1d(1, widths[0], 7, padding=3),
        *(encoder_block(width, stride) for width, stride in zip(widths, config.encoder_rates, strict=False)),
        Snake(widths[-1]),
        nn.Conv1d(widths[-1], config.latent_dim, 3, padding=1),
    )


def _decoder(config: DacConfig) -> _Decoder:
    widths = [config.decoder_dim // 2**index for index in range(len(config.decoder_rates) + 1)]
    blocks = zip(widths, widths[1:], config.decoder_rates, strict=False)
    return _Decoder(
        nn.Conv1d(config.latent_dim, widths[0], 7, padding=3),
        *(decoder_block(width, out, stride) for width, out, stride in blocks),
        Snake(widths[-1]),
        nn.Conv1d(widths[-1], 1, 7, padding=3),
        nn.Tanh(),
    )


class Dac(Model):
    """The published network; see the module's docstring. Raises ModelMismatch or TypeError for impossible numbers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        numbers = DacConfig.from_dict(config)
        self.config = numbers.to_dict()
        self.facts = numbers.facts
        self.encoder = _encoder(numbers)
        self.quantizer = ResidualVectorQuantizer(numbers.latent_dim, numbers.codebook_size, numbers.codebook_dims)
        self.decoder = _decoder(numbers)

    def encode(self, x: Tensor, first_frame: Tensor | None = None, channel: Tensor | None = None) -> Tensor:
        """Return the codes int64 [B, K, L] of samples float32 [B, L * hop]; the rest of the arguments say nothing."""
        return self.quantizer.encode(self.encoder(x[:, None]).transpose(1, 2))

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor) -> Tensor:
        """Return samples float32 [B, L * hop - tail] for codes int64 [B, n, L], n <= K; negative codes add nothing.

        `first_frame` and `channel` are not used: this network draws no noise.
        """
        samples: Tensor = self.decoder(self.quantizer.decode(codes).transpose(1, 2))
        return samples[:, 0].float()


PUBLISHED: dict[str, Config] = {
    "descript-44k": DacConfig().to_dict(),
    "descript-44k-16kbps": DacConfig(n_codebooks=18, latent_dim=128).to_dict(),
    "descript-24k": DacConfig(24000, encoder_rates=(2, 4, 5, 8), decoder_rates=(8, 5, 4, 2), n_codebooks=32).to_dict(),
    "descript-16k": DacConfig(16000, encoder_rates=(2, 4, 5, 8), decoder_rates=(8, 5, 4, 2), n_codebooks=12).to_dict(),
}
