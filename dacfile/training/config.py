"""Training configurations of the bundled models: every number of a run, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from dacfile.model.lapped import LappedConfig
from dacfile.training.sampler import SamplerConfig


@dataclass(frozen=True)
class TrainingConfig:
    """One run. Loss weights follow DAC (mel 15) plus the complex-STFT term that keeps the waveform."""

    model: LappedConfig
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    batch: int = 12
    frames: int = 96
    steps: int = 12000
    warmup: int = 50
    # The learning rate is constant, then falls linearly to nothing over this last share of the steps.
    decay_share: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip_norm: float = 100.0
    mel_weight: float = 15.0
    stft_weight: float = 3.0
    # The complex STFT counts up to this frequency: above, where phases are not in the codes, it makes sounds quieter.
    waveform_hz: float = math.inf
    # Levels of what is loud, on the segments made by formula (`dacfile.training.levels`).
    level_weight: float = 0.0
    # Bark loudness as PESQ hears it, on the segments that are speech (`dacfile.training.loudness`).
    loudness_weight: float = 0.0
    # The pattern of levels over time and critical bands, as ViSQOL sees it (`dacfile.training.similarity`).
    similarity_weight: float = 0.0
    commitment_weight: float = 1.0
    # What a bit weighs when codes are chosen (`dacfile.model.rdo`), by a prior that has to be given.
    rdo_weight: float = 0.0
    # Discriminators take part from this step on; None leaves them out. Feature matching weighs twice, as in DAC.
    adversarial_from: int | None = None
    # Those of the DAC paper, for a GPU (`dacfile.training.paper_discriminators`), in place of what a CPU can afford.
    paper_discriminators: bool = False
    adversarial_weight: float = 1.0
    matching_weight: float = 2.0
    adversary_rate: float = 3e-4
    # Share of segments that are coded with a random number of codebooks only.
    quantizer_dropout: float = 0.5
    # Of the exponential moving average of the weights: it is what is validated and exported.
    ema_decay: float = 0.999
    # Leave the encoder and the codebooks alone: codes, and any prior trained on them, stay as they are.
    decoder_only: bool = False
    # Train the second look alone: the decoder of files that are there stays, and with it what their codes mean.
    look_only: bool = False
    validate_every: int = 1000
    seed: int = 1


def decoder_alone(
    whole: TrainingConfig, steps: int, synthetic: float = SamplerConfig.synthetic, **weights: float
) -> TrainingConfig:
    """Return the second phase of a run: the decoder alone, on longer segments, for codes that no longer change."""
    return replace(
        whole,
        sampler=replace(whole.sampler, synthetic=synthetic),
        batch=8,
        frames=144,
        steps=steps,
        decay_share=0.85,
        quantizer_dropout=0.25,
        decoder_only=True,
        **{"learning_rate": 6e-4, **weights},  # type: ignore[arg-type]
    )


def look_alone(decoder: TrainingConfig, width: int, steps: int, **weights: float) -> TrainingConfig:
    """Return the third phase of a run: the second look alone, with the losses of the decoder's phase, or others."""
    return replace(
        decoder,
        **weights,  # type: ignore[arg-type]
        # Bundled ones were learned before sounds made by formula had a loss of their own.
        sampler=replace(decoder.sampler, synthetic=SamplerConfig.synthetic),
        waveform_hz=math.inf,
        level_weight=0.0,
        model=replace(decoder.model, look_blocks=4, look_width=width),
        batch=12,
        frames=96,
        steps=steps,
        decay_share=0.7,
        learning_rate=1e-3,
        quantizer_dropout=0.15,
        ema_decay=0.995,
        decoder_only=False,
        look_only=True,
    )


# What made the bundled weights (docs/training.md tells where a run was stopped and continued).
BUNDLED_44K = TrainingConfig(
    LappedConfig(rate=44100, hop=512, codebooks=9, post_bins=128, post_window=512, post_width=32),
    SamplerConfig(shares={"speech": 0.33, "music": 0.48, "environment": 0.19}),
    steps=59000,
    decay_share=0.055,
    stft_weight=6.0,
    loudness_weight=7.0,
    similarity_weight=20.0,
    quantizer_dropout=0.3,
    rdo_weight=0.7,
)
BUNDLED_24K = TrainingConfig(
    LappedConfig(rate=24000, hop=320, codebooks=32, split=100, post_bins=80, post_window=320, post_width=32),
    steps=12300,
    decay_share=0.4,
    stft_weight=5.0,
    loudness_weight=5.0,
    similarity_weight=15.0,
    quantizer_dropout=0.4,
    rdo_weight=0.5,
)
BUNDLED_16K = TrainingConfig(
    LappedConfig(rate=16000, hop=320, codebooks=12, split=80, post_bins=120, post_window=480, post_width=32),
    steps=21400,
    decay_share=0.28,
    stft_weight=4.5,
    loudness_weight=7.0,
    similarity_weight=15.0,
    quantizer_dropout=0.3,
    rdo_weight=0.5,
)

DECODER_44K = decoder_alone(
    BUNDLED_44K,
    3000,
    synthetic=0.15,
    learning_rate=5e-4,
    stft_weight=42.0,
    waveform_hz=3000.0,
    loudness_weight=10.0,
    level_weight=20.0,
    similarity_weight=16.0,
    rdo_weight=0.5,
)
DECODER_24K = decoder_alone(BUNDLED_24K, 1200, stft_weight=8.0, loudness_weight=5.0, similarity_weight=12.0)
DECODER_16K = decoder_alone(
    BUNDLED_16K,
    1400,
    synthetic=0.18,
    stft_weight=20.0,
    waveform_hz=2000.0,
    loudness_weight=10.0,
    level_weight=30.0,
    similarity_weight=12.0,
)
LOOK_16K = look_alone(DECODER_16K, 128, 2800, stft_weight=11.0, similarity_weight=13.0)

CONFIGS = {
    "44k": BUNDLED_44K,
    "44k-decoder": DECODER_44K,
    "44k-look": look_alone(DECODER_44K, 256, 3600, stft_weight=22.0, loudness_weight=9.0, similarity_weight=17.0),
    "24k": BUNDLED_24K,
    "24k-decoder": DECODER_24K,
    "16k": BUNDLED_16K,
    "16k-decoder": DECODER_16K,
    "16k-look": replace(LOOK_16K, learning_rate=1.2e-3, decay_share=0.75),
}
