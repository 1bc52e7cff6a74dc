"""Work of many threads in common calls: what small files ask of the device or the prior is done for all at once.

A call that comes while all workers are busy waits, and then all that has piled up is one call. A single thread never
waits for company. How much can pile up is bounded by the number of threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Generic, TypeVar

import numpy as np

from dacfile.entropy import Prior
from dacfile.entropy.prior import Known
from dacfile.stream import WindowCodec

FEW_BLOCKS = 8  # a file with more keeps its own calls busy enough

# Samples or codes, first frames, channels, and perhaps gains.
_Windows = tuple[np.ndarray, Sequence[int], Sequence[int]] | tuple[np.ndarray, Sequence[int], Sequence[int], np.ndarray]
_Blocks = tuple[Sequence[Sequence[Sequence[Known]]], Sequence[int], Sequence[int]]  # payloads, frames, first frames
Request = TypeVar("Request")
Result = TypeVar("Result")


class _Ticket(Generic[Request, Result]):
    """One request, and what became of it."""

    def __init__(self, kind: Hashable, request: Request) -> None:
        self.kind, self.request = kind, request
        self.done = False
        self.result: Result | None = None
        self.error: BaseException | None = None


class Combiner(Generic[Request, Result]):
    """Have `work(requests)`, which returns a result for each, done for all requests of one kind that are waiting.

    Every worker does one call at a time, all of them together. When a common call fails, each of its requests is tried
    alone, so that an error reaches the thread that caused it and no other.
    """

    def __init__(self, *workers: Callable[[list[Request]], list[Result]]) -> None:
        self._changed = threading.Condition()
        self._free = deque(workers)
        self._waiting: list[_Ticket[Request, Result]] = []

    def __call__(self, kind: Hashable, request: Request) -> Result:
        """Return the result of a request; only those of an equal `kind` share a call."""
        ticket: _Ticket[Request, Result] = _Ticket(kind, request)
        with self._changed:
            self._waiting.append(ticket)
            # A ticket that waits no longer is in another thread's call: then no worker is needed, only the result.
            self._changed.wait_for(lambda: ticket.done or (self._free and ticket in self._waiting))
            mine = None if ticket.done else (self._free.popleft(), self._take(kind))
        if mine:
            self._call(*mine)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]

    def _take(self, kind: Hashable) -> list[_Ticket[Request, Result]]:
        """Return all that waits and is of a kind, and let it wait no longer."""
        group = [ticket for ticket in self._waiting if ticket.kind == kind]
        self._waiting = [ticket for ticket in self._waiting if ticket.kind != kind]
        return group

    def _call(self, work: Callable[[list[Request]], list[Result]], group: list[_Ticket[Request, Result]]) -> None:
        self._serve(work, group)
        with self._changed:
            self._free.append(work)
            for ticket in group:
                ticket.done = True
            self._changed.notify_all()

    @staticmethod
    def _serve(work: Callable[[list[Request]], list[Result]], group: list[_Ticket[Request, Result]]) -> None:
        try:
            for ticket, result in zip(group, work([ticket.request for ticket in group]), strict=True):
                ticket.result = result
        except BaseException as error:
            if len(group) == 1:
                group[0].error = error
            else:
                for ticket in group:
                    Combiner._serve(work, [ticket])


class SharedCodec:
    """A codec whose windows of equal shape, from all threads, are coded together.

    There may be several copies of it, one for each device; each does as many calls at the same time as the first
    one says in `in_flight`, by default one.
    """

    def __init__(self, codec: WindowCodec, *others: WindowCodec) -> None:
        self.facts, self.name, self.id = codec.facts, codec.name, codec.id
        self.batch = codec.batch
        self.device, self.precision = getattr(codec, "device", "cpu"), getattr(codec, "precision", "fp32")
        copies = (codec, *others) * getattr(codec, "in_flight", 1)
        self.copies = len(copies)
        self._encode: Combiner[_Windows, np.ndarray] = Combiner(
            *(partial(_in_one_call, c.encode_windows) for c in copies)
        )
        self._decode: Combiner[_Windows, np.ndarray] = Combiner(
            *(partial(_in_one_call, c.decode_windows) for c in copies)
        )
        self._preview: Combiner[_Windows, np.ndarray] = Combiner(
            *(partial(_in_one_call, c.preview_windows) for c in copies)
        )

    def encode_windows(self, x: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        """Return codes uint16 [B, K, L] of samples float32 [B, lead + L * hop]."""
        return self._encode(x.shape[1:], (x, first_frames, channels))

    def decode_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return samples float32 [B, L * hop - tail] of codes uint16 [B, n, L]; ABSENT codes add nothing."""
        return _combined(self._decode, codes, first_frames, channels, gains)

    def preview_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return about what decoding does, float32 [B, L * hop - tail] for codes uint16 [B, n, L]."""
        return _combined(self._preview, codes, first_frames, channels, gains)


def _combined(
    combiner: Combiner[_Windows, np.ndarray],
    codes: np.ndarray,
    first_frames: Sequence[int],
    channels: Sequence[int],
    gains: np.ndarray | None,
) -> np.ndarray:
    """Decode windows with others of their shape; those with gains by themselves."""
    if gains is None:
        return combiner(codes.shape[1:], (codes, first_frames, channels))
    return combiner((*codes.shape[1:], "gains"), (codes, first_frames, channels, gains))


def _in_one_call(call: Callable[..., np.ndarray], inputs: list[_Windows]) -> list[np.ndarray]:
    """Code the windows of all requests in one call; return those of each."""
    windows, firsts, numbers, *gains = zip(*inputs, strict=True)
    others = [np.concatenate(parts) for parts in gains]
    outputs = call(np.concatenate(windows), list(chain(*firsts)), list(chain(*numbers)), *others)
    return _split(outputs, [len(part) for part in windows])


class SharedPrior:
    """A prior that decodes the blocks of all threads together when each has only a few: one step a frame for all.

    Encoding has no such steps and stays each thread's own. As many calls run at the same time as the prior says in
    `in_flight`, by default one.
    """

    def __init__(self, prior: Prior, few: int = FEW_BLOCKS) -> None:
        self.id, self.codebooks, self.codebook_size = prior.id, prior.codebooks, prior.codebook_size
        self.config, self.info = prior.config, prior.info
        self.encode_layers = prior.encode_layers
        self._prior, self._few = prior, few
        workers = [self._decode_all] * getattr(prior, "in_flight", 1)
        self._decode: Combiner[_Blocks, list[list[np.ndarray]]] = Combiner(*workers)

    def decode_layers(
        self, payloads: Sequence[Sequence[Sequence[Known]]], frames: Sequence[int], first_frames: Sequence[int]
    ) -> list[list[np.ndarray]]:
        """Return uint16 codes [layers, frames] for each block and channel; see `Prior`."""
        if len(payloads) > self._few:
            return self._prior.decode_layers(payloads, frames, first_frames)
        return self._decode(None, (payloads, frames, first_frames))

    def _decode_all(self, inputs: list[_Blocks]) -> list[list[list[np.ndarray]]]:
        payloads, frames, firsts = zip(*inputs, strict=True)
        decoded = self._prior.decode_layers(list(chain(*payloads)), list(chain(*frames)), list(chain(*firsts)))
        ends = np.cumsum([0, *(len(one[0]) for one in inputs)]).tolist()
        return [decoded[start:stop] for start, stop in pairwise(ends)]


def _split(rows: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    return np.split(rows, np.cumsum(counts)[:-1])
