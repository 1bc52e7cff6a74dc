"""Audio blocks to codes and back on a device: the one user of the networks in `dacfile.model`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from dacfile.arguments import whole
from dacfile.device import (
    IN_FLIGHT,
    LARGEST_BATCH,
    Transfer,
    cuda_products,
    fitting_batch,
    resolve_device,
    resolve_precision,
)
from dacfile.entropy import Prior
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.prior import covers
from dacfile.errors import UsageError
from dacfile.model import lapped_cpu, products_cpu, rows_cpu, store
from dacfile.model.base import Model
from dacfile.model.checkpoint import load_model
from dacfile.model.dac import Dac
from dacfile.model.dac_cpu import FastDac
from dacfile.model.facts import check_refinable
from dacfile.model.lapped import Lapped
from dacfile.model.look import LOOK_RDO_FACTOR
from dacfile.model.rdo import PriorLikelihoods, RdoChoice, suggested_weight
from dacfile.model.refine import RDO_FACTOR, Refined
from dacfile.stream import StreamDecoder, StreamEncoder
from dacfile.windows import ABSENT, check_floating

__all__ = ["Codec", "StreamDecoder", "StreamEncoder", "load_codec"]

# Windows with fewer frames are short: a CPU takes several in one call, up to so many frames, and reads the weights once
# for all of them; and the memory that they need tells nothing of that of others.
SHORT_FRAMES = 512


class Codec:
    """A model on a device, ready to code windows, whole arrays, and (with StreamEncoder, StreamDecoder) streams.

    `batch` is the largest number of windows in one call of the network (a CPU takes more of short ones); on CUDA it is
    what fits into the free memory, unless it is given. It is halved, and stays so, when the device runs out of memory.
    The codes of a window do not depend on the batch it is in, up to float rounding. `in_flight` is how many threads
    gain from using the device at the same time. `refine` is in how many passes codes are improved: in one by the
    encoder's second look (`dacfile.model.look`) where the model has one, else by search (`dacfile.model.refine`);
    raises UsageError for models that cannot do it.
    """

    def __init__(
        self,
        model: Model,
        name: str = "",
        id: bytes = bytes(16),
        device: str = "auto",
        precision: str = "auto",
        batch: int = 0,
        refine: int = 0,
    ) -> None:
        check_refinable(refine, model.facts)
        if isinstance(model, Lapped) and refine != 1:  # search finds what a look does, in fewer bits
            model = model.without_look()
        self.model = model.to(resolve_device(device)).eval().requires_grad_(False)
        # With its number: what "cuda" alone means is for every thread to choose.
        self.device = next(self.model.parameters()).device
        self.precision = resolve_precision(precision, self.device)
        self.network = fastest(self.model, self.device, self.precision)  # what runs: the same weights and codes
        looks = isinstance(model, Lapped) and model.look is not None
        self._bit_factor = LOOK_RDO_FACTOR if looks else 1.0
        if refine and not looks:
            network, plain = cast(Lapped | lapped_cpu.FastLapped, self.network), cast(Lapped, self.model)
            self.network = Refined(network, plain, refine)
            self._bit_factor = RDO_FACTOR
        self.facts = model.facts
        self.name = name
        self.id = id
        self.batch = batch or (1 if self.device.type == "cpu" else LARGEST_BATCH)
        self.in_flight = IN_FLIGHT if self.device.type == "cuda" else 1
        self._call = Transfer(self.device)
        self._setting_rdo = threading.Lock()
        self._wanted_rdo: tuple[Callable[[], Prior | None], float | None] | None = None
        self._measuring = threading.Lock()
        self._to_measure = {"encode", "decode"} if self.device.type == "cuda" and not batch else set[str]()

    def set_rdo(self, prior: Callable[[], Prior | None], weight: float | None) -> None:
        """Choose codes by what a prior would spend on them, too (`dacfile.model.rdo`), where model and prior allow it.

        `prior` is called at the next encoding. `weight` 0 takes the nearest codes, more makes smaller, worse files;
        None is the weight that the prior names, made for codes that are not refined.
        """
        with self._setting_rdo:
            self._wanted_rdo = prior, weight

    def _load_rdo(self) -> None:
        with self._setting_rdo:
            if self._wanted_rdo is not None:
                find_prior, weight = self._wanted_rdo
                self.network.choice = self._rdo_choice(find_prior(), weight)  # type: ignore[assignment]
                self._wanted_rdo = None

    def _rdo_choice(self, prior: Prior | None, weight: float | None) -> RdoChoice | None:
        """Return what chooses codes by distance and bits; None, for the nearest, where that cannot or shall not be."""
        if weight is None:
            weight = suggested_weight(prior) * self._bit_factor
        if not (
            weight and isinstance(prior, NetworkPrior) and isinstance(self.model, Lapped) and covers(prior, self.facts)
        ):
            return None
        return RdoChoice(PriorLikelihoods(prior, self.device), self.model.quantizer, weight)

    @property
    def rate(self) -> int:
        """Sample rate of the model, Hz."""
        return self.facts.rate

    def encode(self, audio: np.ndarray, rate: int | None = None) -> np.ndarray:
        """Encode samples float32 [samples, channels] (or [samples] for mono) to codes uint16 [channels, K, T].

        Other floating-point types are converted. Neither gain nor mid/side is applied. Raises UsageError when `rate` is
        given and is not the model's, and for samples that are no floating-point numbers, not finite, or no channel.
        """
        if rate is not None and rate != self.rate:
            raise UsageError(f"audio at {rate} Hz for a model at {self.rate} Hz; resample it first")
        samples = as_samples(audio)
        encoder = StreamEncoder(self, samples.shape[1])
        return np.concatenate([encoder.push(samples), encoder.finish()], axis=-1)

    def decode(self, codes: np.ndarray, samples: int | None = None) -> np.ndarray:
        """Decode codes uint16 [channels, n, T], n <= K, to float32 [samples, channels] at `rate`.

        Other integers are converted; 65,535 stands for a code that is left out. Without `samples` everything that the
        codes give is returned, T * hop - tail samples. Equalisers are those of files, so none is applied. Raises
        UsageError for codes that the model does not have.
        """
        codes = np.asarray(codes)
        if codes.ndim != 3 or not len(codes):
            raise UsageError(f"codes of shape {codes.shape}; they have to be [channels, codebooks, frames]")
        decoder = StreamDecoder(self, len(codes), None if samples is None else whole(samples, "samples"))
        return np.concatenate([decoder.push(codes), decoder.finish()])

    def encode_windows(self, x: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        """Encode windows of samples float32 [B, lead + L * hop] to codes uint16 [B, K, L].

        Of each the number of its first frame and that of its channel, or SIDE, are those that decoding will have.
        """
        self._load_rdo()
        samples = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        frames = (x.shape[-1] - self.facts.lead) // self.facts.hop
        return self._in_batches(self.network.encode, samples, frames, first_frames, channels).astype(np.uint16)

    def decode_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decode windows of codes uint16 [B, n, L] to float32 [B, L * hop - tail]; ABSENT codes add nothing.

        Gains float32 [B, L, POINTS] in nepers are those of equalisers (`dacfile.equaliser`). Raises UsageError when a
        code is not below the codebook size.
        """
        return self._decoded(self.network.decode, codes, first_frames, channels, gains)

    def preview_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return about what `decode_windows` does, perhaps sooner: what the encoder listens to."""
        return self._decoded(self.network.preview, codes, first_frames, channels, gains)

    def _decoded(
        self,
        network: Callable[..., Tensor],
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None,
    ) -> np.ndarray:
        others = () if gains is None else (torch.from_numpy(gains),)
        windows, frames = self._signed(codes), codes.shape[-1]
        return self._in_batches(network, windows, frames, first_frames, channels, *others)

    def _signed(self, codes: np.ndarray) -> Tensor:
        """Return codes uint16 as the network takes them: int64, -1 where ABSENT. Raises UsageError."""
        present = codes != ABSENT
        if codes.shape[1] > self.facts.codebooks or (codes[present] >= self.facts.codebook_size).any():
            raise UsageError(f"codes that model {self.name} does not have")
        return torch.from_numpy(np.where(present, codes.astype(np.int64), -1))

    def _in_batches(
        self,
        network: Callable[..., Tensor],
        windows: Tensor,
        frames: int,
        first_frames: Sequence[int],
        channels: Sequence[int],
        *others: Tensor,
    ) -> np.ndarray:
        inputs = windows, torch.tensor(first_frames), torch.tensor(channels), *others
        if frames >= SHORT_FRAMES:
            self._choose_batch(network, inputs)
        one_by_one = self.device.type == "cpu" and self.batch == 1
        together = SHORT_FRAMES // max(frames, 1) if one_by_one else 1
        outputs: list[Tensor] = []
        done = 0
        while done < len(inputs[0]):
            part = [tensor[done : done + max(self.batch, together)] for tensor in inputs]
            try:
                outputs.append(self._run(network, part))
            except torch.cuda.OutOfMemoryError:
                if len(part[0]) == 1:
                    raise MemoryError(f"{self.device} has no memory for a single window; --device cpu works") from None
                self.batch, together = max(len(part[0]) // 2, 1), 1
                continue
            done += len(part[0])
        return torch.cat(outputs).numpy()

    def _choose_batch(self, network: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        """Make the batch fit into the device's memory, before the first call in each direction."""
        with self._measuring:
            if network.__name__ in self._to_measure and len(inputs[0]):
                window = [tensor[:1] for tensor in inputs]
                fitting = fitting_batch(self.device, lambda: self._run(network, window))
                self.batch = min(self.batch, fitting)
                self._to_measure.discard(network.__name__)

    def _run(self, network: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        with torch.inference_mode(), self.arithmetic():
            return self._call(network, inputs)

    def arithmetic(self) -> AbstractContextManager[object]:
        """Return the context in which the network computes with this precision."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return cuda_products(tf32=self.precision == "tf32") if self.device.type == "cuda" else nullcontext()


def as_samples(audio: np.ndarray) -> np.ndarray:
    """Return samples [n, C], or [n], of any floating-point type as finite float32 [n, C]. Raises UsageError."""
    # Only here, not in the streams: what compression pushes is known to be finite, and looking again takes time.
    audio = np.asarray(audio)
    audio = audio[:, None] if audio.ndim == 1 else audio
    if audio.ndim != 2 or not audio.shape[1]:
        raise UsageError(f"samples of shape {audio.shape}; they have to be [samples, channels], or [samples] for mono")
    check_floating(audio)
    with np.errstate(over="ignore"):  # becomes infinity, which is told
        samples = audio.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise UsageError("samples that are NaN, infinite or beyond float32 cannot be encoded")
    return samples


def fastest(model: Model, device: torch.device, precision: str) -> Model:
    """Return the fastest form of a network that gives the same codes on this device."""
    if device.type != "cpu" or precision != "fp32":
        return model
    if isinstance(model, Dac) and rows_cpu.is_supported():
        return FastDac(model)
    if isinstance(model, Lapped) and products_cpu.is_supported():
        return lapped_cpu.FastLapped(model)
    return model


def load_codec(model: str | Path | bytes, device: str = "auto", precision: str = "auto", refine: int = 0) -> Codec:
    """Load a model by name, by id (16 bytes, or 32 hexadecimal digits) or from a weights file of any known layout.

    Raises ModelNotFound, ModelMismatch or UnsafeWeights.
    """
    path = Path(model) if isinstance(model, Path) or (isinstance(model, str) and store.is_path(model)) else None
    if path is None:
        entry = store.find(model)
        network, checkpoint = load_model(entry.path)
        return Codec(network, entry.name, checkpoint.id, device, precision, refine=refine)
    network, checkpoint = load_model(path)
    return Codec(network, path.stem, checkpoint.id, device, precision, refine=refine)
