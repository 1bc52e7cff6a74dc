"""What a `.dacz` file is and where its bytes go: the numbers behind `dacz info`. Needs neither model nor prior."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dacfile.container import CODED, SAME, SILENT, Block, Head, Picture, Reader
from dacfile.limits import DEFAULT_LIMITS, Limits


@dataclass
class LayerUse:
    """One layer over the whole file, all channels together: codes, bytes taken, bytes they would take raw."""

    codes: int = 0
    bytes: int = 0
    raw_bytes: int = 0
    stored: int = 0
    raw: int = 0  # of the stored layers: those that the prior could not shrink

    @property
    def bits_per_code(self) -> float:
        return self.bytes * 8 / self.codes if self.codes else 0.0

    @property
    def saving(self) -> float:
        """Share of the raw size that the prior saves."""
        return 1 - self.bytes / self.raw_bytes if self.raw_bytes else 0.0


@dataclass(frozen=True)
class BlockUse:
    """One block: its place in the file's frames, its bytes of codes, and per channel the number of layers.

    0 layers stands for a silent channel, -1 for one that equals channel 0.
    """

    sequence: int
    first_frame: int
    frames: int
    bytes: int
    layers: tuple[int, ...]


@dataclass
class FileReport:
    """Facts and figures of one file; rates in bit/s, sizes in bytes, durations in seconds."""

    path: Path
    head: Head
    file_bytes: int
    source_samples: int
    frames: int
    blocks: int
    tags: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    lost: tuple[tuple[int, int], ...]
    layers: list[LayerUse] = field(default_factory=list)
    block_uses: list[BlockUse] = field(default_factory=list)
    channel_layers: list[float] = field(default_factory=list)  # mean number of layers of each coded channel
    silent: int = 0  # channel blocks that are silent
    same: int = 0  # channel blocks that equal channel 0
    equalised: int = 0  # channel blocks that have an equaliser
    attacks: int = 0

    @property
    def seconds(self) -> float:
        return self.source_samples / self.head.source_rate

    @property
    def code_bytes(self) -> int:
        """Bytes of the layers themselves."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def overhead_bytes(self) -> int:
        """Everything but the layers: headers, checksums, equalisers, attacks, index, tags, pictures."""
        return self.file_bytes - self.code_bytes

    @property
    def tag_bytes(self) -> int:
        """Bytes of tags and pictures, without their headers."""
        texts = sum(len(key.encode()) + len(value.encode()) for key, value in self.tags)
        return texts + sum(len(picture.data) for picture in self.pictures)

    @property
    def real_bitrate(self) -> float:
        return self.file_bytes * 8 / self.seconds if self.source_samples else 0.0

    @property
    def pcm16_bytes(self) -> int:
        """Bytes of the same audio as 16-bit PCM."""
        return 2 * self.source_samples * self.head.channels

    def layer_bitrate(self, layer: LayerUse) -> float:
        return layer.bytes * 8 / self.seconds if self.source_samples else 0.0

    @property
    def saving(self) -> float:
        """Share of the raw size that the prior saves, over all layers."""
        raw = sum(layer.raw_bytes for layer in self.layers)
        return 1 - self.code_bytes / raw if raw else 0.0


def describe(path: Path, limits: Limits = DEFAULT_LIMITS) -> FileReport:
    """Read a file from end to end and return its report; the codes are not decoded.

    Raises DaczError for anything that is not an intact `.dacz` file, OSError when it cannot be read.
    """
    with Reader(path, limits) as reader:
        report = FileReport(
            path=path,
            head=reader.head,
            file_bytes=reader.file_size,
            source_samples=reader.source_samples or 0,
            frames=reader.total_frames,
            blocks=reader.block_count,
            tags=reader.tags,
            pictures=reader.pictures,
            lost=reader.lost,
            layers=[LayerUse() for _ in range(reader.head.codebooks)],
            channel_layers=[0.0] * reader.head.channels,
        )
        for block in reader.blocks():
            _add(report, block)
    return report


def _add(report: FileReport, block: Block) -> None:
    raw = report.head.raw_layer_bytes(block.frames)
    for number, channel in enumerate(block.channels):
        report.silent += channel.mode == SILENT
        report.same += channel.mode == SAME
        report.equalised += bool(channel.equaliser)
        report.attacks += len(channel.attacks)
        report.channel_layers[number] += len(channel.layers) * block.frames / max(report.frames, 1)
        for use, layer in zip(report.layers, channel.layers, strict=False):
            use.codes += block.frames
            use.bytes += len(layer.data)
            use.raw_bytes += raw
            use.stored += 1
            use.raw += len(layer.data) == raw
    report.block_uses.append(
        BlockUse(
            sequence=block.sequence,
            first_frame=block.sequence * report.head.frames_per_block,
            frames=block.frames,
            bytes=sum(len(layer.data) for channel in block.channels for layer in channel.layers),
            layers=tuple(len(c.layers) if c.mode == CODED else -int(c.mode == SAME) for c in block.channels),
        )
    )
