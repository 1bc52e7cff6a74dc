"""Every exception that leaves the library: one class per reason, one root, the exit code on the class.

A message is one line: what is wrong, where, and what to do about it. Nothing but `DaczError`, `OSError` and
`KeyboardInterrupt` may leave a function that reads a file, whatever the file holds.
Corrupt and unsupported are different reasons: damage (exit code 3) may be repaired from a copy, a feature that this
version does not know (exit code 4) needs a newer version.
"""

from __future__ import annotations


class DaczError(Exception):
    """Root of all errors of dacfile; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(DaczError):
    """The call itself is wrong: an impossible option, a value out of range, a method called out of order."""

    exit_code = 1


class SourceChanged(DaczError):
    """The input changed while it was being read; what was made of it is not kept."""

    exit_code = 2


class OutputExists(DaczError):
    """The output is there already and may not be replaced."""

    exit_code = 2


class Truncated(DaczError):
    """The data end too early: inside a chunk, or before the TAIL chunk and the end magic."""

    exit_code = 3


class ChecksumError(DaczError):
    """A CRC-32 or the SHA-256 of the file does not match: the bytes are not those that were written."""

    exit_code = 3


class StructureError(DaczError):
    """Parts that contradict each other or the specification: order, sequence, lengths, bytes after the end."""

    exit_code = 3


class EntropyMismatch(DaczError):
    """The bytes are intact but decode to other codes than were encoded: decoder or prior is at fault, not the disk."""

    exit_code = 3


class NotDacz(DaczError):
    """Not a `.dacz` file at all."""

    exit_code = 4


class UnsupportedVersion(DaczError):
    """A `.dacz` file of another major version."""

    exit_code = 4


class UnsupportedFeature(DaczError):
    """An intact file that uses something this version does not know: a reserved bit, a chunk, a coder, a mode."""

    exit_code = 4


class UnsupportedAudio(DaczError):
    """A source that cannot be read as audio, or holds values (NaN, infinity) that cannot be coded."""

    exit_code = 4


class LimitError(DaczError):
    """Valid perhaps, but beyond the limits that this reader or writer applies (see `dacfile.limits`)."""

    exit_code = 4

    @classmethod
    def over(cls, what: str, value: int, limit: int) -> LimitError:
        """Return the error for a `value` above its `limit`."""
        return cls(f"{what}: {value} is more than the limit of {limit}")


class ModelNotFound(DaczError):
    """No installed model has this name or id."""

    exit_code = 5


class PriorNotFound(DaczError):
    """No installed prior has this id."""

    exit_code = 5


class ModelMismatch(DaczError):
    """A model or prior that does not fit: another hash, other facts or codebooks, tensors of another network, NaN."""

    exit_code = 5


class UnsafeWeights(DaczError):
    """A refused weights or prior file: more than plain tensors, damaged, too large, or breaking its own rules."""

    exit_code = 5
