"""`dacz info`: what a file is, what it costs, and where its bytes go."""

from __future__ import annotations

import json
from typing import Any

import typer

from dacfile.container import CODER_RAW, TRANSFORM_MID_SIDE, Head
from dacfile.errors import DaczError
from dacfile.report import FileReport, LayerUse, describe
from dacz.common import DaczFiles, complain_about, exit_code, expand
from dacz.text import clock, escape, kbps, number, plural, ratio, size, table

CHANNEL_WORDS = {1: "mono", 2: "stereo"}


def command(
    files: DaczFiles,
    as_json: bool = typer.Option(False, "--json", help="One JSON object per file."),
    blocks: bool = typer.Option(False, "--blocks", help="List every block."),
) -> int:
    """Show what .dacz files hold: duration, source, model, bit rates, sizes, layers, tags.

    Needs no model. Folders are searched for .dacz files.
    """
    codes: list[int] = []
    shown = 0
    for path in expand(files, codes, as_json):
        try:
            report = describe(path)
        except (DaczError, OSError) as error:
            complain_about(path, error, codes, as_json)
            continue
        if as_json:
            print(json.dumps(as_dict(report, blocks)))
        else:
            print(("\n" if shown else "") + as_text(report, blocks))
        shown += 1
    return exit_code(codes, shown)


def model_name(model_id: bytes) -> str:
    """Return the name of the installed model with this id, empty if there is none."""
    from dacfile.model import store

    try:
        return store.find_by_id(model_id).name
    except DaczError:
        return ""


def as_dict(report: FileReport, blocks: bool = False) -> dict[str, Any]:
    """Return everything that `dacz info` knows about a file, for JSON; the text is made from this too."""
    facts = {
        "path": str(report.path),
        "ok": True,
        "bytes": report.file_bytes,
        "seconds": report.seconds,
        **_source_facts(report.head, report.source_samples),
        **_model_facts(report.head),
        **_size_facts(report),
        "layers": [_layer_facts(report, layer) for layer in report.layers],
        "lost_blocks": [list(gap) for gap in report.lost],
        "tags": [list(tag) for tag in report.tags],
        "pictures": [
            {"kind": p.kind, "mime": p.mime, "description": p.description, "bytes": len(p.data)}
            for p in report.pictures
        ],
    }
    if blocks:
        facts["block_list"] = [
            {"frames": b.frames, "first_frame": b.first_frame, "bytes": b.bytes, "layers": list(b.layers)}
            for b in report.block_uses
        ]
    return facts


def _source_facts(head: Head, samples: int) -> dict[str, Any]:
    return {
        "rate": head.source_rate,
        "channels": head.channels,
        "samples": samples,
        "container": head.container_name,
        "subtype": head.subtype_name,
    }


def _model_facts(head: Head) -> dict[str, Any]:
    return {
        "model": {"id": head.model_id.hex(), "name": model_name(head.model_id)},
        "prior": None if head.coder == CODER_RAW else {"id": head.prior_id.hex()},
        "model_rate": head.rate,
        "hop": head.hop,
        "codebooks": head.codebooks,
        "codebook_size": head.codebook_size,
        "mid_side": head.transform == TRANSFORM_MID_SIDE,
        "gains_db": head.gains_db,
    }


def _size_facts(report: FileReport) -> dict[str, Any]:
    return {
        "mean_layers": report.channel_layers,
        "real_bitrate": report.real_bitrate,
        "nominal_bitrate": report.head.nominal_bitrate,
        "ratio_to_pcm16": report.pcm16_bytes / report.file_bytes,
        "source_bytes": _source_bytes(report),
        "frames": report.frames,
        "blocks": report.blocks,
        "frames_per_block": report.head.frames_per_block,
        "silent_channel_blocks": report.silent,
        "same_channel_blocks": report.same,
        "equalised_channel_blocks": report.equalised,
        "attacks": report.attacks,
        "code_bytes": report.code_bytes,
        "saving": report.saving,
        "overhead_bytes": report.overhead_bytes,
        "tag_bytes": report.tag_bytes,
    }


def _layer_facts(report: FileReport, layer: LayerUse) -> dict[str, Any]:
    return {
        "bits_per_code": layer.bits_per_code,
        "saving": layer.saving,
        "bytes": layer.bytes,
        "bitrate": report.layer_bitrate(layer),
        "raw": layer.raw,
        "stored": layer.stored,
    }


def _source_bytes(report: FileReport) -> int | None:
    """Return the size of the source file if it still lies beside the output, under its own name."""
    source = report.path.with_suffix("")
    if source == report.path or report.path.suffix.lower() != ".dacz" or not source.is_file():
        return None
    return source.stat().st_size


