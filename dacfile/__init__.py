"""dacfile: compressed audio files (`.dacz`) made with neural codecs; `dacz` is the command line for it.

    dacfile.compress("song.flac")                              -> song.flac.dacz
    dacfile.decompress("song.flac.dacz")                       -> song.flac
    dacfile.open("song.flac.dacz").codes()                     -> uint16 [channels, codebooks, frames]
    dacfile.write("tokens.dacz", codes, codec)                 -> codes of your own, in a file
    audio, rate = dacfile.read("song.flac.dacz", 30.0, 40.0)   -> float32 [samples, channels]
    dacfile.verify("song.flac.dacz")                           -> what was checked, or the error

Importing this package is cheap: everything is loaded when it is first used, and torch only by what needs a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dacfile.api import compress, decompress, info, load_codec, open, read, verify, write
    from dacfile.errors import DaczError
    from dacfile.opened import DaczFile

__version__ = "0.1.0"

_HOMES = {
    "compress": "dacfile.api",
    "decompress": "dacfile.api",
    "info": "dacfile.api",
    "load_codec": "dacfile.api",
    "open": "dacfile.api",
    "read": "dacfile.api",
    "verify": "dacfile.api",
    "write": "dacfile.api",
    "DaczError": "dacfile.errors",
    "DaczFile": "dacfile.opened",
}

__all__ = [
    "DaczError",
    "DaczFile",
    "__version__",
    "compress",
    "decompress",
    "info",
    "load_codec",
    "open",
    "read",
    "verify",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dacfile' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
