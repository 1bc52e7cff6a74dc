"""The one interface of both architectures."""

from __future__ import annotations

from abc import abstractmethod
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from dacfile.errors import ModelMismatch
from dacfile.model.facts import Facts

Config = dict[str, Any]  # JSON-able; its key "architecture" chooses the class, the rest are that class's numbers

_CLASSES = {"dac": ("dacfile.model.dac", "Dac"), "lapped": ("dacfile.model.lapped", "Lapped")}


class Model(nn.Module):
    """A codec network for one channel; every item of a batch is coded by itself."""

    facts: Facts
    config: Config

    def padded(self, samples: Tensor) -> Tensor:
        """Return samples [B, n] with the zeros around them that coding them whole takes: [B, lead + T * hop]."""
        facts, count = self.facts, samples.shape[-1]
        return pad(samples, (facts.lead, facts.frames(count) * facts.hop - count))

    @abstractmethod
    def encode(self, x: Tensor, first_frame: Tensor | None = None, channel: Tensor | None = None) -> Tensor:
        """Return the codes int64 [B, K, L] of samples float32 [B, lead + L * hop].

        `first_frame` and `channel` are what `decode` will have (None: zeros), for encoders that listen to their codes.
        """

    @abstractmethod
    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor) -> Tensor:
        """Return samples float32 [B, L * hop - tail] for codes int64 [B, n, L], n <= K.

        A negative code means that the layer is absent in that frame: it adds nothing. `first_frame` and `channel`,
        int64 [B], are the absolute index of each item's first frame and the index of its coded channel, or SIDE: they
        choose the noise of `lapped`. Models that have equalisers (`Facts.equalises`) take their gains as well.
        """

    def preview(self, codes: Tensor, first_frame: Tensor, channel: Tensor, *gains: Tensor) -> Tensor:
        """Return about what `decode` does, perhaps sooner: what an encoder listens to."""
        return self.decode(codes, first_frame, channel, *gains)


def build(config: Config) -> Model:
    """Return a network with fresh weights for a configuration.

    Raises ModelMismatch when the architecture is unknown or its numbers make no network.
    """
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or architecture not in _CLASSES:
        raise ModelMismatch(f"unknown model architecture {architecture!r}; known are {', '.join(_CLASSES)}")
    module, name = _CLASSES[architecture]
    try:
        model: Model = getattr(import_module(module), name)(config)
    except (TypeError, ValueError, LookupError, RuntimeError, AttributeError, ArithmeticError) as error:
        raise ModelMismatch(f"the configuration makes no {architecture} network: {error}") from error
    return model
