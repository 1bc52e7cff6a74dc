"""Audio blocks to codes and back on a device: the one user of the networks in `dacfile.model`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dacfile.errors import UsageError
from dacfile.model import lapped_cpu, rows_cpu, store
from dacfile.model.base import Model
from dacfile.model.checkpoint import load_model
from dacfile.model.dac import Dac
from dacfile.model.dac_cpu import FastDac
from dacfile.model.lapped import Lapped
from dacfile.stream import StreamDecoder, StreamEncoder
from dacfile.windows import ABSENT

__all__ = ["Codec", "StreamDecoder", "StreamEncoder", "load_codec"]

PRECISIONS = ("auto", "fp32", "tf32", "bf16")


class Codec:
    """A model on a device, ready to code windows, whole arrays, and (with StreamEncoder, StreamDecoder) streams.

    `batch` is the largest number of windows in one call of the network; it is halved, and stays so, when the
    device runs out of memory. The codes of a window do not depend on the batch it is in, up to float rounding.
    """

    def __init__(
        self,
        model: Model,
        name: str = "",
        id: bytes = bytes(16),
        device: str = "auto",
        precision: str = "auto",
        batch: int = 0,
    ) -> None:
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.network = fastest(self.model, self.device, self.precision)  # what runs: the same weights and codes
        self.facts = model.facts
        self.name = name
        self.id = id
        self.batch = batch or (1 if self.device.type == "cpu" else 64)

    @property
    def rate(self) -> int:
        """Sample rate of the model, Hz."""
        return self.facts.rate

    def encode(self, audio: np.ndarray, rate: int | None = None) -> np.ndarray:
        """Encode samples float32 [samples, channels] (or [samples] for mono) to codes uint16 [channels, K, T].

        Neither gain nor mid/side is applied. Raises UsageError when `rate` is given and is not the model's.
        """
        if rate is not None and rate != self.rate:
            raise UsageError(f"audio at {rate} Hz for a model at {self.rate} Hz; resample it first")
        audio = audio[:, None] if audio.ndim == 1 else audio
        encoder = StreamEncoder(self, audio.shape[1])
        return np.concatenate([encoder.push(audio), encoder.finish()], axis=-1)

    def decode(self, codes: np.ndarray, samples: int | None = None) -> np.ndarray:
        """Decode codes uint16 [channels, n, T], n <= K, to float32 [samples, channels] at `rate`.

        Without `samples` everything that the codes give is returned, T * hop - tail samples.
        """
        decoder = StreamDecoder(self, codes.shape[0], samples)
        return np.concatenate([decoder.push(codes), decoder.finish()])

    def encode_windows(self, x: np.ndarray) -> np.ndarray:
        """Encode windows of samples float32 [B, lead + L * hop] to codes uint16 [B, K, L]."""
        codes = self._in_batches(self.network.encode, torch.from_numpy(np.ascontiguousarray(x, np.float32)))
        return codes.astype(np.uint16)

    def decode_windows(self, codes: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        """Decode windows of codes uint16 [B, n, L] to float32 [B, L * hop - tail]; ABSENT codes add nothing.

        Raises UsageError when a code is not below the codebook size.
        """
        present = codes != ABSENT
        if codes.shape[1] > self.facts.codebooks or (codes[present] >= self.facts.codebook_size).any():
            raise UsageError(f"codes that model {self.name} does not have")
        signed = np.where(present, codes.astype(np.int64), -1)
        return self._in_batches(
            self.network.decode, torch.from_numpy(signed), torch.tensor(first_frames), torch.tensor(channels)
        )

    def _in_batches(self, network: Callable[..., Tensor], *inputs: Tensor) -> np.ndarray:
        outputs: list[Tensor] = []
        done = 0
        while done < len(inputs[0]):
            part = [tensor[done : done + self.batch] for tensor in inputs]
            try:
                outputs.append(self._run(network, part))
            except torch.cuda.OutOfMemoryError:
                if len(part[0]) == 1:
                    raise
                self.batch = max(len(part[0]) // 2, 1)
                continue
            done += len(part[0])
        return torch.cat(outputs).numpy()

    def _run(self, network: Callable[..., Tensor], inputs: list[Tensor]) -> Tensor:
        with torch.inference_mode(), self._numbers():
            output = network(*[tensor.to(self.device, non_blocking=True) for tensor in inputs])
        return output.float().cpu() if output.is_floating_point() else output.cpu()

    def _numbers(self) -> AbstractContextManager[object]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return _cuda_products(tf32=self.precision == "tf32") if self.device.type == "cuda" else nullcontext()


@contextmanager
def _cuda_products(tf32: bool) -> Iterator[None]:
    """Compute float32 products in TF32, or truly in float32: PyTorch's own default for convolutions is TF32."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


def fastest(model: Model, device: torch.device, precision: str) -> Model:
    """Return the fastest form of a network that gives the same codes on this device."""
    if device.type != "cpu" or precision != "fp32":
        return model
    if isinstance(model, Dac) and rows_cpu.is_supported():
        return FastDac(model)
    if isinstance(model, Lapped) and lapped_cpu.is_supported():
        return lapped_cpu.FastLapped(model)
    return model


def resolve_device(device: str) -> torch.device:
    """Return the device for a name: "auto" is CUDA where there is one, else the CPU.

    Raises UsageError when this machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UsageError(f"no device {device!r} here; use auto, cpu, cuda, cuda:N or mps") from error
    return found


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the arithmetic for a name: "auto" is full float32 everywhere.

    Raises UsageError when the name is unknown.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    if precision == "auto" or (precision == "tf32" and device.type != "cuda"):
        return "fp32"
    return precision


def load_codec(model: str | Path | bytes, device: str = "auto", precision: str = "auto") -> Codec:
    """Load a model by name, by id (16 bytes, or 32 hexadecimal digits) or from a weights file of any known layout.

    Raises ModelNotFound, ModelMismatch or UnsafeWeights.
    """
    path = Path(model) if isinstance(model, Path) or (isinstance(model, str) and store.is_path(model)) else None
    if path is None:
        entry = store.find(model)
        network, checkpoint = load_model(entry.path)
        return Codec(network, entry.name, checkpoint.id, device, precision)
    network, checkpoint = load_model(path)
    return Codec(network, path.stem, checkpoint.id, device, precision)
