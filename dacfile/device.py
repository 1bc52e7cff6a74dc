"""The device that networks run on: which one, in which arithmetic, and how arrays get there and back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from dacfile.errors import UsageError

PRECISIONS = ("auto", "fp32", "tf32", "bf16")
IN_FLIGHT = 2  # at the same time on a CUDA device: the arrays of one travel while the other computes
LARGEST_BATCH = 64  # windows: more than a few hundred seconds of audio in a call make no device faster
MEMORY_SHARE = 0.8  # of what is free; the rest is for what other programs take meanwhile


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


def every_device(device: str) -> list[str]:
    """Return the names of all devices that a name stands for: of CUDA, unless it is numbered, all there are."""
    if resolve_device(device) == torch.device("cuda"):
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device]


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the arithmetic for a name: "auto" is full float32 everywhere.

    Raises UsageError when the name is unknown.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    if precision == "auto" or (precision == "tf32" and device.type != "cuda"):
        return "fp32"
    return precision


class _Products:
    """Compute float32 products on CUDA in TF32, or truly in float32, while any thread asks for it.

    PyTorch has one setting for the whole process, and its own default for convolutions is TF32. Threads that want the
    same share it, those that want the other wait, and the last one out puts back what was there.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users, self._tf32 = 0, False
        self._before: tuple[object, ...] = ()

    @contextmanager
    def __call__(self, tf32: bool) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._users or self._tf32 == tf32)
            if not self._users:
                self._before, self._tf32 = _settings(), tf32
                _set([_VALUES[tf32]] * len(_PLACES))
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    _set(self._before)
                    self._changed.notify_all()


cuda_products = _Products()


# Since 2.9 PyTorch refuses to read `allow_tf32` once a program has set `fp32_precision`, but not the reverse.
_RENAMED = hasattr(torch.backends.cuda.matmul, "fp32_precision")
_NAME = "fp32_precision" if _RENAMED else "allow_tf32"
_VALUES: tuple[object, object] = ("ieee", "tf32") if _RENAMED else (False, True)
_PLACES = (torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", torch.backends.cudnn))


def _settings() -> tuple[object, ...]:
    return tuple(getattr(place, _NAME) for place in _PLACES)


def _set(values: Iterable[object]) -> None:
    for place, value in zip(_PLACES, values, strict=True):
        setattr(place, _NAME, value)


class Transfer:
    """Call a network with tensors of the host, and return its output there, float32 or integers.

    On CUDA a call has a stream and page-locked memory, so that its copies run beside the kernels of another; the thread
    that waits holds no lock of Python's. PyTorch keeps freed memory for the stream that had it: with a stream for every
    thread, memory would be taken as many times as there are threads. So calls share IN_FLIGHT streams, and others wait.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._free: queue.LifoQueue[torch.cuda.Stream] = queue.LifoQueue()
        for _ in range(IN_FLIGHT if device.type == "cuda" else 0):
            self._free.put(torch.cuda.Stream(device))

    def __call__(self, network: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Return `network(*inputs)`."""
        if self.device.type == "cuda":
            return self._beside_others(network, inputs)
        return _plain(network(*(tensor.to(self.device) for tensor in inputs))).cpu()

    def _beside_others(self, network: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        stream = self._free.get()
        try:
            # Weights and likelihoods are made on the caller's stream, which another one does not await by itself.
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                output = _plain(network(*(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in inputs)))
                result = torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
                result.copy_(output, non_blocking=True)
            stream.synchronize()
        finally:
            self._free.put(stream)
        return result


def _plain(output: Tensor) -> Tensor:
    return output.float() if output.is_floating_point() else output


def fitting_batch(device: torch.device, call: Callable[[], object]) -> int:
    """Return how many windows fit into the free memory of a CUDA device, where `call` takes that of one window.

    Free is also what PyTorch keeps of earlier calls, such as those in the other direction.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    window = torch.cuda.max_memory_allocated(device) - before
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return batch_for(free + kept, window)


def batch_for(free: int, window: int) -> int:
    """Return the batch for `free` bytes, of which each of the calls at the same time takes `window` bytes a window."""
    return max(1, min(LARGEST_BATCH, int(free * MEMORY_SHARE / IN_FLIGHT / max(window, 1))))