def as_text(report: FileReport, blocks: bool = False) -> str:
    """Return a file's facts for people: the real bit rate first, then what it is made of."""
    facts = as_dict(report)
    parts = [escape(report.path), table(_rows(report, facts), indent=2)]
    if report.code_bytes:
        parts.append(table(_layer_rows(report), indent=2, right=range(1, 7)))
    if blocks:
        parts.append(table(_block_rows(report), indent=2, right=range(5)))
    if report.tags:
        parts.append("  tags\n" + table(report.tags, indent=4))
    if report.pictures:
        rows = [(f"picture, kind {p.kind}", p.mime, p.description, size(len(p.data))) for p in report.pictures]
        parts.append(table(rows, indent=2))
    return "\n".join(parts)


def _rows(report: FileReport, facts: dict[str, Any]) -> list[tuple[str, str]]:
    head = report.head
    channels = CHANNEL_WORDS.get(head.channels, f"{head.channels} channels")
    source = " ".join(part for part in (head.container_name, head.subtype_name) if part) or "unknown format"
    each = f" ({kbps(report.real_bitrate / head.channels)} per channel)" if head.channels > 1 else ""
    rows = [
        ("duration", f"{clock(report.seconds)} ({report.source_samples:,} samples)"),
        ("source", f"{source}, {head.source_rate:,} Hz, {channels}"),
        ("model", _model(report, facts)),
        ("real bit rate", kbps(report.real_bitrate) + each),
        ("nominal bit rate", kbps(head.nominal_bitrate)),
        ("size", f"{size(report.file_bytes)} ({report.file_bytes:,} bytes)"),
        ("ratio", f"{ratio(report.pcm16_bytes, report.file_bytes)} to 16-bit PCM" + _source_ratio(report, facts)),
        ("coded as", _coding(report)),
        ("blocks", _blocks(report)),
        ("overhead", f"{report.overhead_bytes:,} bytes ({report.overhead_bytes / report.file_bytes:.1%}), "
                     f"of which tags and pictures {report.tag_bytes:,}"),
    ]  # fmt: skip
    if report.lost:
        lost = sum(count for _, count in report.lost)
        rows.append(("lost", f"{plural(lost, 'block')} could not be salvaged and are silent"))
    return rows


def _model(report: FileReport, facts: dict[str, Any]) -> str:
    name = facts["model"]["name"] or "not installed"
    head = report.head
    return f"{name}, {head.rate:,} Hz, hop {head.hop}, {plural(head.codebooks, 'codebook')}, id {head.model_id.hex()}"


def _source_ratio(report: FileReport, facts: dict[str, Any]) -> str:
    if not facts["source_bytes"]:
        return ""
    return f", {ratio(facts['source_bytes'], report.file_bytes)} to {escape(report.path.with_suffix('').name)}"


def _coding(report: FileReport) -> str:
    head = report.head
    names = ["mid", "side"] if head.transform == TRANSFORM_MID_SIDE else []
    names += [f"channel {i + 1}" for i in range(len(names), head.channels)]
    parts = [
        f"{name} {layers:.3g} layers, gain {gain:+.1f} dB"
        for name, layers, gain in zip(names, report.channel_layers, head.gains_db, strict=True)
    ]
    return "; ".join(parts[:8]) + (f"; and {len(parts) - 8} more" if len(parts) > 8 else "")


def _blocks(report: FileReport) -> str:
    head = report.head
    text = f"{report.blocks:,} of {number(head.frames_per_block * head.hop / head.rate)} s"
    words = ("silent", "equal to the first channel", "equalised")
    for count, word in zip((report.silent, report.same, report.equalised), words, strict=True):
        if count:
            text += f"; {plural(count, 'channel block')} {word}"
    return text + (f"; {plural(report.attacks, 'attack')}" if report.attacks else "")


def _layer_rows(report: FileReport) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("layer", "bits/code", "saved", "bytes", "kbit/s", "raw")]
    for index, layer in enumerate(report.layers):
        if layer.codes:
            raw = f"{layer.raw}/{layer.stored}" if layer.raw else "-"
            rate = f"{report.layer_bitrate(layer) / 1000:.3f}"
            bits, saved = f"{layer.bits_per_code:.2f}", f"{layer.saving:.1%}"
            rows.append((str(index), bits, saved, f"{layer.bytes:,}", rate, raw))
    codes = sum(layer.codes for layer in report.layers)
    mean = report.code_bytes * 8 / codes
    saved = f"{report.saving:.1%}"
    rate = f"{report.code_bytes * 8 / report.seconds / 1000:.3f}" if report.seconds else "-"
    return [*rows, ("all", f"{mean:.2f}", saved, f"{report.code_bytes:,}", rate, "")]


def _block_rows(report: FileReport) -> list[tuple[str, ...]]:
    seconds = report.head.hop / report.head.rate
    words = {0: "silent", -1: "same"}
    rows: list[tuple[str, ...]] = [("block", "from", "frames", "bytes", "layers")]
    for b in report.block_uses:
        layers = " ".join(words.get(n, str(n)) for n in b.layers)
        rows.append((str(b.sequence), clock(b.first_frame * seconds), f"{b.frames:,}", f"{b.bytes:,}", layers))
    return rows
