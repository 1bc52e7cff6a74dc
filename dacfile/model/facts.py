"""Facts: the numbers of a model that everything outside `dacfile.model` needs to know. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from dacfile.arguments import whole
from dacfile.errors import ModelMismatch, UsageError
from dacfile.limits import DEFAULT_LIMITS

# Stands for the number of a coded channel that is the side of a mid, coded channel 0.
SIDE = -1
# What a bit may weigh when codes are chosen (`dacfile.model.rdo`): from there on nothing but bits counts anyway, and
# far beyond it float32 overflows.
HEAVIEST_BIT = 1_000.0


@dataclass(frozen=True)
class Facts:
    """What a model promises about its codes.

    A channel of S samples has `frames(S)` frames, zeros outside. Frames [a, b) are computed from the samples
    [a * hop - lead, b * hop) and decode to the samples [a * hop, b * hop - tail). Of what a window computes, the
    first and last `encoder_context` (codes) or `decoder_context` (samples) frames differ from whole-file coding and
    are thrown away, except where the window begins or ends with the file.
    """

    architecture: str  # "dac" or "lapped"
    rate: int  # Hz
    hop: int  # samples per frame
    codebooks: int  # K, stages of the residual quantiser
    codebook_size: int  # N, entries of each
    lead: int  # samples before its first frame that a window of the encoder needs
    tail: int  # samples missing at the end of a decoded window
    encoder_context: int  # frames
    decoder_context: int  # frames

    def __post_init__(self) -> None:
        if min(self.rate, self.hop, self.codebooks, self.codebook_size) < 1:
            raise ModelMismatch(f"a model needs positive rate, hop, codebooks and codebook size, not {self}")
        if min(self.lead, self.tail, self.encoder_context, self.decoder_context) < 0:
            raise ModelMismatch(f"a model needs lead, tail and contexts of at least 0, not {self}")
        limits = DEFAULT_LIMITS  # what a file's header can say
        values = (self.rate, self.hop, self.codebooks, self.codebook_size, self.decoder_context)
        most = (limits.rate, limits.hop, limits.codebooks, limits.codebook_size, limits.context)
        if any(value > limit for value, limit in zip(values, most, strict=True)):
            raise ModelMismatch(f"the numbers of the model are beyond what the file format can hold: {self}")
        if self.tail > self.decoder_context * self.hop:
            raise ModelMismatch(f"the tail of {self.tail} samples is longer than the decoder's context")

    def frames(self, samples: int) -> int:
        """Return T, the number of frames that code `samples` samples of one channel."""
        return -(-(samples + self.tail) // self.hop) if samples > 0 else 0

    def decoded(self, frames: int) -> int:
        """Return how many samples `frames` frames decode to when nothing is cut off."""
        return max(frames * self.hop - self.tail, 0)

    @property
    def equalises(self) -> bool:
        """Whether blocks may have equalisers and attacks (`dacfile.equaliser`, `dacfile.attacks`)."""
        return self.architecture == "lapped"

    @property
    def bits_per_code(self) -> int:
        """Bits of one code stored raw: log2(N), rounded up."""
        return (self.codebook_size - 1).bit_length()

    @property
    def nominal_bitrate(self) -> float:
        """Nominal bit rate of one channel with all codebooks, bit/s."""
        return self.rate / self.hop * self.codebooks * self.bits_per_code

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Facts:
        """Build facts from untrusted JSON.

        Raises ModelMismatch when a value is missing or has the wrong type; unknown keys are ignored.
        """
        if not isinstance(values, dict):
            raise ModelMismatch("the facts of a model must be a JSON object")
        found = {field.name: values.get(field.name) for field in fields(cls)}
        if not isinstance(found["architecture"], str):
            raise ModelMismatch("the facts of a model name no architecture")
        for name, value in found.items():
            if name != "architecture" and (not isinstance(value, int) or isinstance(value, bool)):
                raise ModelMismatch(f"the facts of a model have no whole number for {name}")
        return cls(**found)  # type: ignore[arg-type]


def check_refinable(passes: int, facts: Facts) -> None:
    """Raise UsageError for passes of refinement that this architecture cannot do, and unless they are 0, 1, 2 ..."""
    if whole(passes, "refine") < 0:
        raise UsageError(f"codes cannot be refined in {passes} passes")
    if passes and facts.architecture != "lapped":
        raise UsageError(f"only the codes of lapped models can be refined, not those of {facts.architecture}")
