"""The container of `.dacz` files, version 1: standard library only, the reference implementation of `spec/`."""

from __future__ import annotations

from .block import CODED, SAME, SILENT, Attack, Block, ChannelBlock, Layer
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
from .rewrite import drop_layers, rewrite
from .salvage import Gap, SalvageReport, gaps_of, salvage, salvageable_head
from .tags import Picture, Tags, is_valid_key
from .verify import StructureReport, verify_structure
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
    "Attack",
    "Block",
    "ChannelBlock",
    "Gap",
    "Head",
    "Layer",
    "OtherChunk",
    "Picture",
    "Reader",
    "SalvageReport",
    "StructureReport",
    "Tags",
    "Tail",
    "Writer",
    "drop_layers",
    "gaps_of",
    "is_valid_key",
    "rewrite",
    "salvage",
    "salvageable_head",
    "verify_structure",
]
