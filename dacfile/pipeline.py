"""One file, both ways: the functions that a batch, the command line and the library interface are made of."""

from __future__ import annotations

from dacfile.compressor import Compressed, CompressOptions, compress_file
from dacfile.decompressor import Decompressed, DecompressOptions, decompress_file, format_of_name

__all__ = [
    "CompressOptions",
    "Compressed",
    "DecompressOptions",
    "Decompressed",
    "compress_file",
    "decompress_file",
    "format_of_name",
]
