"""The container of `.dacz` files, version 1: standard library only, the reference implementation of `spec/`."""

from __future__ import annotations

from .block import CODED, SAME, SILENT, Block, ChannelBlock, Layer
from .head import (
    CODER_RANGE,
    CODER_RAW,
    CONTAINERS,
    NO_ID,
    SUBTYPES,
    TRANSFORM_MID_SIDE,
    TRANSFORM_NONE,
    Head,
)
from .reader import Reader
from .tags import Picture, Tags, is_valid_key
from .wire import OtherChunk, Tail
from .writer import Writer

__all__ = [
    "CODED",
    "CODER_RANGE",
    "CODER_RAW",
    "CONTAINERS",
    "NO_ID",
    "SAME",
    "SILENT",
    "SUBTYPES",
    "TRANSFORM_MID_SIDE",
    "TRANSFORM_NONE",
    "Block",
    "ChannelBlock",
    "Head",
    "Layer",
    "OtherChunk",
    "Picture",
    "Reader",
    "Tags",
    "Tail",
    "Writer",
    "is_valid_key",
]
