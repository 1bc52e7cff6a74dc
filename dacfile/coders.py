"""Entropy coding in processes of its own: Python runs one thread at a time, and coding is mostly small steps of Python.

    prior = Coders(8).remote(prior)  # used from eight threads, it keeps eight cores busy

A process runs this module's `main`: pickled calls come by its standard input, replies leave by its standard output,
and it ends when its input does, however its parent ended. It imports no torch, and only from where its parent does: the
current folder may hold anything, a `numpy.py` too.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from dacfile.entropy.prior import Channels, Known, Prior
from dacfile.errors import DaczError

# With -m or -c alone Python would look for modules in the current folder before all others.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from dacfile.coders import main; main()"
_PACKAGES = str(Path(__file__).parent.parent)

_Reply = tuple[bool, Any]  # whether it went well; the result or the exception


class Coders:
    """Up to `count` processes, each started when all before it are busy; a call waits for a free one.

    With none, calls stay in the thread that makes them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: queue.LifoQueue[_Process] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(_Process())

    def remote(self, prior: Prior) -> Prior:
        """Return a prior that does the same in these processes."""
        return RemotePrior(prior, self) if self.count else prior

    def call(self, prior: Prior, method: str, *arguments: object) -> Any:
        """Return `prior.method(*arguments)`, or raise what it raised; DaczError when the process ended meanwhile."""
        process = self._free.get()
        try:
            return process.call(prior, method, arguments)
        finally:
            self._free.put(process)


class _Process:
    """One process, which does one call at a time and keeps the priors that it has been given."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self._given: set[bytes] = set()

    def call(self, prior: Prior, method: str, arguments: Sequence[object]) -> Any:
        try:
            good, result = self._exchange((prior.id, method, arguments), prior)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise DaczError(
                "a process that codes has ended, perhaps for want of memory; fewer --jobs need less"
            ) from error
        except BaseException:  # half a message may be in the pipes, which the next call would take for its own
            self.close()
            raise
        if not good:
            raise result
        return result

    def _exchange(self, request: object, prior: Prior) -> _Reply:
        running = self._running = self._running or _start()
        given = prior.id in self._given
        _send(cast(BinaryIO, running.stdin), (None if given else prior, request))
        self._given.add(prior.id)
        return cast(_Reply, pickle.load(cast(BinaryIO, running.stdout)))

    def close(self) -> None:
        """End the process; the next call starts another."""
        if self._running:
            self._running.kill()
            self._running.communicate()
        self._running, self._given = None, set()

    def __del__(self) -> None:
        self.close()


def _start() -> subprocess.Popen[bytes]:
    # An empty entry, as interactive Python has it, is the current folder: dacfile itself may have come from there.
    command = [sys.executable, "-P", "-c", _PROGRAM, *filter(None, sys.path), _PACKAGES]
    # A session of its own, so that Ctrl-C reaches the parent alone, which finishes the files in flight.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


def _send(stream: BinaryIO, message: object) -> None:
    pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


class RemotePrior:
    """A prior whose calls run in other processes, as many at a time as there are; see `Prior`."""

    def __init__(self, prior: Prior, coders: Coders) -> None:
        self.id, self.codebooks, self.codebook_size = prior.id, prior.codebooks, prior.codebook_size
        self.config, self.info = prior.config, prior.info
        self.in_flight = coders.count
        self._prior, self._coders = prior, coders

    def encode_layers(self, blocks: Sequence[Channels], first_frames: Sequence[int]) -> list[list[list[bytes]]]:
        """Return the range-coded bytes `[block][channel][layer]`."""
        return cast(
            list[list[list[bytes]]],
            self._coders.call(self._prior, "encode_layers", [list(block) for block in blocks], list(first_frames)),
        )

    def decode_layers(
        self, payloads: Sequence[Sequence[Sequence[Known]]], frames: Sequence[int], first_frames: Sequence[int]
    ) -> list[list[np.ndarray]]:
        """Return uint16 codes [layers, frames] for each block and channel."""
        return cast(
            list[list[np.ndarray]],
            self._coders.call(self._prior, "decode_layers", payloads, list(frames), list(first_frames)),
        )


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer calls until there are no more."""
    priors: dict[bytes, Prior] = {}
    while True:
        try:
            prior, (wanted, method, arguments) = pickle.load(requests)
        except EOFError:
            return
        if prior is not None:
            priors[wanted] = prior
        _send(replies, _answer(priors[wanted], method, arguments))


def _answer(prior: Prior, method: str, arguments: Sequence[object]) -> _Reply:
    try:
        return True, getattr(prior, method)(*arguments)
    except Exception as error:
        return False, error


def main() -> None:
    """Answer the calls on standard input until it ends: the whole life of such a process."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not get among the replies
    serve(sys.stdin.buffer, replies)
